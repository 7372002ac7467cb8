"""Memory that was freed and that the C library keeps for itself."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return freed memory to the system; where the C library is not glibc nothing happens.

    Quantizing while loading, and bitsandbytes' temporary matrices, leave holes between what stays, which
    glibc holds on to. Starter model in 4 bits on a CPU: 3.9 GB resident after the load, 1.8 GB after this.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_no_blocks() -> None:
    """Have glibc return every block of 4 MiB and more as soon as it is freed, for the rest of the process.

    For weights that are read from the disk again for every token: glibc would keep room for ever more of them
    (starter in float32, all on disk: 2.4 GB after eight tokens, 0.5 GB with this).
    """
    if sys.platform != "linux":
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(-3, 4 << 20)  # M_MMAP_THRESHOLD of malloc.h; setting it ends its growth too
