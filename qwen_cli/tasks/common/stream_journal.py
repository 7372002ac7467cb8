"""The answer that is being written, on disk within a second: what a kill leaves is found again."""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Piece

SECONDS = 1.0  # between two writes
_SUFFIX = ".journal"
_LOCKED_BYTE = 2**30  # far behind what is ever written: Windows locks bytes, and nobody may read locked ones


class StreamJournal:
    """One file in `folder`, from the question to when what came of it is kept elsewhere.

    The first line is `head`, then come whole messages and parts of the next one. A thread appends them, so
    that no stream waits for a disk; what cannot be written is left out, as whoever keeps the answer tells.
    The file is locked for as long as this process lives.
    """

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        self._waiting: list[dict[str, Any]] = []
        self._guard, self._ended = threading.Lock(), threading.Event()
        self._file: Path | None = None
        self._handle: int | None = None
        self._thread: threading.Thread | None = None
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._open(folder / f".{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
            self._put([dict(head)])

    def feed(self, piece: Piece) -> None:
        """Take the next part of a message."""
        if piece.text and piece.kind in ("answer", "thinking"):
            self._add({piece.kind: piece.text})

    def message(self, message: Mapping[str, Any]) -> None:
        """Take a whole message, in the place of the parts since the one before."""
        self._add({"message": dict(message)})

    def close(self) -> None:
        """Remove the file: what it holds is kept elsewhere, or is not to be kept."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard, suppress(OSError):
            if self._handle is not None:
                os.close(self._handle)
            if self._file is not None:
                self._file.unlink()
            self._handle = self._file = None

    def _open(self, file: Path) -> None:
        # Nobody looks at it before it is locked; Windows renames no open file, and removes none.
        self._file = fresh = file if os.name == "nt" else file.with_suffix(".new")
        self._handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        _lock(self._handle)
        if fresh != file:
            self._file = fresh.rename(file)

    def _add(self, line: dict[str, Any]) -> None:
        with self._guard:
            if self._handle is None:
                return
            self._waiting.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="journal")
            self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(SECONDS):
            with self._guard:
                lines, self._waiting = self._waiting, []
                try:
                    self._put(_joined(lines))
                except OSError:
                    return

    def _put(self, lines: list[dict[str, Any]]) -> None:
        if self._handle is not None and lines:
            # Only ASCII: half a surrogate pair is kept too.
            data = "".join(json.dumps(line, default=str) + "\n" for line in lines).encode()
            while data:
                data = data[os.write(self._handle, data) :]


@dataclass
class Left:
    """What a process that has died was about to keep: the head of its journal, whole messages, and the last
    one as far as it came."""

    head: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)
    answer: str = ""
    thinking: str = ""


@contextmanager
def take(file: Path) -> Iterator[Left | None]:
    """Give what the process that wrote `file` left, and remove it where nothing is raised meanwhile. `None`
    where that process lives, or another one is taking it."""
    handle = _held(file)
    if handle is None:
        yield None
        return
    try:
        with os.fdopen(os.dup(handle), "rb") as data:
            left = _read(data.read())
        yield left
        if os.name == "nt":  # which removes no open file
            os.close(handle)
            handle = None
        with suppress(OSError):
            file.unlink()
    finally:
        if handle is not None:
            os.close(handle)


def _held(file: Path) -> int | None:
    """Return an open file that is locked here; `None` where that cannot be, or where it has gone."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_APPEND)
    except OSError:
        return None
    with suppress(OSError):
        if _lock(handle) and os.path.samestat(os.fstat(handle), file.stat()):
            return handle
    os.close(handle)
    return None


def found(folder: Path, **head: Any) -> list[Path]:
    """Return the journals of a folder whose heads have all that `head` says, the oldest first: those of
    living processes too."""
    dated = []
    for file in folder.glob(f".*{_SUFFIX}"):
        with suppress(OSError):
            with file.open("rb") as data:
                left = _read(data.readline())
            if left is not None and head.items() <= left.head.items():
                dated.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(dated)]


def _joined(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `lines` with parts of one kind that follow each other in one line."""
    joined: list[dict[str, Any]] = []
    for line in lines:
        (kind,) = line
        if joined and kind in joined[-1] and kind != "message":
            joined[-1] = {kind: joined[-1][kind] + line[kind]}
        else:
            joined.append(line)
    return joined


def _read(data: bytes) -> Left | None:
    """Return what a journal holds. A line that was not written to its end is left out."""
    left: Left | None = None
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            continue
        if left is None:
            left = Left(value)
        elif isinstance(value.get("message"), dict):
            left.messages.append(value["message"])
            left.answer = left.thinking = ""
        else:
            left.answer += str(value.get("answer", ""))
            left.thinking += str(value.get("thinking", ""))
    return left


def _lock(handle: int) -> bool:
    """Lock an open file for as long as this process lives. False where another holds it, or where the file
    system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
