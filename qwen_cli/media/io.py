"""The bytes of a file or of standard input, within bounds. Faults of the disk become `UsageError`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qwen_cli import reading
from qwen_cli.errors import UsageError
from qwen_cli.media import file_types
from qwen_cli.sanitize import clean_name

LARGEST = 600 << 20
"""Bytes of a picture or document that is read whole: an uncompressed picture of the largest size, RGB."""

_UNKNOWN = 32 << 20  # bytes of what does not begin as any known format does: it is to be refused

STDIN = "standard input"


@contextmanager
def faults(label: str) -> Iterator[None]:
    """Turn what goes wrong while a file is opened and read into a `UsageError` that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"no file {label!r}", "check the name") from None
    except IsADirectoryError:
        raise UsageError(f"{label!r} is a folder", "name the files in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        hint = reading.advice(error) if isinstance(error, OSError) else "give another file"
        raise UsageError(f"{label!r} cannot be read: {reason}", hint) from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read from. Raises `UsageError` where it is missing, a folder, unreadable, or fails
    later."""
    with faults(clean_name(str(path))), reading.opened(path, LARGEST) as file:
        yield file


@contextmanager
def standard_input() -> Iterator[BinaryIO]:
    """Yield what is piped in. Raises `UsageError` where nothing is."""
    source: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if source is None or sys.stdin.closed:
        raise UsageError(f"{STDIN} is closed", "give a file name")
    if source.isatty():
        raise UsageError(f"{STDIN} is the keyboard", "pipe a file in, as in `… | qwen vision -`")
    yield source


def read(path: Path) -> bytes:
    """Return a whole file. Raises `UsageError` as `opened` does, and above 600 MB."""
    with opened(path) as source:
        return rest(source, str(path))


def rest(source: BinaryIO, name: str, head: bytes = b"") -> bytes:
    """Return `head` and what is left of `source`. Raises `UsageError` above 600 MB, so that an endless pipe
    ends; much sooner for what begins as nothing known does."""
    head = head or source.read(file_types.HEAD)
    known = file_types.kind_of(head) is not None
    most = LARGEST if known else _UNKNOWN
    data = head if _size(source) > most else head + source.read(most + 1 - len(head))
    if max(len(data), _size(source)) <= most:
        return data
    if known:
        raise UsageError(
            f"{clean_name(name)} is larger than {LARGEST >> 20} MB", "make it smaller; a video goes as a file"
        )
    raise UsageError(
        f"{clean_name(name)} is no picture or document of a known format (it begins with {head[:8]!r})",
        "give a PNG, JPEG, WebP, GIF, TIFF, AVIF or PDF",
    )


def _size(source: BinaryIO) -> int:
    """Return how many bytes a file has, 0 for what is none."""
    try:
        return os.fstat(source.fileno()).st_size
    except OSError:  # in memory
        return 0
