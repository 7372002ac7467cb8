"""Memory that large requests took goes back to the system: glibc keeps what threads have freed."""

from __future__ import annotations

import ctypes
import sys
import time

LARGE = 1 << 20
"""Bytes of a body that are worth giving back; pictures take many times theirs."""

_SETTLED = 3.0  # seconds after the last one until it has been answered, in most cases

_last: float | None = None  # when a large body came, until the memory was given back


def took(size: int) -> None:
    """Record that a request took so many bytes."""
    global _last
    if size >= LARGE:
        _last = time.monotonic()


def give_back() -> bool:
    """Give the memory of large bodies back, some seconds after the last one; whether that was done."""
    global _last
    if _last is None or time.monotonic() - _last < _SETTLED:
        return False
    _last = None
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
    return True
