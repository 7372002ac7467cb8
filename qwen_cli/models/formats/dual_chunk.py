"""Dual chunk attention as a model's files ask for it: An et al. 2024, https://arxiv.org/abs/2402.17463, with
which Qwen2.5-1M reads a million tokens (https://arxiv.org/abs/2501.15383)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import log
from typing import Any

# Qwen2.5-7B-Instruct-1M's config.json: 8,192 of 262,144.
LOCAL = 32


@dataclass(frozen=True)
class Chunks:
    """How a text is cut, in tokens: no distance between two tokens becomes larger than `size`, those of up to
    `local` tokens stay as they are across a cut too. `original` is the length that the model was trained at,
    from which on scores are sharpened; `reach` how far the files say that it gets (`None`: they do not).
    Raises `ValueError` where `local` is not less than half of `size`: distances would be wrong before it."""

    size: int
    local: int
    original: int
    reach: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.local < self.size / 2:
            raise ValueError(
                f"chunk_size {self.size} with local_size {self.local}, which must be less than half of it"
            )
        if self.original < 1:
            raise ValueError(f"original_max_position_embeddings {self.original}")

    @property
    def stride(self) -> int:
        """Return after how many tokens the text is cut."""
        return self.size - self.local

    def temperature(self, length: int) -> float:
        """Return what scores are multiplied by for the last of `length` tokens: YaRN's factor, squared."""
        return max(1.0, 0.1 * log(length / self.original) + 1.0) ** 2

    def as_config(self) -> dict[str, int]:
        """Return the fields as a config.json has them."""
        return {
            "chunk_size": self.size,
            "local_size": self.local,
            "original_max_position_embeddings": self.original,
        }

    def facts(self) -> dict[str, int]:
        """Return what is known of it, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def of_length(trained: int, size: int | None = None) -> Chunks:
    """Return the chunks of a model whose files name none: as long as it was `trained` for, or `size`."""
    size = size or trained
    return Chunks(size, max(1, size // LOCAL), trained)


def read(config: Mapping[str, Any]) -> Chunks | None:
    """Return what a config.json asks for; `None` where it does not. `sparse_attention_config`, which leaves
    keys out to save time, is not read. Raises `KeyError`, `TypeError`, `ValueError`."""
    given = config.get("dual_chunk_attention_config")
    if not given:
        return None
    sizes = [given[name] for name in ("chunk_size", "local_size")]
    # Qwen's own code takes the chunk where the length is not said.
    sizes.append(given.get("original_max_position_embeddings") or sizes[0])
    reach = config.get("max_position_embeddings")
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in sizes):
        raise TypeError(f"dual_chunk_attention_config {sizes}")
    size, local, original = sizes
    return Chunks(size, local, original, reach)
