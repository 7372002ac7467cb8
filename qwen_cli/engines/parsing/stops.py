"""Where a stop string ends an answer that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.core.text import overlap


class StopStrings:
    """Passes an answer on up to the first of the `stop` strings in its text; what may be the beginning of one
    is held back. Thoughts and tool calls are looked into for none.

    `matched` is the one that was complete: nothing of it, nor of what follows, is passed on.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = [s for s in stop if s]
        self._held = ""
        self.matched = ""

    @property
    def stopped(self) -> bool:
        """Return whether a stop string has ended the answer."""
        return bool(self.matched)

    def feed(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return what `pieces` decide."""
        if not self._stop:
            return list(pieces)
        passed: list[Piece] = []
        for piece in pieces:
            if self.stopped:
                break
            if piece.kind != "answer" or not piece.text:
                passed += [*self.finish(), piece]  # what follows it goes on with no text before it
            elif text := self._decided(piece.text):
                passed.append(replace(piece, text=text))
        return passed

    def finish(self) -> list[Piece]:
        """Return what is held back, as no more text comes."""
        held, self._held = self._held, ""
        return [Piece(held)] if held else []

    def _decided(self, text: str) -> str:
        text = self._held + text
        matches = [(at, s) for s in self._stop if (at := text.find(s)) >= 0]
        if matches:
            at, self.matched = min(matches)
            self._held = ""
            return text[:at]
        keep = max(overlap(text, s) for s in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]
