"""Edits put into a text: exactly where they belong, or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from qwen_cli.tasks.edit.answer import Block, EditRefused, Whole

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
_AGAIN = "name fewer lines, or ask again in other words"
# Pairs of lines beyond which those that are everywhere (blank ones) are not compared: it takes minutes.
_COMPARED = 1_000_000
_SHOWN = 60  # characters of a line in a message


@dataclass(frozen=True)
class Edit:
    """Lines `start` to `end` (from 0, without the last) become `lines`, which have no line ends."""

    start: int
    end: int
    lines: tuple[str, ...]


def lines_of(text: str) -> list[str]:
    """Return the lines of a text with their ends, whichever of the three they have."""
    return _LINE.findall(text)


def bare(line: str) -> str:
    """Return a line without its end."""
    return line.rstrip("\r\n")


def edits(code: Sequence[str], answer: tuple[Block, ...] | Whole, *, first: int = 1) -> list[Edit]:
    """Return what `answer` changes of `code`, lines without ends, in order.

    `first` is the number of its first line, for messages. Raises `EditRefused` where what is searched for is
    missing, stands in several places, or where edits touch each other.
    """
    if isinstance(answer, Whole):
        return [Edit(0, len(code), _indented(answer.lines, code))]
    placed = sorted(
        (_placed(code, block, first) for block in answer), key=lambda edit: (edit.start, edit.end)
    )
    for one, other in pairwise(placed):
        if other.start < one.end or other.start == one.start:
            raise EditRefused(f"two blocks of the answer change line {first + other.start:,}", _AGAIN)
    return placed


def _placed(code: Sequence[str], block: Block, first: int) -> Edit:
    """Return where a block belongs. Of several ways to divide it the one that is found once counts."""
    places = [(split, _places(code, split[0])) for split in block.splits()]
    fitting = [(split, at) for split, at in places if at]
    if not fitting:
        raise EditRefused(_missing(code, block.splits()[0][0], first), _AGAIN)
    if len(fitting) > 1:
        raise EditRefused("a search/replace block of the answer can be divided in two ways", _AGAIN)
    (search, replace), at = fitting[0]
    if len(at) > 1:
        numbers = " and ".join(f"{first + n:,}" for n in at[:3]) + (" and more" if len(at) > 3 else "")
        raise EditRefused(f"the text to be replaced stands at lines {numbers}: {_quoted(search)}", _AGAIN)
    return Edit(at[0], at[0] + len(search), replace)


def _places(code: Sequence[str], search: Sequence[str]) -> list[int]:
    if not search:  # text for an empty file, and nowhere else
        return [0] if not code else []
    size, wanted = len(search), list(search)
    return [at for at in range(len(code) - size + 1) if list(code[at : at + size]) == wanted]


def _missing(code: Sequence[str], search: Sequence[str], first: int) -> str:
    if not search:
        return "a search/replace block of the answer searches for nothing"
    alike, at = max(
        ((_alike(code[at:], search), at) for at in range(len(code))), key=lambda pair: pair[0], default=(0, 0)
    )
    if alike:
        where = f"line {first + at + alike:,} is another than {_quoted(search[alike:])}"
        return f"the text to be replaced is not there: {where}"
    return f"the text to be replaced is not there: {_quoted(search)}"


def _alike(code: Sequence[str], search: Sequence[str]) -> int:
    same = 0
    for mine, other in zip(code, search, strict=False):
        if mine != other:
            break
        same += 1
    return same


def _quoted(lines: Sequence[str]) -> str:
    line = next((line.strip() for line in lines if line.strip()), "")
    return repr(line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…")


def _indented(lines: tuple[str, ...], code: Sequence[str]) -> tuple[str, ...]:
    """Return code that was written at the margin as far in as the lines it stands for: models take off what
    all lines have in common. Code that has any indentation in common is left as it is."""
    outer = _common(code)
    if not outer or _common(lines):
        return lines
    return tuple(outer + line if line.strip() else line for line in lines)


def _common(lines: Sequence[str]) -> str:
    """Return the white space that all lines begin with, blank ones aside."""
    starts = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    if not starts:
        return ""
    low, high = min(starts), max(starts)
    same = _alike(low, high)
    return low[:same]


def edited(text: str, changes: Sequence[Edit], newline: str) -> str:
    """Return `text` with its lines changed. Lines that stay keep their ends, new ones get `newline`, and
    whether the last one has an end stays as it was.
    """
    lines = lines_of(text)
    unfinished = bool(lines) and lines[-1] == bare(lines[-1])
    for change in reversed(changes):
        lines[change.start : change.end] = _merged(lines[change.start : change.end], change.lines, newline)
    if lines and unfinished:
        lines[-1] = bare(lines[-1])
    # A line that was the last, and had no end, may have others after it now.
    whole = [
        line if line != bare(line) or n == len(lines) - 1 else line + newline for n, line in enumerate(lines)
    ]
    return "".join(whole)


def _merged(old: list[str], new: Sequence[str], newline: str) -> list[str]:
    """Return the new lines with ends: their own where they stood there before."""
    if all(line in (bare(line), bare(line) + newline) for line in old):
        return [line + newline for line in new]
    plain = [bare(line) for line in old]
    few = len(plain) * len(new) <= _COMPARED
    matcher = SequenceMatcher(None, plain, list(new), autojunk=not few)
    merged: list[str] = []
    for kind, start, end, low, high in matcher.get_opcodes():
        merged += old[start:end] if kind == "equal" else [line + newline for line in new[low:high]]
    return merged
