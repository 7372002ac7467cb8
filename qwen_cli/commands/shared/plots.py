"""Figures that programs drew, as files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from qwen_cli.commands.shared.output import say
from qwen_cli.errors import UsageError


def save(plots: Sequence[bytes], folder: Path, stem: str = "plot") -> Iterator[Path]:
    """Write PNG files and name each: `stem-1.png` and on, under numbers that are free, so that those of
    another problem or program stay. Raises `UsageError` where `folder` cannot be written."""
    numbers = count(1)
    try:
        if plots:
            folder.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            yield _new(folder, stem, numbers, plot)
    except OSError as fault:
        raise UsageError(
            f"{folder} cannot take figures: {fault.strerror}", "give another --save-plots"
        ) from fault


def tell(plots: Sequence[bytes], folder: Path | None) -> None:
    """Save `plots` in `folder` and name the files; without one show them on a terminal, or say how to keep
    them."""
    if folder is not None:
        for target in save(plots, folder):
            say(f"saved {target}")
    elif plots and sys.stdout.isatty():
        from io import BytesIO

        from PIL import Image

        from qwen_cli.ui import image

        image.show([Image.open(BytesIO(plot)) for plot in plots])
    elif plots:
        say(f"{len(plots)} figure{'s' if len(plots) > 1 else ''} drawn; --save-plots FOLDER keeps them")


def _new(folder: Path, stem: str, numbers: Iterator[int], plot: bytes) -> Path:
    """Return the first file under a number of `numbers` that is not there yet, written."""
    while True:
        target = folder / f"{stem}-{next(numbers)}.png"
        try:
            with target.open("xb") as file:
                file.write(plot)
        except FileExistsError:
            continue
        return target
