"""A saved KV cache that says what it was computed with: taken only whole, and by what computes the same.

The engine's own bytes come first, so that it writes and reads them in place; a sealed description follows.
llama.cpp reads its part from the front and never looks at the rest: it ends the process over a file that is
cut off (`GGML_ASSERT` in llama_context::state_seq_load_file), and takes one of other weights of that shape.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from qwen_cli.errors import EngineError

_MAGIC = b"qwenkv02"
_TAIL = 4 + len(_MAGIC)  # the note's length and the mark, behind the note
_LONGEST_NOTE = 1 << 16
_LONGEST_HEADER = 1 << 24  # bytes of what stands before the tensors in a safetensors file
_BLOCK = 1 << 20

# Weights are told apart by so many blocks of so many bytes, spread evenly over each file: every large matrix
# is hit, and reading them takes as long as a token. Smaller files are read whole.
_SAMPLES, _SAMPLE = 512, 8_192

_LEFT_SECONDS = 3_600  # a half-written file that is older was left by a process that was killed

Stamps: TypeAlias = tuple[tuple[Path, int, int], ...]
"""Files with their sizes (bytes) and times of change (ns)."""


def stamps(files: Sequence[Path]) -> Stamps:
    """Return what tells whether `files` are still those that were loaded; those that are missing are left
    out."""
    collected = []
    for path in files:
        with suppress(OSError):
            status = path.stat()
            collected.append((path, status.st_size, status.st_mtime_ns))
    return tuple(collected)


def owner(files: Stamps, settings: Mapping[str, Any]) -> str:
    """Return the name of all that a key comes from: the loaded `files`, and the `settings` they are computed
    with.

    Raises `EngineError` where a file cannot be read any more.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    try:
        for path, size, changed in files:
            digest.update(f"\0{size} {changed}\0".encode())
            with path.open("rb") as file:
                for block in _samples(file, size):
                    digest.update(block)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read any more: {error.strerror}", "load the model again"
        ) from error
    return digest.hexdigest()


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """Yield a new empty file beside `target`, for this user alone, that takes its place when the body has
    filled it and it is on the disk. Nothing changes where the body removes it, or fails. Raises
    `EngineError`."""
    half: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in leftovers(target):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(".saving", f".{target.name}.", target.parent)  # 0600
        os.close(handle)
        half = Path(name)
        yield half
        if not half.exists():
            return
        half.chmod(0o600)  # also where a library has put a file of its own there
        with half.open("rb+") as file:
            os.fsync(file.fileno())
        half.replace(target)
    except OSError as error:
        raise no_room(target, error.strerror or str(error)) from error
    finally:
        if half:
            half.unlink(missing_ok=True)


def no_room(target: Path, why: str) -> EngineError:
    """Return the fault of a cache that could not be written."""
    return EngineError(
        f"the KV cache could not be written to {target}: {why}",
        f"check space and permissions of {target.parent}",
    )


def leftovers(target: Path) -> list[Path]:
    """Return the half-written files that were to become `target`."""
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.*.saving"))


def seal(state: Path, owned: str) -> None:
    """Write behind the engine's bytes in `state` how many they are, their checksum and their `owner`."""
    with state.open("rb+") as file:
        size, checksum = _sum(file, None)
        note = json.dumps({"owner": owned, "bytes": size, "crc32": checksum}).encode()
        file.seek(0, os.SEEK_END)
        file.write(note + len(note).to_bytes(4, "little") + _MAGIC)


def sealed(target: Path, owned: str) -> bool:
    """Return whether `target` is whole, undamaged and of this `owner`."""
    try:
        if not target.is_file():  # a pipe would be waited for
            return False
        with target.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read(_TAIL)
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != _MAGIC or length > min(_LONGEST_NOTE, size - _TAIL):
                return False
            file.seek(size - _TAIL - length)
            note = json.loads(file.read(length))
            whole = size - _TAIL - length
            if note["owner"] != owned or note["bytes"] != whole:
                return False
            return _sum(file, whole) == (whole, note["crc32"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def is_one(file: Path) -> bool:
    """Return whether `file` is a saved cache, of either engine, of whatever model."""
    try:
        with file.open("rb") as opened:
            head = opened.read(8)
            size = int.from_bytes(head, "little")
            note = opened.read(size) if len(head) == 8 and size <= _LONGEST_HEADER else b""
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - len(_MAGIC)))
            if opened.read() == _MAGIC:
                return True
        saved = json.loads(note)["__metadata__"]
        return {"owner", "sealed", "crc32"} <= set(saved)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _sum(file: BinaryIO, size: int | None) -> tuple[int, int]:
    """Return how many bytes there are in `file`, `size` at most, and their CRC-32."""
    file.seek(0)
    count = checksum = 0
    while block := file.read(_BLOCK if size is None else min(_BLOCK, size - count)):
        count, checksum = count + len(block), zlib.crc32(block, checksum)
    return count, checksum


def _samples(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield a small file whole, of a large one blocks from the first to the last byte."""
    if size <= _SAMPLES * _SAMPLE:
        yield file.read()
        return
    for number in range(_SAMPLES):
        file.seek((size - _SAMPLE) * number // (_SAMPLES - 1))
        yield file.read(_SAMPLE)
