"""Quantised GGUF tensors into safetensors files, piece by piece.

The library's own `save_file` wants all tensors in memory; here memory stays at some tens of megabytes
whatever the model's size.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from qwen_cli.models.progress import Progress

SHARD_BYTES = 4 << 30  # files of at most 4 GiB or one tensor, so that FAT and slow links can carry them
CHUNK_ELEMENTS = 1 << 22  # dequantised at a time: 16 MiB as float32
THREADS = 2  # numpy frees the interpreter lock while it dequantises; more threads only wait for the disk


@dataclass(frozen=True)
class Tensor:
    """One checkpoint tensor: `rows` are its quantised rows in the mapped file, `type` how they are packed."""

    name: str
    shape: tuple[int, ...]
    rows: np.ndarray
    type: Any

    @property
    def nbytes(self) -> int:
        """Return the size as bfloat16, in bytes."""
        return 2 * math.prod(self.shape)


def write(tensors: list[Tensor], folder: Path, label: str, progress: Progress | None) -> None:
    """Write `tensors` into `folder` as bfloat16: model.safetensors, or shards and their index.

    A file is an 8-byte length, a JSON header of that length, and the tensors one after the other
    (https://github.com/huggingface/safetensors#format).
    """
    total = sum(t.nbytes for t in tensors)
    starts = accumulate((t.nbytes for t in tensors), initial=0)
    shards: dict[int, list[Tensor]] = {}
    for tensor, start in zip(tensors, starts, strict=False):
        shards.setdefault(start // SHARD_BYTES, []).append(tensor)
    names: dict[str, str] = {}
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for number, shard in enumerate(shards.values(), start=1):
            file = (
                "model.safetensors"
                if len(shards) == 1
                else f"model-{number:05}-of-{len(shards):05}.safetensors"
            )
            names |= dict.fromkeys((t.name for t in shard), file)
            header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
            offset = 0
            for tensor in shard:
                span = [offset, offset := offset + tensor.nbytes]
                header[tensor.name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": span}
            packed = json.dumps(header).encode()
            packed += b" " * (-len(packed) % 8)
            with (folder / file).open("wb") as stream:
                stream.write(struct.pack("<Q", len(packed)) + packed)
                for tensor in shard:
                    for piece in _as_bfloat16(tensor, pool):
                        stream.write(piece)
                        done += len(piece)
                        if progress:
                            progress(label, done, total)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": names}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _as_bfloat16(tensor: Tensor, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    def convert(start: int) -> bytes:
        values = dequantize(rows[start : start + step], tensor.type)
        return quantize(values, GGMLQuantizationType.BF16).tobytes()

    rows = tensor.rows.reshape(-1, tensor.rows.shape[-1])
    step = max(1, CHUNK_ELEMENTS // tensor.shape[-1])
    chunks = range(0, len(rows), step)
    # In batches: `map` over everything would hold all that the disk has not taken yet.
    for first in range(0, len(chunks), THREADS):
        yield from pool.map(convert, chunks[first : first + THREADS])
