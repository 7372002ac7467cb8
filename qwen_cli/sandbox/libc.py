"""System calls that Python's standard library does not wrap."""

from __future__ import annotations

import ctypes
import os
import platform

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
MACHINE = platform.machine()


def check(result: int, what: str) -> int:
    """Return `result` of a C call, or raise the `OSError` that errno names."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, *arguments: int, what: str) -> int:
    """Call prctl(2); every argument travels as a long, which is what the kernel reads."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return check(LIBC.prctl(option, *padded), what)


def syscall(number: int, *arguments: object, what: str) -> int:
    """Call syscall(2). Python integers are passed as longs, pointers and structures as they are."""
    ready = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(LIBC.syscall(ctypes.c_long(number), *ready), what)
