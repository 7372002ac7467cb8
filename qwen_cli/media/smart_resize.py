"""How large a picture is made before a model sees it, and what that costs in tokens.

The rule is that of `smart_resize` in qwen-vl-utils and transformers (a test compares them); it stands here
because both import torch, which takes seconds and which llama.cpp and servers do without.
"""

from __future__ import annotations

import math

from qwen_cli.errors import UsageError

# qwen_vl_utils.vision_process: IMAGE_MIN_TOKEN_NUM, IMAGE_MAX_TOKEN_NUM, MAX_RATIO.
MIN_TOKENS, MAX_TOKENS = 4, 16_384
MAX_RATIO = 200


def fitted(
    width: int, height: int, unit: int, *, min_pixels: int | None = None, max_pixels: int | None = None
) -> tuple[int, int]:
    """Return (width, height) as the model sees a picture: multiples of `unit` (28 or 32 pixels, the side of
    what one token covers), the aspect kept, between the two budgets.

    Raises `UsageError` for a picture that is more than 200 times as long as wide, and for budgets that
    exclude each other.
    """
    least = MIN_TOKENS * unit * unit if min_pixels is None else min_pixels
    most = max(least, MAX_TOKENS * unit * unit) if max_pixels is None else max_pixels
    if least > most:
        raise UsageError(f"`min_pixels` {least:,} is more than `max_pixels` {most:,}", "change one of them")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UsageError(
            f"a picture of {width:,} × {height:,} is longer than {MAX_RATIO} times its width", "cut it"
        )
    wide = max(unit, round(width / unit) * unit)
    high = max(unit, round(height / unit) * unit)
    if wide * high > most:
        shrink = math.sqrt(width * height / most)
        wide = max(unit, math.floor(width / shrink / unit) * unit)
        high = max(unit, math.floor(height / shrink / unit) * unit)
    elif wide * high < least:
        grow = math.sqrt(least / (width * height))
        wide = math.ceil(width * grow / unit) * unit
        high = math.ceil(height * grow / unit) * unit
    return wide, high


def tokens(width: int, height: int, unit: int) -> int:
    """Return the visual tokens of a picture that is `fitted` already."""
    return (width // unit) * (height // unit)
