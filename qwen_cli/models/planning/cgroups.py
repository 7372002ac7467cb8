"""The limits of the control groups that this process is in: a container, a service, a `systemd-run` scope.

A group has no more than each of those around it, as far as they can be seen from here, and shares that with
all other processes in it (https://docs.kernel.org/admin-guide/cgroup-v2.html, …/cgroup-v1/memory.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")
_LIMITLESS = 1 << 60  # bytes; what version 1 writes for no limit is more


def cores() -> float | None:
    """Return the cores' time that this process may use, the least that a group around it is given; `None`
    where none is limited."""
    shares = [
        *(_share(_words(folder / "cpu.max")) for folder in _folders("")),
        *(
            _share([*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")])
            for folder in _folders("cpu")
        ),
    ]
    return min((share for share in shares if share), default=None)


def memory() -> int | None:
    """Return the bytes that this process may use where it is alone in its groups: the least of their limits
    and of what they are slowed down beyond (`memory.high`); `None` where none is limited."""
    return min((most for most, _ in _memories()), default=None)


def free_memory() -> int | None:
    """Return the bytes that the groups around this process leave it: what others in them use is not free,
    files that they have read are. `None` where none is limited."""
    return min((max(0, most - used) for most, used in _memories()), default=None)


def _memories() -> Iterator[tuple[int, int]]:
    """Yield for each group with a limit that limit and the bytes in use."""
    for folder in _folders(""):
        limits = [_number(folder / f"memory.{name}") for name in ("max", "high")]
        if given := [limit for limit in limits if limit is not None]:
            yield min(given), _used(folder, "memory.current", "")
    for folder in _folders("memory"):
        # The second is that of groups around it, too, which need not be to be seen.
        limits = [_number(folder / "memory.limit_in_bytes"), _stat(folder).get("hierarchical_memory_limit")]
        if given := [limit for limit in limits if limit is not None and limit < _LIMITLESS]:
            yield min(given), _used(folder, "memory.usage_in_bytes", "total_")


def _used(folder: Path, name: str, prefix: str) -> int:
    """Return the bytes in use in a group, without files and what else the kernel gives back when memory is
    short: as `MemAvailable` counts."""
    counted = _stat(folder)
    given_back = ("inactive_file", "active_file", "slab_reclaimable")
    return max(0, (_number(folder / name) or 0) - sum(counted.get(prefix + one, 0) for one in given_back))


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, the innermost first, up to the outermost that
    is to be seen: of version 1's `controller` ("memory"), or of version 2 ("")."""
    path = _path(controller)
    if path is None:
        return
    for root, place in _mounts(controller):
        inner = _below(path, root)
        folder = place / inner if (place / inner).is_dir() else place
        yield folder
        yield from (parent for parent in folder.parents if parent == place or place in parent.parents)
        return


def _below(path: str, root: str) -> str:
    """Return `path` as it is found below a mount of the group `root`; "" where it is not below it, as in a
    container that sees the names of its host."""
    if ".." in PurePosixPath(path).parts:
        return ""
    inner, outer = PurePosixPath(path), PurePosixPath(root)
    return str(inner.relative_to(outer)) if inner.is_relative_to(outer) else ""


def _path(controller: str) -> str | None:
    """Return the group of this process ("/user.slice/run-1.scope")."""
    for line in _lines(_PROC / "cgroup"):
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if path and (controller in names.split(",") if controller else not names):
            return path
    return None


def _mounts(controller: str) -> Iterator[tuple[str, Path]]:
    """Yield the group that is the root of each mounted tree, and where it is (proc_pid_mountinfo(5))."""
    for line in _lines(_PROC / "mountinfo"):
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not dash or len(fields) < 5 or len(kind) < 3:
            continue
        if (
            kind[0] == "cgroup2"
            if not controller
            else kind[0] == "cgroup" and controller in kind[2].split(",")
        ):
            yield _unescaped(fields[3]), Path(_unescaped(fields[4]))


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _share(quota: list[str]) -> float | None:
    """Return the cores' time of a quota and its period, in microseconds; `None` for "max" and -1."""
    try:
        share = int(quota[0]) / int(quota[1])
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _stat(folder: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(folder / "memory.stat"))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _number(file: Path) -> int | None:
    words = _words(file)
    return int(words[0]) if words and words[0].isdecimal() else None


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:  # not Linux, a controller that is off, or one that is not to be seen
        return []
