"""Thinking apart from the answer, in the text of a local model as it streams."""

from __future__ import annotations

import re
from typing import Literal

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.core.text import overlap

OPEN, CLOSE = "<think>", "</think>"
_TURN = "<|im_start|>assistant\n"
_NOTHING = re.compile(rf"\s*{OPEN}\s*{CLOSE}")


def is_left_out(prompt: str) -> bool:
    """Return whether the turn that a raw prompt ends in has no thinking: Qwen3's templates begin it with an
    empty block where that is switched off. A prompt without turns tells nothing."""
    _, mark, turn = prompt.rpartition(_TURN)
    return bool(mark and _NOTHING.match(turn))


class ThinkingText:
    """Parts text into thinking and answer.

    `opened`: the prompt's template has already written `<think>`, as Thinking-2507's does; a model that
    writes it once more is not quoted. `inside` is whether the text so far ends within thinking. The line
    breaks that the template puts round the tags belong to neither part. A tag may come in several parts.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self.inside = opened
        self._before = True  # nothing but white space so far: `<think>` may still come
        self._at_start = opened  # after a tag, where line breaks are dropped
        self._held = ""
        self._last = ""  # character of the text

    @property
    def closing(self) -> str:
        """Return what ends thinking here, as templates write it: the tag on a line of its own."""
        return closing("" if self._at_start else self._last)

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        self._last = text[-1:] or self._last
        pieces: list[Piece] = []
        if self._before:
            start = self._held.lstrip()
            if len(start) < len(OPEN) and OPEN.startswith(start):
                return []
            self._before = False
            if start.startswith(OPEN):
                self.inside, self._at_start, self._held = True, True, start[len(OPEN) :]
        if self.inside:
            thought, tag, rest = self._held.partition(CLOSE)
            keep = 0 if tag else overlap(thought, CLOSE)
            pieces += self._part(thought[: len(thought) - keep], "thinking")
            self._held = rest if tag else thought[len(thought) - keep :]
            if tag:
                self.inside, self._at_start = False, True
        if not self.inside:
            pieces += self._part(self._held, "answer")
            self._held = ""
        return pieces

    def finish(self) -> list[Piece]:
        """Return what was held back when the text ended."""
        held, self._held = self._held, ""
        return self._part(held, "thinking" if self.inside else "answer")

    def _part(self, text: str, kind: Literal["thinking", "answer"]) -> list[Piece]:
        if self._at_start:
            text = text.lstrip("\n")
        if not text:
            return []
        self._at_start = False
        return [Piece(text, kind)]


def closing(thought: str) -> str:
    """Return what ends `thought`, as Qwen's templates write it: the tag on a line of its own."""
    return ("" if thought.endswith("\n") else "\n") + f"{CLOSE}\n\n"
