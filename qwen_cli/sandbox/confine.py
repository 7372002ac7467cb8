"""Puts every layer there is round the calling process, before it has read a byte of foreign code."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwen_cli.sandbox import landlock, namespaces, privileges, seccomp, usage
from qwen_cli.sandbox.result import Limits

# Where shared libraries are found, and what the loader and time zones need.
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")

_BEFORE_CUTTING = 2  # the ABI of Linux 5.19 to 6.1, which does not know cutting files as a right


@dataclass(frozen=True)
class Applied:
    """What holds the calling process now. `landlock` is the ABI in use, 0 for none."""

    namespaces: bool
    landlock: int
    seccomp: bool

    @property
    def enough(self) -> bool:
        """Return whether foreign code may be run at all."""
        return self.namespaces or bool(self.landlock and self.seccomp)


def readable_paths(search_path: Sequence[str]) -> list[Path]:
    """Return all that code may read: the interpreter's own files and the libraries. Nothing below another
    entry."""
    base = Path(sys.base_prefix)
    wanted = [Path(p) for p in (*search_path, *_SYSTEM)]
    if base != Path("/usr"):
        wanted.append(base / "lib")
    wanted += [p.resolve() for p in wanted]
    there = sorted({p for p in wanted if p.is_absolute() and p.exists() and p != Path("/")})
    return [p for p in there if not any(above in there for above in p.parents)]


def confine(
    limits: Limits,
    readable: Sequence[Path],
    scratch: Path | None,
    spare: int,
    without: Collection[str],
    watched: socket.socket,
) -> Applied:
    """Apply the layers in the one order in which they can be. `scratch` is a folder of the host for code that
    has no root of its own; `None` says that `namespaces.enter` has been called in the parent. The supervisor
    is shown at `watched`, which is closed, what it needs to measure this process."""
    privileges.give_way()
    was_root = os.geteuid() == 0
    # The size of the process is in /proc, which is gone a line further down.
    privileges.limit(limits, count_processes=scratch is None)
    folder = scratch or namespaces.scratch_folder(readable)
    with watched:
        usage.show(watched)
        processes = -1 if scratch else namespaces.make_root(readable, limits.file_bytes)
        usage.show_family(watched, processes)
    # Processes that the supervisor could not count are not to be: threads only.
    counted = processes >= 0
    if os.geteuid() == 0 and (scratch is None or others_can_reach(readable)):
        privileges.become_spare_user(spare)
    os.chdir(folder)
    os.umask(0o077)
    # The supervisor of an ordinary user measures what the first process has started with no powers but that
    # user's. Nobody else can name them, and seccomp refuses what would use it.
    privileges.renounce(hidden=was_root or not counted)
    abi = 0
    if landlock.abi() and "landlock" not in without:
        newest = _BEFORE_CUTTING if "landlock 3" in without else None
        abi = landlock.apply(readable, [folder], namespaces.DEVICES, newest)
    filtered = seccomp.supported() and "seccomp" not in without
    if filtered:
        seccomp.apply(own_root=scratch is None, own_processes=counted)
    return Applied(namespaces=scratch is None, landlock=abi, seccomp=filtered)


def others_can_reach(paths: Sequence[Path]) -> bool:
    """Return whether a user who owns nothing can walk to all of `paths`."""
    return all(p.stat().st_mode & 0o001 for path in paths for p in path.parents)
