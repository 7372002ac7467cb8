"""A saved KV cache that says which weights it belongs to.

The engine's own bytes come first, so that they are moved, not copied, where the file system allows; a
sealed description follows. llama.cpp reads its part from the front and never looks at the rest. Without the
seal a file of another model of the same shape would be taken, and a truncated one aborts the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

_MAGIC = b"qwenkv01"
_HASHED = 1 << 20


def fingerprint(weights: Path, adapters: tuple[Path, ...] = ()) -> str:
    """Tells weights apart: size and hashed first and last MiB of each file (header, and tensor data)."""
    digest = hashlib.sha256()
    for path in (weights, *adapters):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for start in (0, max(0, size - _HASHED)):
                file.seek(start)
                digest.update(file.read(_HASHED))
    return digest.hexdigest()


def seal(state: Path, target: Path, owner: str) -> None:
    """Move the engine's `state` file to `target` and mark it as belonging to `owner` (a fingerprint)."""
    note = json.dumps({"owner": owner, "bytes": state.stat().st_size}).encode()
    with state.open("ab") as file:
        file.write(note + len(note).to_bytes(4, "little") + _MAGIC)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(target.name + ".part")
    shutil.move(state, half)
    half.replace(target)


def fits(target: Path, owner: str) -> bool:
    """Whether `target` is a whole state file of `owner`."""
    try:
        with target.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 12))
            tail = file.read(12)
            if len(tail) < 12 or tail[4:] != _MAGIC:
                return False
            length = int.from_bytes(tail[:4], "little")
            file.seek(max(0, size - 12 - length))
            note = json.loads(file.read(length))
        return bool(note["owner"] == owner and note["bytes"] == size - 12 - length)
    except (OSError, ValueError, KeyError, TypeError):
        return False
