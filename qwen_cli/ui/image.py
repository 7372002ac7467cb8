"""Pictures in the terminal: Sixel or Kitty's protocol where it has one, else half blocks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS, _ROWS = 60, 16  # most of the screen that a picture takes
_MOST = 4  # pictures that are shown; of more the terminal would scroll away


def show(images: Sequence[Image], *, forced: bool = False) -> None:
    """Show small versions on stderr, where that and standard output are a terminal with colours.

    `forced` shows all of them, and with NO_COLOR too.
    """
    if not (sys.stderr.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        return
    if os.environ.get("NO_COLOR") and not forced:
        return
    # Asks the terminal what it can when it is imported.
    from rich.console import Console
    from textual_image.renderable import Image as Shown

    console = Console(stderr=True, no_color=False)
    for image in images if forced else images[:_MOST]:
        # A character is about twice as high as it is wide.
        columns = min(_COLUMNS, console.width - 1, max(2, round(2 * _ROWS * image.width / image.height)))
        console.print(Shown(image, width=columns, height="auto"))
