"""Boxes and points with their labels, drawn on a copy of a picture."""

from __future__ import annotations

import colorsys
import functools
import os
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qwen_cli.errors import QwenError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Place: TypeAlias = Sequence[int]
"""A box (left, top, right, bottom; right and bottom exclusive) or a point (x, y), in pixels."""

Color: TypeAlias = tuple[int, int, int]

# Of "20 Simple, Distinct Colors" (Sasha Trubetskoy), those that keep apart on photographs; no greys.
_COLORS: tuple[Color, ...] = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (255, 225, 25),
    (0, 128, 128),
    (170, 110, 40),
    (128, 0, 0),
    (210, 245, 60),
    (0, 0, 128),
    (250, 190, 212),
)
# Further colours go round the circle by the golden angle, which never comes near where it was soon.
_GOLDEN = 0.618034

# Of the shorter side of the picture; thinner or smaller than this cannot be seen, whatever the picture.
_LINE, _THINNEST = 1 / 300, 2
_TEXT, _SMALLEST = 1 / 40, 12

# By what systems bring: Linux (Noto, DejaVu, WenQuanYi), macOS, Windows. Pillow looks in the usual folders.
_SYSTEM_FONTS: tuple[str, ...] = (
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSans-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "ヒラギノ角ゴシック W3.ttc",
    "AppleSDGothicNeo.ttc",
    "msyh.ttc",
    "YuGothR.ttc",
    "msgothic.ttc",
    "malgun.ttf",
    "simsun.ttc",
    "segoeui.ttf",
    "arial.ttf",
    "DejaVuSans.ttf",
)


FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""What can be drawn to, by the end of its name: formats that hold whose work a picture is."""

# Exif 2.32: "Software". By it a picture that was drawn here is known, and may be drawn anew.
_SOFTWARE, _OURS = 0x0131, "drawn by qwen vision"


def targets(target: Path, count: int) -> list[Path]:
    """Return the files for so many pictures: `target` itself, or "found-1.png", "found-2.png", …"""
    if count == 1:
        return [target]
    return [target.with_name(f"{target.stem}-{number}{target.suffix}") for number in range(1, count + 1)]


def check(target: Path) -> None:
    """Raise `UsageError` for a file that `save` could not or must not write: of another format, a folder, in
    no folder, or a file that is there and is no picture drawn here."""
    if target.is_dir():
        raise UsageError(f"{target} is a folder", f"name a file in it: {target / 'found.png'}")
    if target.suffix.lower() not in FORMATS:
        raise UsageError(
            f"`draw` writes {', '.join(FORMATS)}, got {target.name!r}", "give it one of these endings"
        )
    folder = next((one for one in target.absolute().parents if one.exists()), Path("/"))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "cannot be written" if folder.is_dir() else "is no folder"
        raise UsageError(f"{target} cannot be written: {folder} {why}", "give another `draw`")
    if target.exists() and not _is_ours(target):
        raise UsageError(
            f"{target} is there already and was not drawn by `qwen vision`", "give another `draw`"
        )


def save(image: Image, target: Path) -> None:
    """Write a drawn picture, whole or not at all, so that `check` knows it for ours. Raises `UsageError` as
    `check` does, for a name may have been taken meanwhile, and `QwenError`."""
    from PIL import Image as images

    check(target)
    target = target.resolve()  # a link stays one
    about = images.Exif()
    about[_SOFTWARE] = _OURS
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(temporary, FORMATS[target.suffix.lower()], exif=about)
        temporary.replace(target)
    except (OSError, ValueError) as fault:
        with suppress(OSError):
            temporary.unlink()
        raise QwenError(f"{target} cannot be written: {fault}", "give another `draw`") from fault


def _is_ours(path: Path) -> bool:
    from PIL import Image as images

    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with images.open(path, formats=tuple(dict.fromkeys(FORMATS.values()))) as image:
            return image.getexif().get(_SOFTWARE) == _OURS
    except Exception:  # another file, or a damaged one: in no case a picture of ours
        return False


def draw(image: Image, places: Iterable[tuple[str, Place]]) -> Image:
    """Return a copy of `image` with a frame round each box, a dot on each point, and labels; things with the
    same label have the same colour.

    The copy is RGB, or RGBA where the picture has transparency. Lines and letters grow with the picture.
    Labels stay inside it, and off each other where there is room. Signs that no font here has become "?".
    """
    from PIL import ImageDraw

    copy = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if copy is image:
        copy = image.copy()
    placed = [(label, tuple(place)) for label, place in places]
    hues = {label: _color(index) for index, label in enumerate(dict.fromkeys(label for label, _ in placed))}
    shorter = min(copy.size)
    line = max(_THINNEST, round(shorter * _LINE))
    pen = ImageDraw.Draw(copy)
    # The large first: what lies inside them stays to be seen.
    for label, place in sorted(placed, key=lambda one: -_area(one[1])):
        _mark(pen, place, hues[label], line)
    taken: list[tuple[int, int, int, int]] = []
    for label, place in placed:
        if label.strip():
            _name(pen, label, place, hues[label], line, max(_SMALLEST, round(shorter * _TEXT)), taken)
    return copy


def _color(index: int) -> Color:
    if index < len(_COLORS):
        return _COLORS[index]
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1, 0.85, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _area(place: tuple[int, ...]) -> int:
    return (place[2] - place[0]) * (place[3] - place[1]) if len(place) == 4 else 0


def _mark(pen: ImageDraw, place: tuple[int, ...], color: Color, line: int) -> None:
    if len(place) == 4:
        left, top, right, bottom = place
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=line)
    else:
        x, y = place
        # A rim of the contrary keeps the dot apart from what is under it.
        pen.ellipse((x - 3 * line, y - 3 * line, x + 3 * line, y + 3 * line), fill=_contrary(color))
        pen.ellipse((x - 2 * line, y - 2 * line, x + 2 * line, y + 2 * line), fill=color)


def _name(
    pen: ImageDraw,
    label: str,
    place: tuple[int, ...],
    color: Color,
    line: int,
    size: int,
    taken: list[tuple[int, int, int, int]],
) -> None:
    """Write `label` on its colour beside `place`, and note in `taken` where."""
    width, height = pen.im.size
    font, text = _writable(" ".join(label.split()), size)
    padding = line
    text = _shortened(text, font, width - 2 * padding)
    _, rise, _, fall = font.getbbox("Ây" + text)
    wide, high = round(font.getlength(text)) + 2 * padding, round(fall - rise) + 2 * padding
    left, top, right, bottom = place if len(place) == 4 else (place[0] + 3 * line, place[1], *place)
    above, below, inside = (left, top - high), (left, bottom), (left + line, top + line)
    spots = [
        (min(max(x, 0), max(width - wide, 0)), min(max(y, 0), max(height - high, 0)))
        for x, y in (above, inside, below, (right - wide, top - high), (right - wide, bottom))
    ]
    areas = [(x, y, x + wide, y + high) for x, y in spots]
    area = next((area for area in areas if not any(_overlap(area, other) for other in taken)), areas[0])
    taken.append(area)
    pen.rectangle((area[0], area[1], area[2] - 1, area[3] - 1), fill=color)
    pen.text((area[0] + padding, area[1] + padding - rise), text, fill=_contrary(color), font=font)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _contrary(color: Color) -> Color:
    """Return black or white, whichever is easier to read on `color` (relative luminance, WCAG 2.2)."""
    shares = ((c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in color)
    luminance = sum(share * weight for share, weight in zip(shares, (0.2126, 0.7152, 0.0722), strict=True))
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)  # where both contrasts are the same


def _shortened(text: str, font: FreeTypeFont | ImageFont, most: int) -> str:
    if font.getlength(text) <= most:
        return text
    while text and font.getlength(f"{text}...") > most:
        text = text[:-1]
    return f"{text}..." if text else ""


def _writable(text: str, size: int) -> tuple[FreeTypeFont | ImageFont, str]:
    """Return the font that has most of `text`, and `text` with what it lacks replaced: an accented letter by
    the plain one, anything else by "?"."""
    from PIL import ImageFont

    best = ImageFont.load_default(size)
    lacks = _lacking(best, text)
    for name in _SYSTEM_FONTS if lacks else ():
        font = _system_font(name, size)
        if font is not None and len(missing := _lacking(font, text)) < len(lacks):
            best, lacks = font, missing
            if not lacks:
                break
    replaced = {c: unicodedata.normalize("NFKD", c)[0] if c in lacks else c for c in text}
    still = _lacking(best, "".join(replaced.values()))
    return best, "".join("?" if replaced[c] in still else replaced[c] for c in text)


def _lacking(font: FreeTypeFont | ImageFont, text: str) -> set[str]:
    """Return the signs that `font` draws as it draws one that does not exist."""
    nothing = bytes(font.getmask("\U0010ffff"))
    return {c for c in set(text) if not c.isspace() and bytes(font.getmask(c)) == nothing}


@functools.cache
def _system_font(name: str, size: int) -> FreeTypeFont | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
