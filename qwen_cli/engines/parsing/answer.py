"""Thinking, answer and tool calls apart, in the text of a local model as it streams, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.parsing.stops import StopStrings
from qwen_cli.engines.parsing.think_tags import ThinkingText
from qwen_cli.engines.parsing.tool_calls import ToolParser, calls_at_end


class AnswerParser:
    """Takes an answer's text and gives its pieces. `thinks`: the model may open `<think>`; `opened`: the
    prompt has done it already. Without `tools` nothing is a call. A string of `stop` ends the answer where it
    is in its text: thoughts and calls are none of it."""

    def __init__(
        self,
        *,
        thinks: bool = False,
        opened: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        stop: Sequence[str] = (),
    ) -> None:
        self._thoughts = ThinkingText(opened=opened) if thinks or opened else None
        self._declared = tools
        self._tools = ToolParser(tools) if tools else None
        self._stops = StopStrings(stop)
        self._thought = ""

    @property
    def thinking(self) -> bool:
        """Return whether the text so far ends within thinking."""
        return self._thoughts is not None and self._thoughts.inside

    @property
    def closing(self) -> str:
        """Return what ends the thinking that the text so far ends in."""
        return self._thoughts.closing if self._thoughts else ""

    @property
    def called(self) -> bool:
        """Return whether a tool was called."""
        return self._tools is not None and self._tools.called

    @property
    def stopped(self) -> bool:
        """Return whether a stop string has ended the answer, or it only repeats itself."""
        return self._stops.stopped or (self._tools is not None and self._tools.ended)

    @property
    def stop_string(self) -> str:
        """Return the stop string that has ended the answer, if one has."""
        return self._stops.matched

    def feed(self, text: str) -> list[Piece]:
        """Return what `text` decides."""
        if not text:
            return []
        pieces = self._thoughts.feed(text) if self._thoughts else [Piece(text)]
        return self._stops.feed(self._with_calls(pieces))

    def finish(self, *, cut: bool = False) -> list[Piece]:
        """Return what was held back when the text ended, or a limit has `cut` it."""
        pieces = self._with_calls(self._thoughts.finish()) if self._thoughts else []
        pieces = self._stops.feed(pieces + (self._tools.finish(cut=cut) if self._tools else []))
        return pieces + self._stops.finish()

    def calls_while_thinking(self) -> list[Piece]:
        """Return the calls that the thinking ends in, to be looked at where the turn ends there too: a model
        that ends it so wants them made. One among thoughts that go on is a thought."""
        return calls_at_end(self._thought, self._declared) if self.thinking and self._declared else []

    def _with_calls(self, pieces: list[Piece]) -> list[Piece]:
        if self._tools is None:
            return pieces
        parsed: list[Piece] = []
        for piece in pieces:
            if piece.kind == "thinking":
                self._thought += piece.text
                parsed.append(piece)
            else:
                parsed += self._tools.feed(piece.text)
        return parsed


def parts(pieces: Sequence[Piece]) -> tuple[str, str]:
    """Return answer and thinking."""
    texts = {"answer": "", "thinking": ""}
    for piece in pieces:
        if piece.kind != "tool_call":
            texts[piece.kind] += piece.text
    return texts["answer"], texts["thinking"]
