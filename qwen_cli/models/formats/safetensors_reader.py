"""The tensors of a safetensors folder, mapped: rows come as float32 when they are asked for.

The library's reader gives bfloat16 to torch only; what reads weights to write them elsewhere needs numpy
alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import architecture, safetensors_header

if TYPE_CHECKING:
    import numpy as np

TYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: where it begins, and its shape. `step` rows of each matrix are skipped after those
    that belong to it, as in a half of two tensors that are stored as one."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    part: int = 0
    of: int = 1

    def half(self, part: int) -> Stored:
        """Return the first (0) or second half of the rows of each of its matrices."""
        *stack, rows, width = self.shape
        return replace(self, shape=(*stack, rows // 2, width), part=part, of=2)

    def rows(self, count: int) -> Iterator[np.ndarray]:
        """Yield its rows (a vector is one), at most `count` at a time, as float32."""
        import numpy as np

        width, many = self.shape[-1], math.prod(self.shape[-2:-1])
        matrices = math.prod(self.shape[:-2])
        mapped: np.ndarray = np.memmap(
            self.path,
            TYPES[self.dtype],
            "r",
            self.offset,
            (matrices, self.of, many, width),
        )
        for matrix in mapped[:, self.part]:
            for start in range(0, many, count):
                taken = matrix[start : start + count]
                if self.dtype == "BF16":  # the upper half of a float32
                    yield (taken.astype(np.uint32) << 16).view(np.float32)
                else:
                    yield taken.astype(np.float32)


def tensors(folder: Path) -> dict[str, Stored]:
    """Return every tensor of `folder` by its name, in the order of the files.

    Raises `ModelError` for files that are missing, not whole, or hold something that is no plain number.
    """
    if architecture.read(folder).size is None:  # checks every file against its header
        raise ModelError(f"{folder} has no safetensors", "give a folder with the model's weights")
    stored: dict[str, Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for entry in safetensors_header.read(path):
            if entry.dtype not in TYPES:
                raise ModelError(
                    f"{path} holds {entry.name} as {entry.dtype}",
                    "convert the bfloat16 or float16 checkpoint",
                )
            stored[entry.name] = Stored(path, entry.dtype, entry.shape, entry.begin)
    return stored
