"""Weights that are read from the disk while the program still imports and the vocabulary is built.

llama.cpp asks the system for the pages of a file when it has read its vocabulary, which takes half a second,
and torch is imported before a tensor is looked at. Where the system has the pages already nothing is read.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_LOOKS = 32  # pages of a file that are looked at
_MOST = 0x7FFFF000  # bytes that Linux sends at once (sendfile(2))


def start(files: Sequence[Path], room: int) -> threading.Thread | None:
    """Begin to read `files` that are not in memory, where they take no more than `room` bytes; `None` where
    there is nothing to do, or no way to. Linux alone: elsewhere pages cannot be asked for without a copy.

    The thread is in one call of the system for each two gigabytes, so it goes on while llama.cpp keeps the
    interpreter's lock. It ends with the program.
    """
    if sys.platform != "linux":
        return None
    try:
        if sum(file.stat().st_size for file in files) > room or all(map(is_in_memory, files)):
            return None
    except OSError:
        return None
    thread = threading.Thread(target=_read, args=(tuple(files),), name="read ahead", daemon=True)
    with suppress(RuntimeError):  # no thread is to be had
        thread.start()
        return thread
    return None


def is_in_memory(file: Path) -> bool:
    """Return whether some pages of `file`, from its first to its last, are in memory. Raises `OSError`."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        for look in range(_LOOKS if size else 0):
            os.preadv(descriptor, [bytearray(1)], (size - 1) * look // (_LOOKS - 1), os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _read(files: Sequence[Path]) -> None:
    """Read `files` into the system's cache: what is sent to the null device is not copied."""
    with suppress(OSError), Path(os.devnull).open("wb", buffering=0) as nowhere:
        for file in files:
            with file.open("rb") as opened:
                at = 0
                while sent := os.sendfile(nowhere.fileno(), opened.fileno(), at, _MOST):
                    at += sent
