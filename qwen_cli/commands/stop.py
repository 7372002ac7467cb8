"""`qwen stop`: end the server of this user."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated

import typer

from qwen_cli.commands.opening import say
from qwen_cli.errors import QwenError

_POLL = 0.1  # seconds


def stop(
    now: Annotated[bool, typer.Option("--now", help="Do not wait for answers that are running.")] = False,
) -> None:
    """Stop the server of this user, once its answers have ended."""
    from qwen_cli.engines import warm

    running = warm.asked("/engine/status")
    if running is None:
        raise QwenError("no server is running")
    pid = int(running["pid"])
    _send(pid)
    busy = sum(model["running"] for model in running["models"])
    if busy and not now:
        say(f"waiting for {busy} answer{'s' if busy > 1 else ''} to end; `qwen stop --now` does not")
    told = time.monotonic()
    while _lives(pid):
        if now and time.monotonic() - told > 1:
            _send(pid)
            told = time.monotonic()
        time.sleep(_POLL)
    say("stopped")


def _send(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def _lives(pid: int) -> bool:
    """Whether the server still runs: a zombie, whose parent has not asked yet, does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
