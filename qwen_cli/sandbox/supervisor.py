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
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qwen_cli.sandbox import cgroups, channel, confine, namespaces, privileges, runner, usage
from qwen_cli.sandbox import runner as sandbox_runner
from qwen_cli.sandbox.libc import syscall
from qwen_cli.sandbox.result import Limits

PREFIX = "qwen-sandbox-"  # of folders for code that has no root of its own
# Between two looks at memory, processes and files: a tenth of the time may go there, within these bounds.
_TICK_MS, _SLOWEST_MS = 5.0, 50.0
_RESTS = 10
_SLACK = 2 * privileges.REPORT_BYTES  # the kernel's own limit on one process comes first
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
    ours, theirs = socket.socketpair()
    # Its copy of the interpreter, what it may use on top, and in the end the report of a failure.
    inherited = usage.total(usage.read_status(), usage.RESIDENT)
    group = cgroups.make(limits.memory_bytes + limits.file_bytes + inherited + _SLACK)
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
            held = channel_fd, output_fd, theirs.fileno()
            _become_contained(held, group, limits, readable, scratch, spare, without)
        os.close(channel_fd)
        os.close(output_fd)
        theirs.close()
        with ours:
            view = usage.receive_view(ours)
        reason = None
        held_by = group if group and group.holds() else None
        most = limits.memory_bytes + inherited + _SLACK
        if view:
            space = sandbox_runner.Space(scratch, PREFIX) if scratch else None
            reason = _watch(control, _Watched(child, view, limits, most, scratch, space, held_by))
        _, status = os.waitpid(child, 0)
        report = {"exit": os.waitstatus_to_exitcode(status), "reason": reason}
        control.send(json.dumps(report).encode())
    except OSError:
        pass  # the caller has gone: there is nobody to tell
    finally:
        if scratch:
            sandbox_runner.remove(scratch)
        if group:
            group.remove()


def _become_contained(
    held: tuple[int, int, int],
    group: cgroups.Group | None,
    limits: Limits,
    readable: Sequence[Path],
    scratch: Path | None,
    spare: int,
    without: Collection[str],
) -> None:
    code = 0
    try:
        if group:
            group.join()
        watched = socket.socket(fileno=_keep_only(*held))
        os.setsid()
        try:
            applied = confine.confine(limits, readable, scratch, spare, without, watched)
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


def _keep_only(channel_fd: int, output_fd: int, watched_fd: int) -> int:
    """Close all descriptors but these, at the numbers the code's process has them; the last one's number."""
    # Moved out of the way first: the numbers they have may be the numbers they are to get.
    wanted = (os.open(os.devnull, os.O_RDONLY), output_fd, output_fd, channel_fd, watched_fd)
    top = max(*wanted, len(wanted)) + 1
    held = [os.dup2(fd, top + i) for i, fd in enumerate(wanted)]
    for target, fd in enumerate(held):
        os.dup2(fd, target)
    os.closerange(len(wanted), os.sysconf("SC_OPEN_MAX"))
    return len(wanted) - 1


@dataclass(frozen=True)
class _Watched:
    """How one contained process is seen, and what it may use: `most` bytes of memory, unless `group` sees to
    that; `scratch` is its folder on the host, where it has one, and `space` what is left of the disk."""

    child: int
    view: usage.ProcessView
    limits: Limits
    most: int
    scratch: Path | None
    space: sandbox_runner.Space | None
    group: cgroups.Group | None

    def excess(self) -> str | None:
        """Return what it has too much of."""
        too_much = self.group.exceeded() if self.group else self.view.memory(self.most) > self.most
        if too_much:
            return "memory"
        if self.view.threads() > self.limits.processes:
            return "processes"
        if self.scratch is None or self.space is None:
            return None
        held, most = sandbox_runner.usage(self.scratch), self.limits.file_bytes
        if held.size > most or not held.whole or self.space.lost(2 * most, self.standing_still):
            return "files"
        return None

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Keep the process from running for a moment."""
        os.kill(self.child, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.child, signal.SIGCONT)


def _watch(control: socket.socket, watched: _Watched) -> str | None:
    """Wait for the end of the child, which this function brings about where it has to; why, if it did."""
    child = watched.child
    poll = select.poll()
    poll.register(control, select.POLLIN)
    with contextlib.suppress(OSError):  # before Linux 5.3 the end is seen at the next tick
        poll.register(syscall(_PIDFD_OPEN, child, 0, what="pidfd"), select.POLLIN)
    tick: float | None = _TICK_MS  # none while it stands still
    begun = False  # until then it waits for its first block
    while True:
        ready = {fd for fd, _ in poll.poll(tick)}
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return "memory" if watched.group and watched.group.exceeded() else None
        reason = None
        if control.fileno() in ready:
            said = control.recv(1)
            if said == channel.GO:
                if tick is None and watched.space:
                    watched.space.go_on()
                os.kill(child, signal.SIGCONT)
                tick, begun = _TICK_MS, True
            elif said == channel.REST:
                reason = _stop(child, watched.view)
                if watched.space:
                    watched.space.stand_still()
                tick = None
            else:
                reason = "closed"
        if tick is not None and not reason:
            started = time.monotonic()
            if not begun and watched.space:
                watched.space.go_on()
            reason = watched.excess()
            tick = min(max(_TICK_MS, _RESTS * 1000 * (time.monotonic() - started)), _SLOWEST_MS)
        if reason:
            os.kill(child, signal.SIGKILL)
            return reason


def _stop(child: int, view: usage.ProcessView) -> str | None:
    """Keep the family from running while nothing is asked of it: the first process stands still, those it has
    started end. Why it has to be ended, where that fails."""
    os.kill(child, signal.SIGSTOP)
    if len(view.pids()) == 1:
        return None
    # Our children are in its namespace: one of them ends all there but the first, in a single call.
    helper = os.fork()
    if helper == 0:
        try:
            if os.getppid() == 0:  # this process is in there, and its parent is not
                os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    _, status = os.waitpid(helper, os.WUNTRACED)
    return None if status == 0 else "processes"
