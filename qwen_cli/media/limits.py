"""How much is held at once: the pixels of a film's frames, a document's pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

FRAME = 768 * 32 * 32
"""Pixels of a video's frame that a model sees at most (qwen_vl_utils: 768 tokens of 32² pixels)."""

TOGETHER = 768 * FRAME
"""Pixels of all frames or pages: as many frames as a model sees (qwen_vl_utils: 768), each of the largest
size. 1.8 GB as RGB."""

DECODED = 8192 * 4320
"""Pixels of a frame of a video file at most, as it is decoded: 8K of cinemas (DCI). Each thread of the
decoder holds some, and a file of kilobytes may say that they are of any size."""

LOW_DETAIL = 512 * 512
"""Pixels: what OpenAI shows a picture in with `detail` "low"."""

MOST_FRAMES = 4096
MOST_PAGES = 64

_FEWER = "give every second one, or a video file"


def for_frames(count: int, sizes: Iterable[tuple[int, int]], label: str) -> int | None:
    """Return the pixels that each frame of the film `label` may keep, so that all fit; None where they fit as
    they are.

    The `sizes` are not asked for where there are too many of them. Raises `UsageError` for more than 4,096
    frames, and for more than fit even with the pixels that a model sees of a frame.
    """
    if count > MOST_FRAMES:
        raise UsageError(f"{label} has {count:,} frames, more than {MOST_FRAMES:,}", _FEWER)
    pixels = [wide * high for wide, high in sizes]
    if sum(pixels) <= TOGETHER:
        return None
    if sum(min(FRAME, one) for one in pixels) > TOGETHER:
        raise UsageError(f"the {count:,} frames of {label} are too large to hold together", _FEWER)
    return FRAME


def for_pages(sizes: Sequence[tuple[int, int]], label: str, hint: str) -> None:
    """Raise `UsageError` with `hint` for more than 64 pages, and for more pixels than are held at once."""
    if len(sizes) > MOST_PAGES:
        raise UsageError(f"{len(sizes):,} pages of {label} are more than {MOST_PAGES} at once", hint)
    if sum(wide * high for wide, high in sizes) > TOGETHER:
        raise UsageError(f"the {len(sizes):,} pages of {label} are too large to hold together", hint)


def shrunk(image: Image, most: int | None) -> Image:
    """Return `image`, made smaller where it has more than `most` pixels."""
    pixels = image.width * image.height
    if most is None or pixels <= most:
        return image
    scale = (most / pixels) ** 0.5
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
