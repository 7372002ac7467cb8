"""`qwen serve --daemon`: the same command once more, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from qwen_cli.commands.serve import page_link
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.output import print_json, say
from qwen_cli.errors import EngineError, QwenError

_POLL = 0.1  # seconds
_ANSWER = 5.0
"""Seconds in which a server says how it is: one that does not is starting, or stuck."""


def begin(keys: Sequence[str] | None, *, opens: bool = False) -> None:
    """Start this very command in a process of its own, and wait until it serves. `opens` its page then, from
    here: what that process says is logged, and the link has the key in it. `keys` are as in
    `serve.process.Plan`."""
    from qwen_cli.engines.daemon import client, paths

    if (running := client.request("/engine/status", seconds=_ANSWER)) is not None:
        raise EngineError(f"a server of yours runs already at {running['address']}", "`qwen stop` ends it")
    paths.private_folder()
    words = [word for word in sys.argv[1:] if word not in ("--daemon", "--open")]
    with os.fdopen(os.open(paths.log_path(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "qwen_cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if (running := client.request("/engine/status")) is not None and running["pid"] == process.pid:
                say(f"serving at {running['address']}/v1, log in {paths.log_path()}")
                if paths.key_path().exists():
                    say(f"key in {paths.key_path()}")
                if opens:
                    page_link.show(running["address"], keys, wait=True)
                return
            time.sleep(_POLL)
    except KeyboardInterrupt:
        process.terminate()
        raise
    log_lines = paths.log_path().read_text(errors="replace").strip().splitlines()
    raise QwenError((log_lines[-1] if log_lines else "it ended").removeprefix("qwen: ").rstrip("."))


def ps(as_json: options.Json = False) -> None:
    """Show your running server and its models. Exits 1 if none runs.

    Examples:
      qwen ps --json
    """
    from qwen_cli.engines.daemon import client

    running = client.request("/engine/status", seconds=_ANSWER)
    if running is None and (pid := client.holder()) is not None:
        if as_json:
            print_json({"pid": pid, "address": None, "since": None, "models": []})
        else:
            say(f"process {pid} is your server: it is starting, or does not answer; `qwen stop` ends it")
        return
    if running is None:
        if as_json:
            typer.echo("null")
        else:
            say("no server is running; `qwen serve` starts one")
        raise typer.Exit(1)
    if as_json:
        print_json(running)
    else:
        _show(running)


def _show(running: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    say(f"{running['address']}, process {running['pid']}, up {_ago(running['since'])}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, side in (
        ("model", "left"),
        ("engine", "left"),
        ("weights", "right"),
        ("context", "right"),
        ("loaded", "right"),
        ("requests", "right"),
        ("now", "left"),
    ):
        table.add_column(column, justify=side)  # type: ignore[arg-type]  # rich's own literals
    for model in running["models"]:
        idle = model["idle_seconds"]
        busy = f"{model['running']} running, {model['waiting']} waiting"
        table.add_row(
            model["model"],
            model["engine"],
            f"{model['bytes'] / 1e9:.1f} GB",
            f"{model['context']:,}",
            _ago(model["since"]),
            f"{model['requests']:,}",
            f"idle for {_span(idle)}" if idle else busy,
        )
    Console(soft_wrap=True, markup=False).print(table)


def _ago(then: float) -> str:
    return _span(time.time() - then)


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


_STOP_POLL = 0.1  # seconds
_STOP_NOW, _STOP = 10.0, 60.0
"""Seconds in which a server that is told to end at once, or that has nothing to do, has to have ended: it is
killed then. Settling and freeing a model takes at most half a minute (`ModelPool.close`)."""


def stop(
    now: Annotated[
        bool, typer.Option("--now", help="Stop at once, cutting off answers that are still being generated.")
    ] = False,
) -> None:
    """Stop your running server, once the answers it is generating are complete.

    One that has nothing to do and has not ended after a minute, with --now after 10 seconds, is killed.

    Examples:
      qwen stop
    """
    from qwen_cli.engines.daemon import client

    running = client.request("/engine/status", seconds=_ANSWER)
    holder = client.holder() if running is None else int(running["pid"])
    if holder is None:
        raise QwenError("no server is running")
    pid = holder
    _send(pid)
    busy = sum(model["running"] for model in running["models"]) if running else 0
    if busy and not now:
        say(f"waiting for {busy} answer{'s' if busy > 1 else ''} to end; `qwen stop --now` does not")
    began = asked_at = time.monotonic()
    limit = _STOP_NOW if now else None if busy else _STOP
    while _lives(pid):
        if limit is not None and time.monotonic() - began > limit:
            _send(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
            limit = None
            say(f"it had not ended after {time.monotonic() - began:.0f} s, and was killed")
        elif now and time.monotonic() - asked_at > 1:
            _send(pid)
            asked_at = time.monotonic()
        time.sleep(_STOP_POLL)
    say("stopped")


def _send(pid: int, number: int = signal.SIGTERM) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _lives(pid: int) -> bool:
    """Return whether the server still runs: a zombie, whose parent has not asked yet, does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
