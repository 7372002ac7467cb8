"""Synthetic pictures and videos of coloured shapes, with what there is to say about them.

What a tiny model is trained on and tested with: training draws from odd seeds, tests from even ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIDE = 112  # pixels; 4 × 4 visual tokens of Qwen2.5-VL
STEP = 14  # shapes lie on multiples of this
FRAMES, FPS = 16, 2.0
FRAME_SIDE = 56  # pixels of a video's frame
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 60, 220),
    "yellow": (235, 205, 40),
    "black": (20, 20, 20),
    "purple": (140, 40, 160),
}
SHAPES = ("circle", "square", "triangle")
WHAT = "What is in the picture?"
EACH = "shape"  # to locate


@dataclass(frozen=True)
class Thing:
    """A shape and the square that it fills, in pixels."""

    colour: str
    shape: str
    left: int
    top: int
    side: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.side, self.top + self.side

    @property
    def place(self) -> str:
        """Where its middle is, in ninths of the picture."""
        x, y = self.left + self.side / 2, self.top + self.side / 2
        row = ("top", "middle", "bottom")[min(2, int(3 * y / SIDE))]
        column = ("left", "centre", "right")[min(2, int(3 * x / SIDE))]
        return f"{row} {column}"

    @property
    def words(self) -> str:
        return f"A {self.name} at the {self.place}."


def thing(chance: random.Random) -> Thing:
    """A shape somewhere in the picture."""
    side = chance.choice((28, 42))
    left, top = (chance.randrange(0, (SIDE - side) // STEP + 1) * STEP for _ in range(2))
    return Thing(chance.choice([*COLOURS]), chance.choice(SHAPES), left, top, side)


def picture(*things: Thing, scale: float = 1.0) -> Image.Image:
    """The shapes on white, `scale` times as large."""
    size = round(SIDE * scale)
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    for one in things:
        left, top, right, bottom = (round(v * scale) for v in one.box)
        fill = COLOURS[one.colour]
        if one.shape == "circle":
            pen.ellipse((left, top, right - 1, bottom - 1), fill=fill)
        elif one.shape == "square":
            pen.rectangle((left, top, right - 1, bottom - 1), fill=fill)
        else:
            pen.polygon([(left, bottom - 1), (right - 1, bottom - 1), ((left + right) // 2, top)], fill=fill)
    return image


def film(one: Thing, start: int, end: int) -> list[Image.Image]:
    """`FRAMES` frames; the shape is there from second `start` up to second `end`."""
    first, last = round(start * FPS), round(end * FPS)
    return [picture(*([one] if first <= n < last else []), scale=FRAME_SIDE / SIDE) for n in range(FRAMES)]


def event(one: Thing, start: int, end: int) -> str:
    """What there is to say about `film`, as `qwen vision --events` wants it."""
    return f'[{{"start": {start}, "end": {end}, "what": "A {one.name}"}}]'


def boxes(*things: Thing) -> str:
    """What there is to say to `--locate`, as Qwen2.5-VL writes it: pixels of the picture that it saw."""
    rows = ",\n".join(f'\t{{"bbox_2d": {list(one.box)}, "label": "{one.name}"}}' for one in things)
    return f"```json\n[\n{rows}\n]\n```"
