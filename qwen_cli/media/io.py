"""The bytes of a file or of standard input, within bounds. Faults of the disk become `UsageError`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qwen_cli.errors import UsageError
from qwen_cli.sanitize import clean_name

LARGEST = 600 << 20
"""Bytes of a picture or document that is read whole: an uncompressed picture of the largest size, RGB."""

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
        raise UsageError(f"{label!r} cannot be read: {reason}", "check its permissions") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read from. Raises `UsageError` where it is missing, a folder, unreadable, or fails
    later."""
    with faults(clean_name(str(path))), path.open("rb") as file:
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
    ends."""
    data = head + source.read(LARGEST + 1 - len(head))
    if len(data) > LARGEST:
        raise UsageError(
            f"{clean_name(name)} is larger than {LARGEST >> 20} MB", "make it smaller; a video goes as a file"
        )
    return data
