"""How the progress of a download or a conversion is told."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is being fetched, how many bytes of it are there, and of how many (None: unknown)."""

    def __call__(self, label: str, done: int, total: int | None, /) -> None: ...
