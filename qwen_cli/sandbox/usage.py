"""What a contained process and all it has started use: read by its supervisor through descriptors which the
process opened, and handed over, before it was closed off. They work where /proc hides the processes of others
(hidepid), and the one of its own pid namespace lists all that are in it, whoever their parents are.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

# Pages of its own, of shared memory, and of both in swap. Of a thread group whose first thread has ended only
# the threads that still run have these lines in their status.
RESIDENT = ("RssAnon", "RssShmem", "VmSwap")
# The same of smaps_rollup, each page divided by the number of processes that map it: what is shared with the
# warmed process counts as a part, what only the family holds counts once.
_PROPORTIONAL = ("Pss_Anon", "Pss_Shmem", "SwapPss")
_FIRST = 1  # the contained process in its own pid namespace
_MOST = 1 << 16  # bytes of such a file

Fields = dict[str, str]


@dataclass(frozen=True)
class ProcessView:
    """`status` and `rollup` are /proc/self's files of the first process, `rollup` -1 where there is none
    (Linux before 4.14); `processes` is the /proc of its pid namespace, -1 where it has none and is alone."""

    status: int
    rollup: int
    processes: int

    def pids(self) -> list[int]:
        """Return all processes, as their own namespace numbers them."""
        if self.processes < 0:
            return [_FIRST]
        with os.scandir(self.processes) as entries:
            return [int(entry.name) for entry in entries if entry.name.isdigit()]

    def memory(self, enough: int) -> int:
        """Return the bytes of anonymous, shared and swapped memory of all together. Up to `enough` an upper
        bound (a page counts for each process that has it); beyond, as exact as this user may know."""
        pids = self.pids()
        bound = sum(map(self._resident, pids))
        return bound if bound <= enough else sum(map(self._exact, pids))

    def threads(self) -> int:
        """Count the threads of all processes together."""
        return sum(int(self._status(pid).get("Threads", "0")) for pid in self.pids())

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.status, self.rollup, self.processes):
            if fd >= 0:
                os.close(fd)

    def _status(self, pid: int) -> Fields:
        return _read(self.status) if pid == _FIRST else self._read_of(f"{pid}/status")

    def _exact(self, pid: int) -> int:
        measured = self._proportional(pid)
        # Not to be read by this user, of a first thread that has ended, or gone by now and without memory.
        return self._resident(pid) if measured is None else measured

    def _resident(self, pid: int) -> int:
        fields = self._status(pid)
        if RESIDENT[0] in fields:
            return total(fields, RESIDENT)
        living = (status for status in self._of_threads(pid) if RESIDENT[0] in status)
        if (status := next(living, None)) is not None:
            return total(status, RESIDENT)
        # No thread could be looked at: all have ended, or /proc shows the first one only.
        return (self._proportional(pid) or 0) if pid == _FIRST else 0

    def _of_threads(self, pid: int) -> Iterator[Fields]:
        if self.processes < 0:
            return
        for _ in range(3):  # they may replace each other while they are listed
            with contextlib.suppress(OSError):
                task = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.processes)
                try:
                    names = os.listdir(task)  # noqa: PTH208 - of a descriptor
                finally:
                    os.close(task)
                yield from (self._read_of(f"{pid}/task/{name}/status") for name in names)

    def _proportional(self, pid: int) -> int | None:
        fields = _read(self.rollup) if pid == _FIRST else self._read_of(f"{pid}/smaps_rollup")
        return total(fields, _PROPORTIONAL) if _PROPORTIONAL[0] in fields else None

    def _read_of(self, name: str) -> Fields:
        try:
            fd = os.open(name, os.O_RDONLY, dir_fd=self.processes)
        except OSError:
            return {}
        try:
            return _read(fd)
        finally:
            os.close(fd)


def total(fields: Fields, names: tuple[str, ...]) -> int:
    """Add up the bytes in `names` of a file in which the kernel counts in kB; what is not there is
    nothing."""
    return 1024 * sum(int(fields.get(name, "0 kB").split()[0]) for name in names)


def show(to: socket.socket) -> None:
    """Hand the supervisor what tells about this process. Raises `OSError` where there is no /proc."""
    held = [os.open("/proc/self/status", os.O_RDONLY)]
    with contextlib.suppress(OSError):
        held.append(os.open("/proc/self/smaps_rollup", os.O_RDONLY))
    _hand_over(to, held)


def show_family(to: socket.socket, processes: int) -> None:
    """Hand over the /proc of the own pid namespace, which is closed here; -1 says that there is none."""
    _hand_over(to, [processes] if processes >= 0 else [])


def receive_view(by: socket.socket) -> ProcessView | None:
    """Receive what `show` and `show_family` at the other end of the socket hand over; `None` where that has
    ended."""
    first, own, _, _ = socket.recv_fds(by, 1, 2)
    more, family, _, _ = socket.recv_fds(by, 1, 1)
    if not first or not more:
        for fd in (*own, *family):
            os.close(fd)
        return None
    return ProcessView(own[0], own[1] if len(own) > 1 else -1, family[0] if family else -1)


def _hand_over(to: socket.socket, held: list[int]) -> None:
    try:
        socket.send_fds(to, [b"."], held)
    finally:
        for fd in held:
            os.close(fd)


def read_status() -> Fields:
    """Read what /proc says of this process."""
    fd = os.open("/proc/self/status", os.O_RDONLY)
    try:
        return _read(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> Fields:
    try:
        lines = os.pread(fd, _MOST, 0).decode(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
