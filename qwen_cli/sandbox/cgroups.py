"""A control group whose memory the kernel limits as a whole, where this user may make one.

Version 2 (a delegated group, as systemd gives to each user) and the memory controller of version 1. Never
outside a limit that this process itself is under.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_SWAP = {"memory.swap.max": "0", "memory.oom.group": "1"}  # younger kernels only


@dataclass(frozen=True)
class Group:
    """A group of one sandbox. `events` counts, in the line `oom_kill`, how often its limit was reached."""

    path: Path
    events: str

    def join(self) -> None:
        """Move the calling process into it, where that is allowed."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.procs").write_text("0")

    def holds(self) -> bool:
        """Return whether a process is in it."""
        with contextlib.suppress(OSError):
            return bool((self.path / "cgroup.procs").read_text())
        return False

    def exceeded(self) -> bool:
        """Return whether a process had to be ended because there was no memory left."""
        with contextlib.suppress(OSError):
            lines = (self.path / self.events).read_text().splitlines()
            return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)
        return False

    def remove(self) -> None:
        """Remove it, once all its processes have ended."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


def make(memory_bytes: int, own: Path = Path("/proc/self"), root: Path = Path("/")) -> Group | None:
    """Create a group for one process to join and to fork in; return `None` where none can be had. `own` is
    this process's folder in /proc, `root` where the paths found there begin."""
    for parent, limit, events in _parents(own, root):
        path = parent / f"qwen-{os.getpid()}"
        with contextlib.suppress(OSError):
            path.mkdir()
            try:
                (path / limit).write_text(str(memory_bytes))
            except OSError:
                path.rmdir()
                continue
            for name, value in _NO_SWAP.items():
                with contextlib.suppress(OSError):
                    if (path / name).exists():
                        (path / name).write_text(value)
            return Group(path, events)
    return None


def _parents(own: Path, root: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield (group to make one in, file of its limit, file of its events), the best first."""
    try:
        groups = [line.split(":", 2) for line in (own / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (own / "mountinfo").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, name in (group for group in groups if len(group) == 3):
        for fields in mounts:
            kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
            point = root / fields[4].lstrip("/")
            if ".." in name or not name.startswith(fields[3].rstrip("/") or "/"):
                continue
            here = point / name[len(fields[3].rstrip("/")) :].lstrip("/")
            if not controllers and kind == "cgroup2":
                if parent := _delegated(here, point):
                    yield parent, "memory.max", "memory.events"
            elif "memory" in controllers.split(",") and kind == "cgroup" and "memory" in options:
                yield here, "memory.limit_in_bytes", "memory.oom_control"


def _delegated(here: Path, top: Path) -> Path | None:
    """Return the nearest group from `here` upwards that hands the memory controller on and may be written to,
    as long as none on the way has a limit of its own: that would not hold beside it."""
    for group in (here, *here.parents):
        with contextlib.suppress(OSError):
            handed_on = (group / "cgroup.subtree_control").read_text().split()
            if "memory" in handed_on and os.access(group / "cgroup.procs", os.W_OK):
                return group
        try:
            if (group / "memory.max").read_text().strip() != "max":
                return None
        except FileNotFoundError:
            pass  # the topmost group has no limit to be read
        except OSError:
            return None
        if group == top:
            return None
    return None
