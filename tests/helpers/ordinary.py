"""Turns root into an ordinary user and becomes the command after it: `python ordinary.py COMMAND …`.

An interpreter, environment or checkout that only root can reach (one in root's home) is first laid open to
all, in a mount namespace that ends with the command, as nothing else on the machine may change.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from qwen_cli.sandbox.libc import LIBC, check

SPARE = 65_534
NEWNS, BIND, REC, PRIVATE = 0x00020000, 4096, 16384, 1 << 18  # <linux/sched.h>, <linux/mount.h>


def main() -> None:
    check(LIBC.unshare(NEWNS), "unshare")
    mount("none", "/", None, REC | PRIVATE)
    lay_open([Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]])
    os.setgroups([])
    os.setresgid(SPARE, SPARE, SPARE)
    os.setresuid(SPARE, SPARE, SPARE)
    os.environ["HOME"] = "/nonexistent"
    os.execvp(sys.argv[1], sys.argv[1:])


def lay_open(wanted: list[Path]) -> None:
    """Put an open, otherwise empty folder over each closed one above `wanted`, with `wanted` inside."""
    # A folder that is closed itself stays so wherever it is mounted: what is in it is laid open one by one.
    whole = [p for path in wanted for p in ([path] if is_open(path) else path.iterdir())]
    closed = {path: gate for path in whole if (gate := closed_above(path))}
    held = {path: os.open(path, os.O_PATH) for path in closed}
    folders = {path for path in closed if path.is_dir()}
    for gate in set(closed.values()):
        mount("tmpfs", str(gate), "tmpfs", 0)
        gate.chmod(0o755)
    for path, fd in held.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if path in folders else path.touch()
        mount(f"/proc/self/fd/{fd}", str(path), None, BIND | REC)
        os.close(fd)


def closed_above(path: Path) -> Path | None:
    """The highest folder above `path` that others may not walk through."""
    return next((p for p in reversed(path.parents) if not is_open(p)), None)


def is_open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o001)


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    check(
        LIBC.mount(
            source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), None
        ),
        f"mount {target}",
    )


if __name__ == "__main__":
    main()
