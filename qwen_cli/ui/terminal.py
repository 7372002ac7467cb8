"""The console that writes to the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain() -> bool:
    """Return whether remarks are shown without any escape sequence, on terminals too: NO_COLOR
    (no-color.org), TERM=dumb."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def draws() -> bool:
    """Return whether stderr is a terminal that takes escape sequences."""
    return sys.stderr.isatty() and not plain()


def stdout_console() -> Console:
    """Return a rich console on stdout. NO_COLOR, TERM=dumb and a stdout that is no terminal are honoured by
    rich."""
    return _console()


def _console() -> Console:
    # rich takes 60 ms to import, which a one-shot answer in plain text should not pay
    from rich.console import Console
    from rich.theme import Theme

    # rich's own styles put inline code on black, which is a smear on a light terminal
    theme = Theme(
        {
            "markdown.code": "cyan",
            "markdown.code_block": "none",
            "markdown.block_quote": "dim",
            "markdown.h1": "bold underline",
            "markdown.h2": "bold",
            "markdown.h3": "bold",
            "markdown.h4": "italic",
            "markdown.item.bullet": "none",
            "markdown.item.number": "none",
            "markdown.table.border": "dim",
            "markdown.table.header": "bold",
        }
    )
    return Console(theme=theme, highlight=False, markup=False, emoji=False)
