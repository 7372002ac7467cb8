"""A solution's process started afresh, without the warmed parent and the layers of Linux.

Nothing holds it but limits, and what it is wrapped in: nothing with the sandbox off, sandbox-exec on macOS.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypeAlias

from qwen_cli.sandbox import channel, forkserver_client
from qwen_cli.sandbox import runner as sandbox_runner
from qwen_cli.sandbox.result import MIB, Limits

Wrapped: TypeAlias = Callable[[Sequence[str], Path], Sequence[str]]
"""From a command and its scratch folder to the command that runs it contained."""

_COMMAND = """
import json, sys
sys.path.insert(0, sys.argv[1])
from qwen_cli.sandbox import spawn
spawn.main(int(sys.argv[2]), *json.loads(sys.argv[3]))
"""
_PREFIX = "qwen-plain-"
_TICK_SECONDS = 0.05  # between two looks at memory, processes and files
_LIBRARIES = 1024 * MIB  # of address space, which numpy and scipy map when they are imported


def bare(command: Sequence[str], scratch: Path) -> Sequence[str]:
    """Return the command unwrapped: it has all the rights of this user."""
    return command


def start(
    control: socket.socket, channel_fd: int, output_fd: int, limits: Limits, wrapped: Wrapped
) -> Callable[[], str | None]:
    """Start a process that answers on `channel_fd`, and a thread that ends it; tells its last words.

    Both `control` and `output_fd` are closed for the caller.
    """
    _sweep()
    scratch, lock = sandbox_runner.make(_PREFIX)
    errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    root = str(Path(__file__).resolve().parents[2])
    arguments = json.dumps([asdict(limits), forkserver_client.search_path(), str(scratch)])
    command = [sys.executable, "-I", "-S", "-c", _COMMAND, root, str(channel_fd), arguments]
    try:
        process = subprocess.Popen(
            wrapped(command, scratch),
            stdin=subprocess.DEVNULL,
            stdout=output_fd,
            stderr=errors,
            pass_fds=[channel_fd],
            env=forkserver_client.environment(),
            cwd=scratch,
            start_new_session=True,
        )
    except BaseException:
        sandbox_runner.remove(scratch)
        os.close(lock)
        control.close()
        raise
    finally:
        os.close(output_fd)
    threading.Thread(target=_attend, args=(process, control, limits, scratch, lock), daemon=True).start()
    return lambda: forkserver_client.last_line(errors)


def main(channel_fd: int, limits: dict, search_path: list[str], scratch: str) -> None:
    """Run in the new process: set limits, then execute blocks of code until the caller has gone."""
    from qwen_cli.sandbox import runner

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = search_path
    os.dup2(1, 2)  # what was an error of ours so far is from here on output of the code
    _limit(Limits(**limits))
    sandbox_runner.become_home(Path(scratch))
    token = bytes(channel.TOKEN_BYTES)
    channel.send(channel_fd, token, channel.READY, b"{}", stream=True)
    runner.serve(channel_fd, stream=True)


def _limit(limits: Limits) -> None:
    values = {
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":  # macOS takes it and does not heed it
        values[resource.RLIMIT_AS] = limits.memory_bytes + _LIBRARIES
    for which, most in values.items():
        _, allowed = resource.getrlimit(which)
        least = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(which, (least, least))


@functools.cache
def _sweep() -> None:
    sandbox_runner.sweep(_PREFIX, range(0))


def _attend(
    process: subprocess.Popen[bytes], control: socket.socket, limits: Limits, scratch: Path, lock: int
) -> None:
    """Wait for the end of `process`, or bring it about; then say how it ended and clean up."""
    reason = None
    with contextlib.suppress(OSError):
        tick: float | None = _TICK_SECONDS  # none while it stands still
        while process.poll() is None and not reason:
            said = control.recv(1) if select.select([control], [], [], tick)[0] else None
            if said == channel.REST:
                _signal(process.pid, signal.SIGSTOP)
                tick = None
            elif said == channel.GO:
                _signal(process.pid, signal.SIGCONT)
                tick = _TICK_SECONDS
            else:
                reason = "closed" if said == b"" else _excess(process.pid, limits, scratch)
    _signal(process.pid, signal.SIGKILL)
    report = {"exit": process.wait(), "reason": reason}
    sandbox_runner.remove(scratch)
    os.close(lock)
    with control, contextlib.suppress(OSError):
        control.send(json.dumps(report).encode())


def _excess(pid: int, limits: Limits, scratch: Path) -> str | None:
    import psutil

    memory = threads = 0
    for one in _family(pid):
        with contextlib.suppress(psutil.Error):
            memory += one.memory_info().rss
            threads += one.num_threads()
    if memory > limits.memory_bytes + 128 * MIB:  # an interpreter with sympy and numpy has 110
        return "memory"
    if threads > limits.processes:
        return "processes"
    held = sandbox_runner.usage(scratch)
    return "files" if held.size > limits.file_bytes or not held.whole else None


def _signal(pid: int, number: int) -> None:
    """Send a signal to the group of process `pid` and to all that it has started."""
    import psutil

    family = _family(pid)
    with contextlib.suppress(OSError):
        os.killpg(pid, number)
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.send_signal(number)


def _family(pid: int) -> list:
    import psutil

    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []
