"""Fenced blocks in what a model writes, followed as they open and close."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from typing import Literal, TypeAlias

# As CommonMark has them, but for the depth of the indentation: models put programs into lists.
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*\{?\.?([\w+-]*)([^`\n]*)")
# A model may open a program without a new line; nothing else is opened that way.
_LATE = re.compile(r"(\s*)\S.*?(?<!`)(```)((?:python3?|py))([ \t]*)", re.IGNORECASE)
_PYTHON = ("python", "py", "python3")

Part: TypeAlias = Literal["text", "opens", "body", "closes"]


@dataclass(frozen=True)
class Opened:
    """The block that a fence of `marks` opened, in the language `tag`, `indent` characters from the left."""

    indent: int
    marks: str
    tag: str

    @property
    def python(self) -> bool:
        return self.tag in _PYTHON


class Fences:
    """Says of each line in turn what it is. `block` is the one that is open."""

    def __init__(self) -> None:
        self.block: Opened | None = None

    def take(self, line: str) -> Part:
        """Return what `line` is, which has no line break.

        A fence that names a language closes an open program without being part of it: the program's own
        was left out. One of a program opens it in a block without a language too, which was none then.
        """
        match = _FENCE.fullmatch(line)
        block = self.block
        if block is None or (block.tag == "" and match and match[3].lower() in _PYTHON):
            match = match or _LATE.fullmatch(line)
            if match is None:
                return "text"
            self.block = Opened(len(match[1]), match[2], match[3].lower())
            return "opens"
        if match is None or not match[2].startswith(block.marks):
            return "body"
        if _names_language(line) and not block.python:
            return "body"
        self.block = None
        return "closes"


def prose(text: str) -> str:
    """Return what stands outside of all blocks."""
    fences = Fences()
    return "\n".join(line for line in text.split("\n") if fences.take(line) == "text")


class Follower:
    """Follows a text that comes in parts of any size, up to the end of its first program.

    `text` is what has come, but what comes after a program is dropped, white space between them too: the
    program is to be run first. From then on it has `ended`.
    """

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._fences = Fences()
        self._line = 0  # where the last line begins, which may still grow
        self._body = 0  # where the body of the last block begins
        self._closed: _Program | None = None

    def feed(self, text: str) -> str:
        """Take the next part. Returns what of it is kept."""
        if self.ended:
            return ""
        before = len(self.text)
        self.text += text
        while not self._closed and (end := self.text.find("\n", self._line)) >= 0:
            self._take(end)
        if self._closed:
            self.ended = bool(self.text[self._closed.end :].strip())
            self.text = self.text[: self._closed.end]
        return self.text[before:]

    @property
    def open(self) -> bool:
        """Return whether the last block has no fence yet that closes it."""
        end = self._at_end()
        return not end._closed.fenced if end._closed else end._fences.block is not None

    @property
    def other(self) -> bool:
        """Return whether a block is open that is no program."""
        block = self._at_end()._fences.block
        return block is not None and not block.python

    def program(self) -> str | None:
        """Return the program that ends the text, its fence open or closed; `None` where there is none, or
        nothing in it."""
        end = self._at_end()
        closed = end._closed
        if closed is None:
            block = end._fences.block
            if block is None or not block.python:
                return None
            closed = _Program(block, len(end.text), len(end.text), fenced=False)
        body = end.text[end._body : closed.body_end]
        lines = [_without_indent(line, closed.block.indent) for line in body.split("\n")]
        return "\n".join(lines) if body.strip() else None

    def _take(self, end: int) -> None:
        """Take the line that ends there."""
        block, line = self._fences.block, self.text[self._line : end]
        part = self._fences.take(line)
        body_end = max(self._line - 1, self._body)
        if part == "closes" and block and block.python and self.text[self._body : body_end].strip():
            fenced = not _names_language(line)
            self._closed = _Program(block, body_end, end if fenced else body_end, fenced)
            return
        self._line = min(end + 1, len(self.text))
        if part == "opens":
            self._body = self._line

    def _at_end(self) -> Follower:
        """Return this, with its last line taken for a whole one."""
        if self._closed:
            return self
        at_end = copy(self)
        at_end._fences = copy(self._fences)
        at_end._take(len(self.text))
        return at_end


@dataclass(frozen=True)
class _Program:
    """A program that was closed: where its body and all of it ends, and whether by a fence of its own."""

    block: Opened
    body_end: int
    end: int
    fenced: bool


def _names_language(fence: str) -> bool:
    match = _FENCE.fullmatch(fence)
    return bool(match and (match[3] or match[4].strip()))


def _without_indent(line: str, indent: int) -> str:
    spaces = len(line) - len(line.lstrip(" \t"))
    return line[min(spaces, indent) :]
