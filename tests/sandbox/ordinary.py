"""Turns root into an ordinary user and becomes the command after it: `python ordinary.py COMMAND …`.

An interpreter that only root can reach (one in root's home) is first laid open to all, in a mount namespace
that ends with the command, as nothing else on the machine may change.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from qwen_cli.sandbox.confine import others_can_reach
from qwen_cli.sandbox.kernel import LIBC, check

SPARE = 65_534
NEWNS, BIND, REC, PRIVATE = 0x00020000, 4096, 16384, 1 << 18  # <linux/sched.h>, <linux/mount.h>


def main() -> None:
    closed = Path(sys.base_prefix)
    check(LIBC.unshare(NEWNS), "unshare")
    mount("none", "/", None, REC | PRIVATE)
    if not others_can_reach([closed]):
        home = closed.parents[-2]
        open_copy = Path("/mnt")
        mount(str(closed), str(open_copy), None, BIND | REC)
        fd = os.open(open_copy, os.O_PATH | os.O_DIRECTORY)
        mount("tmpfs", str(home), "tmpfs", 0)
        home.chmod(0o755)
        closed.mkdir(parents=True)
        mount(f"/proc/self/fd/{fd}", str(closed), None, BIND | REC)
        os.close(fd)
        check(LIBC.umount2(b"/mnt", 2), "umount")
    os.setgroups([])
    os.setresgid(SPARE, SPARE, SPARE)
    os.setresuid(SPARE, SPARE, SPARE)
    os.environ["HOME"] = "/nonexistent"
    os.execvp(sys.argv[1], sys.argv[1:])


def mount(source: str, target: str, kind: str | None, flags: int) -> None:
    check(
        LIBC.mount(
            source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), None
        ),
        f"mount {target}",
    )


if __name__ == "__main__":
    main()
