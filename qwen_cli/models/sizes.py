"""Sizes as a person reads them."""

from __future__ import annotations


def gb(number: float) -> str:
    """Return the bytes as a person reads them."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
