"""Reading what a person names or somebody else wrote: within bounds, with faults that are foreseen."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LARGEST = 64 << 20
"""Bytes of a text that is read whole: settings, schemas, programs, templates."""

_PATIENCE = 5.0  # seconds in which somebody is to open a named pipe for writing
_LOOK = 0.02  # seconds between two looks whether somebody has
_PIECE = 1 << 20
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of those that JSON writes in two parts
_TOO_DEEP = "it is nested too deeply"


def read(path: Path | str, most: int = LARGEST) -> bytes:
    """Return the bytes of a file, a pipe or a device. Raises `OSError`, also for what is longer than `most`
    bytes and for a named pipe that nobody writes to."""
    fd = _open(path)
    try:
        kind = os.fstat(fd)
        if stat.S_ISREG(kind.st_mode) and kind.st_size > most:
            raise _too_long(path, most)
        return _whole(fd, path, most, kind.st_mode)
    finally:
        os.close(fd)


@contextmanager
def opened(path: Path | str, most: int = LARGEST) -> Iterator[BinaryIO]:
    """Open a file to read from and move about in; a pipe is read whole before. Raises `OSError` as `read`
    does."""
    fd = _open(path)
    if stat.S_ISFIFO(mode := os.fstat(fd).st_mode):
        try:
            data = _whole(fd, path, most, mode)
        finally:
            os.close(fd)
        yield io.BytesIO(data)
        return
    _wait_again(fd)
    with os.fdopen(fd, "rb") as file:
        yield file


def parsed_json(text: str | bytes) -> Any:
    """Return what JSON says. Raises `ValueError`, also for what is nested too deeply, and for halves of
    characters: neither can be shown, sent or saved."""
    try:
        value = json.loads(text)
        halves = _HALF.search(text) if isinstance(text, str) else _HALF.search(text.decode("latin-1"))
        if halves:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except UnicodeEncodeError:
        raise ValueError("it has half a character (a lone surrogate)") from None


def parsed_toml(text: str) -> dict[str, Any]:
    """Return what TOML says. Raises `ValueError`, also for what is nested too deeply."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def advice(fault: OSError) -> str:
    """Return what to do about a file that cannot be read."""
    return "check its permissions" if fault.errno in (errno.EACCES, errno.EPERM) else "give another file"


def _open(path: Path | str) -> int:
    """Open without waiting: a pipe would let this wait until somebody writes to it."""
    flags = (getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))
    fd = os.open(path, os.O_RDONLY | sum(flags))
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return fd


def _wait_again(fd: int) -> None:
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(fd, True)


def _whole(fd: int, path: Path | str, most: int, mode: int) -> bytes:
    data = bytearray()
    if stat.S_ISCHR(mode) and not os.isatty(fd):
        most = min(most, _PIECE)  # /dev/null has nothing, others have no end
    pipe = stat.S_ISFIFO(mode)
    # A pipe without a name (`<(…)` of a shell) had its writers before it was opened here.
    begun = not (pipe and os.path.lexists(os.path.realpath(path)))
    until = time.monotonic() + _PATIENCE
    while len(data) <= most:
        try:
            piece = os.read(fd, min(_PIECE, most + 1 - len(data)))
        except BlockingIOError:
            if not pipe and not os.isatty(fd):
                break  # the kernel has no more to say now, in a file that never ends
            _wait_again(fd)  # somebody is about to write
            begun = True
            continue
        if piece:
            data += piece
            begun = True
        elif begun:
            break
        elif time.monotonic() >= until:
            raise OSError(errno.ETIMEDOUT, "nobody writes to this pipe", str(path))
        else:
            time.sleep(_LOOK)
    if len(data) > most:
        raise _too_long(path, most)
    return bytes(data)


def _too_long(path: Path | str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it is longer than {most >> 20} MB", str(path))
