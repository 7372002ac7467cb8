"""Where things are in a picture: how each generation is asked, and what its answer means in pixels."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from qwen_cli import sanitize
from qwen_cli.engines.core.base import Boxes
from qwen_cli.engines.core.prompt import Prompt
from qwen_cli.tasks.common import lenient_json
from qwen_cli.tasks.vision import nouns

Convention: TypeAlias = Boxes
"""How a generation writes coordinates. "tags": Qwen2-VL, `<|box_start|>(x1,y1),(x2,y2)<|box_end|>` in
thousandths of the picture (QwenLM/Qwen3-VL issue 189). "absolute": Qwen2.5-VL, JSON in pixels of the picture
as it was resized for the model (QwenLM/Qwen2.5-VL cookbooks/spatial_understanding.ipynb). "thousand":
Qwen3-VL and later, the same JSON in thousandths (QwenLM/Qwen3-VL cookbooks/2d_grounding.ipynb)."""

Size: TypeAlias = tuple[int, int]
"""(width, height) in pixels."""

# Nothing below may go back over a long run of blanks twice: small models end in such runs.
_N = r"[-+]?\d+(?:\.\d+)?"
_PAIR = re.compile(rf"\(\s*({_N})\s*,\s*({_N})\s*\)")
_COMMA = re.compile(r"\s*(?:,\s*)?")
_REFERRED = re.compile(r"<\|object_ref_start\|>([^<]*)<\|object_ref_end\|>")
_SPECIAL = re.compile(r"<\|[a-z_]+\|>")
# <points x1="10" y1="20" x2="30" y2="40" alt="cup">cup</points>, also with stray blanks.
_POINTS = re.compile(r"<\s*points?\b([^<>]*)>([^<]*)<\s*/\s*points?\s*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(rf"\b([xy])(\d*)\s*=\s*[\"']?({_N})")
_ALT = re.compile(r"\balt\s*=\s*(\"[^\"]*\"|'[^']*')")
# "x1,y1,x2,y2 label" on a line, Qwen2.5-VL's plain text format, and bare lists in prose.
_FOUR = rf"{_N}(?:\s*,\s*{_N}){{3}}"
_PLAIN = re.compile(rf"^[ \t]*({_FOUR})[ \t]+([^\W\d].*)$", re.MULTILINE)
_BARE = re.compile(rf"[\[(]\s*({_FOUR})\s*[\])]")

_BOXES = ("bbox_2d", "bbox", "box_2d", "box")
_PLACES = (*_BOXES, "point_2d", "point", "points")
# "text_content" is the cookbook's for text (ocr.ipynb), "description" what Model Studio's guide shows.
_LABELS = ("label", "text_content", "name", "object", "category", "class", "text", "description")

_Shape: TypeAlias = tuple[str, list[float]]  # a label with 2 or 4 numbers, as the model counts


@dataclass(frozen=True)
class Detection:
    """A thing in a picture, in pixels of the original: `box` is (left, top, right, bottom) as Pillow's `crop`
    takes it, right and bottom exclusive; `point` is (x, y). One of the two is `None`."""

    label: str
    box: tuple[int, int, int, int] | None = None
    point: tuple[int, int] | None = None


def prompt(what: str, convention: Convention, *, points: bool = False) -> str:
    """Return what asks a model for the boxes (or `points`) of `what`.

    `what` is a category ("small cake"), several ("car, bus, bicycle"), one thing ("the top right brown cake")
    or all of them ("the red cars"): `nouns.wanted` tells. Sources: "tags" the grounding format of ms-swift's
    Qwen2-VL best practice, for Qwen's own repository gives none; "absolute" and "thousand" the two cookbooks
    that `Convention` names. For points both get the Qwen3-VL cookbook's words: they spell out the JSON, which
    both were trained on.
    """
    wanted = _wanted(what)
    what = wanted.words
    if convention == "tags":
        # The tags are ours; in a message text is somebody's words unless it says that it is not.
        verb = f"{'Point to' if points else 'Find'}{' all' if wanted.many else ''}"
        return Prompt(f"{verb} <|object_ref_start|>{what}<|object_ref_end|>")
    if points:
        each = what if wanted.one else f"all {what}" if wanted.many else f"every {what}"
        return (
            f"Locate {each} with points, report the point coordinates in JSON "
            'format like this: [{"point_2d": [x, y], "label": "object name"}]'
        )
    if wanted.one:
        return f"Locate {what}, output its bbox coordinates using JSON format."
    if convention == "absolute":
        if "," in what:
            return (
                "Locate every item from the category list in the image and output the coordinates in JSON "
                f"format. The category set includes {what}."
            )
        each = f"each of the {what}" if wanted.many else f"each {what}"
        return f"Outline the position of {each} and output all the coordinates in JSON format."
    return (
        f'Locate every instance that belongs to the following categories: "{what}". '
        "Report bbox coordinates in JSON format."
    )


def solid_prompt(what: str) -> str:
    """Return what asks a model for boxes in space (QwenLM/Qwen3-VL cookbooks/3d_grounding.ipynb; Qwen3.5 is
    asked the same)."""
    wanted = _wanted(what)
    find = f"{wanted.words} in this image" if wanted.one else f"all {wanted.words} in this image"
    kind = nouns.singular(wanted.words) if wanted.words.isalpha() else "of them"
    each = "Of it, " if wanted.one else f"For each {kind}, "
    return (
        f"Find {find}. {each}provide its 3D bounding box. The output format required is JSON: "
        '`[{"bbox_3d":[x_center, y_center, z_center, x_size, y_size, z_size, roll, pitch, yaw],'
        '"label":"category"}]`.'
    )


def _wanted(what: str) -> nouns.Wanted:
    # Special tokens in what a person typed would be read as such.
    return nouns.wanted(" ".join(_SPECIAL.sub(" ", what).split()))


def parse_solid(text: str) -> list[dict[str, Any]]:
    """Return the boxes in space of an answer, as the cookbook has them: `{"label", "box_3d": [x, y, z, width,
    height, depth, roll, pitch, yaw]}`, the centre and the sizes as the camera has them (x to the right, y
    down, z away), angles as the model writes them. What has not nine numbers, or a size that is not above
    zero, is left out."""
    found: list[dict[str, Any]] = []
    for one in lenient_json.objects(text):
        numbers = one.get("bbox_3d")
        if not isinstance(numbers, list) or len(numbers) != 9 or not all(map(_is_number, numbers)):
            continue
        box = [float(number) for number in numbers]
        solid = {"label": sanitize.one_line(_label(one)), "box_3d": box}
        if min(box[3:6]) > 0 and solid not in found:
            found.append(solid)
    return found


def parse(text: str, convention: Convention, *, seen: Size, original: Size) -> list[Detection]:
    """Return what an answer says it found, in pixels of the original picture; empty where it found nothing.

    `seen` is the size that the model was shown (only "absolute" counts in its pixels), `original` that of the
    file. Either format is understood from every generation, JSON also when it is broken or cut off, in which
    case the whole entries count. Corners are sorted, numbers outside are moved to the edge, boxes without
    area and repetitions are left out.
    """
    scale = seen if convention == "absolute" else (1000, 1000)
    readers = (_from_objects, _from_tags, _from_points, _from_plain)
    shapes = next((read for reader in readers if (read := list(reader(text)))), [])
    placed = (_placed(sanitize.one_line(label), numbers, scale, original) for label, numbers in shapes)
    return list(dict.fromkeys(read for read in placed if read is not None))


def as_json(detections: Iterable[Detection]) -> list[dict[str, Any]]:
    """Return what was found as plain data: `{"label", "box": [x1, y1, x2, y2]}` or `{"label", "point": [x,
    y]}`."""
    return [
        {"label": one.label, **({"box": list(one.box)} if one.box else {"point": list(one.point or ())})}
        for one in detections
    ]


def count(detections: Iterable[Detection]) -> dict[str, int]:
    """Return how many there are of each label, the most frequent first."""
    return dict(Counter(one.label for one in detections).most_common())


def _placed(label: str, numbers: Sequence[float], scale: Size, original: Size) -> Detection | None:
    if all(0 <= number <= 1 for number in numbers) and any(number % 1 for number in numbers):
        # Fractions of the picture, which small models fall into; as coordinates they would be one corner.
        numbers = [number * side for number, side in zip(numbers, (*scale, *scale), strict=False)]
    inside = [
        min(max(number, 0.0), side) / side * pixels
        for number, side, pixels in zip(numbers, (*scale, *scale), (*original, *original), strict=False)
    ]
    if len(inside) == 2:
        x, y = (min(round(at), pixels - 1) for at, pixels in zip(inside, original, strict=True))
        return Detection(label, point=(x, y))
    left, right = sorted((round(inside[0]), round(inside[2])))
    top, bottom = sorted((round(inside[1]), round(inside[3])))
    return Detection(label, box=(left, top, right, bottom)) if left < right and top < bottom else None


def _from_objects(text: str) -> Iterator[_Shape]:
    for one in lenient_json.objects(text):
        label = _label(one)
        key = next((key for key in _PLACES if key in one), "")
        yield from ((label, numbers) for numbers in _lists(one.get(key), corners=key in _BOXES))


def _label(one: Mapping[str, Any]) -> str:
    return str(next((one[key] for key in _LABELS if isinstance(one.get(key), str | int | float)), ""))


def _lists(value: Any, *, corners: bool) -> Iterator[list[float]]:
    """Yield the coordinate lists in a value: one list, several, two `corners`, or a text of numbers."""
    if isinstance(value, str):
        value = re.findall(_N, value)
    if not isinstance(value, list):
        return
    if all(_is_number(part) for part in value):
        value = [value]
    elif corners and [len(part) if isinstance(part, list) else 0 for part in value] == [2, 2]:
        value = [[*value[0], *value[1]]]
    for part in value:
        if isinstance(part, list) and len(part) in (2, 4) and all(_is_number(number) for number in part):
            yield [float(number) for number in part]


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _from_tags(text: str) -> Iterator[_Shape]:
    label, at = "", 0
    for start, end, corners in _runs(text):
        before = text[at:start]
        at = end
        words = _SPECIAL.sub("", before)
        lines = words.strip(" \t\r\n,;.").splitlines()
        # Without tags (they are special tokens, which decoding may drop) a label touches its corners, prose
        # does not; nothing in between means another box of the same thing.
        if named := _REFERRED.findall(before):
            label = named[-1]
        elif lines:
            label = "" if words[-1:].isspace() else lines[-1]
        if len(corners) > 2:
            yield from ((label, corners[i : i + 4]) for i in range(0, len(corners) - 3, 4))
        elif before.endswith("_start|>") or not lines:  # in prose, "(1, 2)" is hardly ever a place
            yield label, corners


def _runs(text: str) -> Iterator[tuple[int, int, list[float]]]:
    """Yield (start, end, numbers) of each row of pairs, without those that are cut off."""
    start, end, numbers = 0, -1, list[float]()
    for pair in _PAIR.finditer(text):
        if not numbers or _COMMA.fullmatch(text, end, pair.start()) is None:
            if numbers:
                yield start, end, numbers
            start, numbers = pair.start(), []
        end = pair.end()
        numbers += [float(pair[1]), float(pair[2])]
    after = _COMMA.match(text, max(end, 0))
    if numbers and not (after and text.startswith("(", after.end())):
        yield start, end, numbers


def _from_points(text: str) -> Iterator[_Shape]:
    for match in _POINTS.finditer(text):
        alt = _ALT.search(match[1])
        numbers = {(axis, index): float(value) for axis, index, value in _ATTRIBUTE.findall(match[1])}
        for (axis, index), x in numbers.items():
            if axis == "x" and ("y", index) in numbers:
                yield match[2].strip() or (alt[1][1:-1] if alt else ""), [x, numbers["y", index]]


def _from_plain(text: str) -> Iterator[_Shape]:
    lines = [(match[2], match[1]) for match in _PLAIN.finditer(text)]
    for label, numbers in lines or [("", match[1]) for match in _BARE.finditer(text)]:
        yield label, [float(number) for number in numbers.split(",")]
