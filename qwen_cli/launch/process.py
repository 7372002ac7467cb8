"""An engine as a process of its own: its output is passed on, signals reach it, its exit code is ours."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence

from qwen_cli.errors import EngineError
from qwen_cli.launch.command import Command

_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_PATIENCE = 30.0  # seconds that those beside the first may take to end


def serve(command: Command, *, key: str | None = None, beside: Sequence[Command] = ()) -> int:
    """Run `command` to its end, with `beside` as long as it runs. Returns its exit code; 128 and the signal's
    number where a signal ended it.

    Each process leads a group of its own, so that a Ctrl-C of the terminal reaches it once, from here.
    Raises `EngineError` where one cannot be started, or one of those beside ends first.
    """
    processes: list[subprocess.Popen[bytes]] = []
    numbers = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]

    def pass_on(number: int, frame: object) -> None:
        for process in processes:
            _send(process, number)

    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        processes += [_start(other, None) for other in beside]
        first = _start(command, key)
        processes.append(first)
        failed: list[int] = []
        for other in processes[:-1]:
            threading.Thread(target=_watch, args=(other, first, failed.append), daemon=True).start()
        code = first.wait()
        if failed:
            raise EngineError(
                f"the engine on another machine ended with exit code {failed[0]}", "its own message is above"
            )
        return 128 - code if code < 0 else code
    finally:
        for process in processes:
            if process.poll() is None:
                _send(process, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def once(command: Command) -> None:
    """Run a command that ends by itself. Raises `EngineError` where it fails."""
    process = _start(command, None)
    if code := process.wait():
        raise EngineError(f"`{command.shell_line()}` ended with exit code {code}", "its own message is above")


def _start(command: Command, key: str | None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **command.environment}
    if command.key and key:
        environment[command.key] = key
    try:
        return subprocess.Popen(command.words, env=environment, start_new_session=True)
    except OSError as fault:
        raise EngineError(
            f"cannot start {command.words[0]}: {fault.strerror}", "check that it is on PATH"
        ) from None


def _watch(
    other: subprocess.Popen[bytes], first: subprocess.Popen[bytes], tell: Callable[[int], None]
) -> None:
    code = other.wait()
    if first.poll() is None:
        tell(code)
        _send(first, signal.SIGTERM)


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)
