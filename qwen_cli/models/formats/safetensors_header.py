"""The header of a safetensors file: which tensors it holds, and where.

https://huggingface.co/docs/safetensors: eight bytes of length, JSON, then the tensors one after another.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.errors import ModelError

_LONGEST = 100_000_000  # bytes of JSON: the format's own limit (safetensors: MAX_HEADER_SIZE)
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I8": 1, "U8": 1, "BOOL": 1, "I16": 2, "U16": 2, "I32": 4,
          "U32": 4, "I64": 8, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A tensor: `begin` and `end` are bytes of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def parameters(self) -> int:
        """Return how many numbers it has."""
        return math.prod(self.shape)


def read(file: Path) -> list[Entry]:
    """Return the tensors of `file` in their order. Raises `ModelError` for a file that is no safetensors, or
    shorter or longer than its header says."""
    try:
        with reading.opened(file) as handle:
            size = file.stat().st_size
            (length,) = struct.unpack("<Q", handle.read(8))
            tensors = json.loads(handle.read(min(length, _LONGEST)))
        entries = [
            _entry(name, entry, 8 + length) for name, entry in tensors.items() if name != "__metadata__"
        ]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{file} is truncated or not safetensors", "fetch it again") from None
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    end = max((entry.end for entry in entries), default=8 + length)
    if end != size:
        raise ModelError(f"{file} is truncated: {size:,} bytes, its header says {end:,}", "fetch it again")
    return entries


def _entry(name: str, told: dict[str, Any], start: int) -> Entry:
    """Return a tensor. Raises `ValueError`, `KeyError`, `TypeError` for what is none."""
    begin, end = told["data_offsets"]
    dtype, shape = told["dtype"], tuple(told["shape"])
    if not isinstance(dtype, str) or not all(type(number) is int for number in (*shape, begin, end)):
        raise TypeError(f"{name} is described by other things than numbers")
    if min(0, *shape, begin) < 0 or end < begin:
        raise ValueError(f"{name} has no such place")
    # Packed and newer types have another number of bytes than of values: those are not checked.
    if dtype in _BYTES and end - begin != math.prod(shape) * _BYTES[dtype]:
        raise ValueError(f"{name} has another size than its shape says")
    return Entry(name, dtype, shape, start + begin, start + end)
