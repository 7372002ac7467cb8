"""File access limited to what is listed, by Landlock. Numbers are those of <linux/landlock.h>."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from qwen_cli.sandbox.libc import LIBC, syscall

# include/uapi/asm-generic/unistd.h: the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE = 1 << 4 | 1 << 5, 1 << 7 | 1 << 8 | 1 << 10 | 1 << 12  # make: directory, file, fifo, symlink
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# All file rights known to an ABI, highest first: IOCTL_DEV came with 5, TRUNCATE with 3, REFER with 2.
_HANDLED = ((5, (1 << 16) - 1), (3, (1 << 15) - 1), (2, (1 << 14) - 1), (1, (1 << 13) - 1))
_NET = 0b11  # bind and connect of TCP, from ABI 4
_SCOPED = 0b11  # abstract unix sockets and signals, from ABI 6

READ = _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _REMOVE | _MAKE | _REFER | _TRUNCATE
DEVICE = _READ_FILE | _WRITE_FILE
_FOR_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE


def abi() -> int:
    """Return the version of Landlock in the running kernel, 0 where there is none or it is switched off."""
    return max(int(LIBC.syscall(_CREATE_RULESET, None, 0, _VERSION)), 0)


def apply(
    readable: Iterable[Path], writable: Iterable[Path], devices: Iterable[Path], newest: int | None = None
) -> int:
    """Refuse this process, for good, all file access but this; TCP and signals to others too where the ABI
    knows them, as far as `newest`. Nothing may be executed. Returns the ABI used. Needs no_new_privs."""
    version = min(abi(), newest or abi())
    handled = next(rights for since, rights in _HANDLED if version >= since)
    attributes = struct.pack("QQQ", handled, _NET, _SCOPED)[
        : 24 if version >= 6 else 16 if version >= 4 else 8
    ]
    ruleset = syscall(_CREATE_RULESET, _buffer(attributes), len(attributes), 0, what="landlock")
    try:
        for paths, rights in ((readable, READ), (writable, WRITE), (devices, DEVICE)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        syscall(_RESTRICT_SELF, ruleset, 0, what="landlock")
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FOR_FILES
        beneath = struct.pack("=Qi", rights, fd)  # struct landlock_path_beneath_attr is packed
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, _buffer(beneath), 0, what=f"landlock {path}")
    finally:
        os.close(fd)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))
