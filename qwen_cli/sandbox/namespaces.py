"""Namespaces of its own and a root file system that holds the interpreter and nothing else.

Flags are those of <linux/{sched,mount,fcntl}.h>.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from qwen_cli.sandbox.libc import LIBC, check, prctl, syscall

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442  # since Linux 5.12, the same on every architecture
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_PR_SET_DUMPABLE = 4
_INSIDE = 1000  # the id an ordinary user's code sees as its own

DEVICES = (Path("/dev/null"), Path("/dev/urandom"))


def enter() -> None:
    """Leave the caller's user, network, IPC and UTS namespaces; children get a pid namespace too.

    With the powers of root no user namespace is made. Raises `OSError` where the machine forbids it. The
    process must have one thread.
    """
    flags = _NEWPID | _NEWNET | _NEWIPC | _NEWUTS
    if os.geteuid() == 0:
        try:
            check(LIBC.unshare(flags), "unshare")
            return
        except PermissionError:
            pass  # root of a container without CAP_SYS_ADMIN: what an ordinary user may do is left
    uid, gid = os.geteuid(), os.getegid()
    check(LIBC.unshare(_NEWUSER | flags), "unshare")
    # /proc/self belongs to root while the process is not dumpable, and the maps could not be written.
    prctl(_PR_SET_DUMPABLE, 1, what="dumpable")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE} {gid} 1")
    prctl(_PR_SET_DUMPABLE, 0, what="dumpable")


def scratch_folder(readable: Sequence[Path]) -> Path:
    """Return where the new root has its one writable folder: /tmp, or where libraries lie below that (a
    virtual environment there), a folder which does not hide them."""
    usual = Path("/tmp")  # noqa: S108 - the sandbox's own, made in its own root
    return Path("/scratch") if any(usual in (path, *path.parents) for path in readable) else usual


def make_root(readable: Sequence[Path], scratch_bytes: int) -> int:
    """Swap the root file system, in a child of `enter`, for one with `readable` (read-only, at the same
    paths), `DEVICES` and an empty `scratch_folder` in memory. Nothing else is left, /proc neither.

    Returns a descriptor of the pid namespace's own /proc, which is mounted nowhere; -1 where that may not be
    had (a container that masks parts of its own).
    """
    check(LIBC.unshare(_NEWNS | _NEWCGROUP), "unshare")
    socket.sethostname("sandbox")
    _mount("none", "/", None, _REC | _PRIVATE)
    # Sources may lie below the place where the new root is built, so the old tree moves aside first.
    base = Path("/tmp")  # noqa: S108 - any folder that is always there
    _mount("tmpfs", base, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    processes = _own_processes(base / "proc")
    (base / "old").mkdir()
    _pivot(base, base / "old")
    new = Path("/new")
    new.mkdir()
    _mount("tmpfs", new, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for path in readable:
        _bind(Path("/old") / path.relative_to("/"), new / path.relative_to("/"), read_only=True)
    for path in DEVICES:
        _bind(Path("/old") / path.relative_to("/"), new / path.relative_to("/"), read_only=False)
    folder = scratch_folder(readable)
    scratch = new / folder.relative_to("/")
    scratch.mkdir()
    limit = f"mode=1777,size={scratch_bytes},nr_inodes=4096"
    _mount(
        "tmpfs",
        scratch,
        "tmpfs",
        _NOSUID | _NODEV | _NOEXEC,
        limit,
    )
    os.chdir(new)
    # The old root ends up on top of the new one and is taken off (pivot_root(2), NOTES).
    _pivot(Path(), Path())
    check(LIBC.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    _mount("none", "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(folder)
    return processes


def _own_processes(point: Path) -> int:
    point.mkdir()
    try:
        _mount("proc", point, "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError:
        return -1
    try:
        return os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        check(LIBC.umount2(os.fsencode(point), _MNT_DETACH), "umount")


def _bind(source: Path, target: Path, *, read_only: bool) -> None:
    if not source.exists():
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, target, None, _BIND | _REC)
    if read_only:
        _make_read_only(target)


def _make_read_only(target: Path) -> None:
    attributes = struct.pack("QQQQ", _RDONLY | _NOSUID | _NODEV, 0, 0, 0)  # struct mount_attr
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    name = ctypes.c_char_p(os.fsencode(target))
    try:
        syscall(_MOUNT_SETATTR, _AT_FDCWD, name, _AT_RECURSIVE, buffer, len(attributes), what="read-only")
    except OSError:
        # Before Linux 5.12. Flags that the mount has may be locked, and must then be given again.
        kept = os.statvfs(target).f_flag & ~_RDONLY
        _mount("none", target, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | kept)


def _mount(source: str | Path, target: str | Path, kind: str | None, flags: int, data: str = "") -> None:
    check(
        LIBC.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode(),
        ),
        f"mount {target}",
    )


def _pivot(new: Path, old: Path) -> None:
    number = _PIVOT_ROOT[os.uname().machine]
    names = (ctypes.c_char_p(os.fsencode(new)), ctypes.c_char_p(os.fsencode(old)))
    syscall(number, *names, what="pivot_root")
    if str(new) != ".":
        os.chdir("/")


def why_not() -> str | None:
    """Return `None` where a child of this process can have all of the above, else what the kernel said.

    Tried for real: some systems grant the namespaces and then refuse to let anything be mounted in them.
    The process must have one thread.
    """
    read, write = os.pipe()
    if os.fork() == 0:
        _trial(write)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read().decode()
    os.wait()
    return None if said == "ok" else said or "the attempt was killed"


def _trial(answer: int) -> None:
    try:
        enter()
        child = os.fork()
        if child == 0:
            make_root([Path("/usr/lib")], 1 << 20)
            os.write(answer, b"ok")
        else:
            os.waitpid(child, 0)
    except BaseException as fault:
        os.write(answer, str(fault).encode() or b"failed")
    finally:
        os._exit(0)
