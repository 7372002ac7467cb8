"""What a contained process and all it has started use, read from /proc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# Pages of its own, of shared memory, and of both in swap. Of a thread group whose first thread has ended only
# the threads that still run have these lines.
_MEMORY = ("RssAnon", "RssShmem", "VmSwap")

Status = dict[str, str]


def family(pid: int) -> list[int]:
    """`pid` and all processes below it."""
    found, new = [pid], [pid]
    while new:
        new = [child for parent in new for child in _children(parent)]
        found += new
    return found


def memory(pid: int) -> int:
    """Bytes of anonymous, shared and swapped memory of `pid`; 0 once all of its threads have ended."""
    return memory_in(next((s for s in _statuses(pid) if _MEMORY[0] in s), {}))


def memory_in(status: Status) -> int:
    """The same as one `/proc/PID/status` says it."""
    return 1024 * sum(int(status.get(name, "0 kB").split()[0]) for name in _MEMORY)


def threads(pid: int) -> int:
    """Threads of process `pid`; 0 once it is gone."""
    return int(_read(Path(f"/proc/{pid}/status")).get("Threads", "0"))


def _statuses(pid: int) -> Iterator[Status]:
    """What the process says of itself, then, should it be needed, what each of its threads says."""
    yield _read(Path(f"/proc/{pid}/status"))
    try:
        yield from (_read(thread / "status") for thread in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return  # ended in between


def _read(path: Path) -> Status:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    except OSError:
        pass  # ended in between, or a kernel without CONFIG_PROC_CHILDREN
    return children
