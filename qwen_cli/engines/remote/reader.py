"""Thinking and answer apart in what a server says, whether it has a reasoning parser or not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.parsing.stops import StopStrings
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN, ThinkingText

# The end of thinking whose beginning the prompt had, as models write it: on a line of its own.
_LONE = re.compile(rf"(?:\A|(?<=\n)){CLOSE}(?=\n|\Z)")


class Reader:
    """Takes what one answer brings, and gives its pieces up to the first of the `stop` strings in the answer.

    `opened`: the model's template begins the thinking in the prompt, so that text is thinking until
    `</think>`. Not so from a server that has told thoughts apart before (`parses`): it has a parser. Where
    the text ends without the tag the server did not have the model think, and all was the answer: it is
    given once more as such, for nothing may be lost.
    """

    def __init__(self, *, opened: bool = False, stop: Sequence[str] = ()) -> None:
        self._opened = opened
        self._tags = ThinkingText(opened=opened)
        self._stops = StopStrings(stop)
        self._written = ""
        self.parses = False

    @property
    def stopped(self) -> bool:
        """Return whether a stop string has ended the answer."""
        return self._stops.stopped

    @property
    def stop_string(self) -> str:
        """Return the stop string that has ended the answer, if one has."""
        return self._stops.matched

    @property
    def closed_alone(self) -> bool:
        """Return whether thinking ended that nothing showed the beginning of."""
        return not self._opened and not self.parses and lone_end(self._written) is not None

    @property
    def unclosed(self) -> bool:
        """Return whether text that was to begin with thinking had no end of it."""
        return self._opened and not self.parses and self._tags.inside and bool(self._written)

    def feed(self, thought: str | None, text: str | None) -> list[Piece]:
        """Return what a part decides: a `thought` that the server told apart, and `text`."""
        pieces: list[Piece] = []
        if thought:
            if not self.parses and not self._written:
                self._tags = ThinkingText()
            self.parses = True
            pieces.append(Piece(thought, "thinking"))
        if text:
            self._written += text
            pieces += self._tags.feed(text)
        return self._stops.feed(pieces)

    def finish(self, reason: str) -> list[Piece]:
        """Return what was held back when the text ended for the server's `reason`."""
        pieces = self._tags.finish()
        if self.unclosed and reason == "stop":
            pieces.append(Piece(self._written.removeprefix(OPEN).lstrip("\n")))
        return self._stops.feed(pieces) + self._stops.finish()


def whole(text: str, thought: str, reason: str, *, opened: bool, stop: Sequence[str] = ()) -> tuple[str, str]:
    """Return (answer, thinking) of an answer that came at once. A lone end of thinking shows its beginning
    then."""
    reader = Reader(opened=opened or (not thought and lone_end(text) is not None), stop=stop)
    pieces = reader.feed(thought, text)
    pieces += reader.finish(reason)
    if reader.unclosed and reason == "stop":
        pieces = [piece for piece in pieces if piece.kind == "answer"]
    return parts(pieces)


def lone_end(text: str) -> int | None:
    """Return where thinking ends in `text` that does not begin with its tag, if it does. A tag in code is
    quoted."""
    if text.lstrip().startswith(OPEN) or not (found := _LONE.search(text)):
        return None
    return None if text[: found.start()].count("```") % 2 else found.start()
