"""A model's answer to an edit: search/replace blocks, or the code whole in one fenced block."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qwen_cli.errors import QwenError

# The marks of git's merge conflicts, as in Aider's edit format (aider.chat/docs/more/edit-formats.html).
_SEARCH = re.compile(r"<{5,9} SEARCH\s*$")
_DIVIDER = re.compile(r"={5,9}\s*$")
_REPLACE = re.compile(r">{5,9} REPLACE\s*$")
# CommonMark 0.31, fenced code blocks: three or more of one character, indented by three spaces at most.
_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})(?P<info>.*)$")


class EditRefused(QwenError):
    """An answer that cannot be applied exactly. Nothing is changed."""


@dataclass(frozen=True)
class Block:
    """One search/replace block: its lines, and which of them may divide the two parts.

    Code can have lines that look like the divider, so there may be several.
    """

    lines: tuple[str, ...]
    dividers: tuple[int, ...]

    def splits(self) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return the lines to search for and those to put there, for each way to divide the block."""
        return [(self.lines[:at], self.lines[at + 1 :]) for at in self.dividers]


@dataclass(frozen=True)
class Whole:
    """The code as it should be, line by line."""

    lines: tuple[str, ...]


def has_marks(lines: Iterable[str]) -> bool:
    """Return whether code has the marks of search/replace blocks in it: edits of it are no such blocks."""
    return any(_SEARCH.match(line) or _REPLACE.match(line) for line in lines)


def parse(text: str, *, blocks: bool = True) -> tuple[Block, ...] | Whole:
    """Return the edit in a whole answer. What stands around the blocks is left out.

    Without `blocks` it can be a code block only. Raises `EditRefused` where there is none, more than one way
    to read it, or an end that is missing.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if blocks and has_marks(lines):
        return _blocks(lines)
    return _fenced(lines)


def _blocks(lines: list[str]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    begun: int | None = None
    for at, line in enumerate(lines):
        if _SEARCH.match(line):
            if begun is not None:
                raise EditRefused("the answer begins a search/replace block inside of another", _AGAIN)
            begun = at + 1
        elif _REPLACE.match(line):
            if begun is None:
                raise EditRefused("the answer ends a search/replace block that it did not begin", _AGAIN)
            inside = tuple(lines[begun:at])
            dividers = tuple(n for n, inner in enumerate(inside) if _DIVIDER.match(inner))
            if not dividers:
                raise EditRefused("a search/replace block of the answer has no ======= line", _AGAIN)
            blocks.append(Block(inside, dividers))
            begun = None
    if begun is not None:
        raise EditRefused("the answer ends inside a search/replace block", _AGAIN)
    return tuple(blocks)


def _fenced(lines: list[str]) -> Whole:
    blocks: list[tuple[str, ...]] = []
    opened: tuple[int, str] | None = None
    for at, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        mark, info = fence["mark"], fence["info"].strip()
        if opened is None:
            if mark[0] == "~" or "`" not in info:  # else it is code in a line: ```x```
                opened = (at + 1, mark)
        elif mark[0] == opened[1][0] and len(mark) >= len(opened[1]):
            if info:
                raise EditRefused(
                    "the answer has a code fence inside its code block: there is no telling where it ends",
                    _AGAIN,
                )
            blocks.append(tuple(lines[opened[0] : at]))
            opened = None
    if opened is not None:
        raise EditRefused("the answer ends inside its code block", _AGAIN)
    if not blocks:
        raise EditRefused("the answer has neither a search/replace block nor a code block", _AGAIN)
    if len(blocks) > 1:
        raise EditRefused(
            f"the answer has {len(blocks)} code blocks: there is no telling which is meant", _AGAIN
        )
    return Whole(blocks[0])


_AGAIN = "ask again in other words, or a larger model"
