"""Rows at the foot of the terminal that may still change, under rows that never will.

Only what differs is written: a growing line costs its new characters, not itself again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from rich.cells import cell_len
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.style import Style

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Row: TypeAlias = tuple[tuple[str, Style | None], ...]
"""One row of the screen: runs of text with their styles, no trailing blanks."""

_ERASE_LINE = Control((ControlType.ERASE_IN_LINE, 0)).segment
# rich has no name for "erase to the end of the screen" (ECMA-48 ED)
_ERASE_BELOW = Segment("\x1b[J", control=[(ControlType.ERASE_IN_LINE, 0)])


def row(segments: Iterable[Segment]) -> Row:
    """Return one row out of `segments`: runs of the same style joined, trailing blanks dropped."""
    runs = [(s.text, s.style or None) for s in segments if s.text and not s.control]
    joined = [("".join(text for text, _ in run), style) for style, run in groupby(runs, key=lambda r: r[1])]
    while joined:
        text, style = joined[-1]
        if style is not None and (style.underline or style.bgcolor or style.reverse):
            break
        if shorter := text.rstrip(" "):
            joined[-1] = (shorter, style)
            break
        joined.pop()
    return tuple(joined)


def plain(text: str, style: Style | None = None) -> Row:
    """Return one row of one style."""
    return ((text, style),) if text else ()


def rendered(console: Console, renderable: RenderableType, width: int) -> list[Row]:
    """Return the rows of `renderable` at `width` columns, without blank rows at either end."""
    options = console.options.update(width=width, height=None)
    lines = [row(line) for line in console.render_lines(renderable, options, pad=False)]
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    return lines


class Region:
    """The rows on the screen that may still change. The cursor rests behind the last of them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: list[Row] = [()]

    @property
    def width(self) -> int:
        """Return the columns to fill: one less than there are, so that no row ends in a pending wrap."""
        return max(self._console.width - 1, 1)

    @property
    def height(self) -> int:
        """Return the maximum of rows that can be changed later: one that has left the screen cannot be
        reached."""
        return max(self._console.height - 1, 1)

    def update(self, finished: Sequence[Row], live: Sequence[Row]) -> None:
        """Write `finished` for good, then `live`, over the live rows of the last time.

        A row of `finished` may be longer than the screen is wide: the terminal wraps it, so that it is
        copied as one line. `live` rows must fit `width`, and there must not be more than `height`.
        """
        rows = [*finished, *(live or [()])]
        old, same = self._rows, 0
        while same < min(len(old), len(rows)) and old[same] == rows[same]:
            same += 1
        if same < len(rows) or same < len(old):
            with self._console:  # one write, so that nobody sees half of it
                output = Segments(self._changes(old, rows, same))
                self._console.print(output, end="", soft_wrap=True)
        self._rows = rows[len(finished) :]

    def _changes(self, old: list[Row], rows: list[Row], same: int) -> list[Segment]:
        if same == len(old):  # everything stands, more rows follow
            return [s for line in rows[same:] for s in (Segment.line(), *_segments(line))]
        if same == len(old) - 1 < len(rows) and (more := _suffix(old[same], rows[same])) is not None:
            return [*more, *(s for line in rows[same + 1 :] for s in (Segment.line(), *_segments(line)))]

        # Rewrite from the first row that differs; where only rows were taken away, from the last that stays.
        first = min(same, len(rows) - 1)
        up = sum(self._height_of(line) for line in old[first:]) - 1
        output = [Control((ControlType.CARRIAGE_RETURN,)).segment]
        if up:
            output.append(Control((ControlType.CURSOR_UP, up)).segment)
        if len(old) > len(rows) or any(self._height_of(line) > 1 for line in rows[first:]):
            output.append(_ERASE_BELOW)
        for index, line in enumerate(rows[first:]):
            output += [Segment.line()] if index else []
            output += [_ERASE_LINE, *_segments(line)]
        return output

    def _height_of(self, line: Row) -> int:
        """Return the rows that `line` takes now: terminals wrap what stands there when they become
        narrower."""
        return max(1, ceil(sum(cell_len(text) for text, _ in line) / self._console.width))


def _segments(line: Row) -> Iterator[Segment]:
    return (Segment(text, style) for text, style in line)


def _suffix(old: Row, new: Row) -> list[Segment] | None:
    """Return what must be written behind `old` to make it `new`, or `None` if `new` does not start with
    `old`."""
    if not old:
        return list(_segments(new))
    whole, (text, style) = old[:-1], old[-1]
    if new[: len(whole)] != whole or len(new) <= len(whole):
        return None
    next_text, next_style = new[len(whole)]
    if next_style != style or not next_text.startswith(text):
        return None
    return [Segment(next_text[len(text) :], style), *_segments(new[len(whole) + 1 :])]
