"""The interface of a model that gives vectors for texts, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

Input: TypeAlias = "str | Sequence[int]"
"""A text, or its tokens."""


class Embedder(Protocol):
    """An embedding model, loaded. `model` is its label, `context` the most tokens of a text. Several threads
    may use it."""

    model: str
    context: int

    def embed(self, texts: Sequence[Input], *, cut: bool = False) -> tuple[list[list[float]], int]:
        """Return a vector of length 1 for each of `texts`, and their tokens. With `cut` a text that is too
        long is read as far as it fits. Raises `UsageError` for one that is empty, `ContextFull`."""
        ...

    def rerank(self, query: str, documents: Sequence[str]) -> tuple[list[float], int]:
        """Return a score for each of `documents`, and the tokens of all, of a model with a head for it.
        Raises `ContextFull`."""
        ...

    def close(self) -> None:
        """Free the weights."""
        ...
