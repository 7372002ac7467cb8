"""Stands between the warmed process and one contained one: starts it, watches it, ends it, says how it ended.

Runs no foreign code and is not contained itself; the contained process cannot see it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from qwen_cli.sandbox import channel, confine, namespaces, privileges, runner, usage
from qwen_cli.sandbox import runner as sandbox_runner
from qwen_cli.sandbox.libc import syscall
from qwen_cli.sandbox.result import MIB, Limits

PREFIX = "qwen-sandbox-"  # of folders for code that has no root of its own
_TICK_MS = 50  # between two looks at memory, processes and files
_CHANNEL_FD = 3
_PIDFD_OPEN = 434  # include/uapi/asm-generic/unistd.h: the same on every architecture
_NO_TOKEN = bytes(channel.TOKEN_BYTES)


def supervise(
    control: socket.socket,
    channel_fd: int,
    output_fd: int,
    limits: Limits,
    readable: Sequence[Path],
    own_namespaces: bool,
    without: Collection[str],
) -> None:
    """Hold one contained process until it ends or `control` is closed at the other end."""
    scratch = None
    if own_namespaces:
        namespaces.enter()
    else:
        scratch, _ = sandbox_runner.make(PREFIX)
        if os.geteuid() == 0 and confine.others_can_reach([*readable, scratch]):
            spare = privileges.spare_id(os.getpid())
            os.chown(scratch, spare, spare)
    spare = os.getpid()
    try:
        child = os.fork()
        if child == 0:
            _become_contained(channel_fd, output_fd, limits, readable, scratch, spare, without)
        os.close(channel_fd)
        os.close(output_fd)
        reason = _watch(control, child, limits, scratch)
        _, status = os.waitpid(child, 0)
        report = {"exit": os.waitstatus_to_exitcode(status), "reason": reason}
        control.send(json.dumps(report).encode())
    except OSError:
        pass  # the caller has gone: there is nobody to tell
    finally:
        if scratch:
            sandbox_runner.remove(scratch)


def _become_contained(
    channel_fd: int,
    output_fd: int,
    limits: Limits,
    readable: Sequence[Path],
    scratch: Path | None,
    spare: int,
    without: Collection[str],
) -> None:
    code = 0
    try:
        _keep_only(channel_fd, output_fd)
        os.setsid()
        try:
            applied = confine.confine(limits, readable, scratch, spare, without)
        except OSError as fault:
            channel.send(_CHANNEL_FD, _NO_TOKEN, channel.REFUSED, str(fault).encode())
            return
        if not applied.enough:
            channel.send(_CHANNEL_FD, _NO_TOKEN, channel.REFUSED, b"")
            return
        sandbox_runner.become_home(scratch or namespaces.scratch_folder(readable))
        channel.send(_CHANNEL_FD, _NO_TOKEN, channel.READY, json.dumps(asdict(applied)).encode())
        runner.serve(_CHANNEL_FD)
    except BaseException:
        code = 70  # EX_SOFTWARE of sysexits.h: the runner itself has failed, the caller says so
    finally:
        os._exit(code)


def _keep_only(channel_fd: int, output_fd: int) -> None:
    # Moved out of the way first: the numbers they have may be the numbers they are to get.
    channel_fd, output_fd = os.dup(channel_fd), os.dup(output_fd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    top = max(channel_fd, output_fd, nothing, _CHANNEL_FD) + 1
    held = [os.dup2(fd, top + i) for i, fd in enumerate((nothing, output_fd, output_fd, channel_fd))]
    for target, fd in enumerate(held):
        os.dup2(fd, target)
    os.closerange(_CHANNEL_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _watch(control: socket.socket, child: int, limits: Limits, scratch: Path | None) -> str | None:
    """Wait for the end of `child`, which this function brings about where it has to; why, if it did."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    with contextlib.suppress(OSError):  # before Linux 5.3 the end is seen at the next tick
        poll.register(syscall(_PIDFD_OPEN, child, 0, what="pidfd"), select.POLLIN)
    inherited = usage.memory(child)
    while True:
        ready = {fd for fd, _ in poll.poll(_TICK_MS)}
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return None
        gone = control.fileno() in ready
        reason = "closed" if gone else _excess(child, inherited, limits, scratch)
        if reason:
            os.kill(child, signal.SIGKILL)
            return reason


def _excess(child: int, inherited: int, limits: Limits, scratch: Path | None) -> str | None:
    family = usage.family(child)
    used = sum(max(0, usage.memory(pid) - inherited) for pid in family)
    if used > limits.memory_bytes + 64 * MIB:  # the kernel's own limit on one process comes first
        return "memory"
    if sum(map(usage.threads, family)) > limits.processes:
        return "processes"
    if scratch is None:
        return None
    held = sandbox_runner.usage(scratch)
    return "files" if held.size > limits.file_bytes or not held.whole else None
