"""Small questions about text that comes in pieces."""

from __future__ import annotations


def overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may begin `tag`; the whole of it does not count."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0)
