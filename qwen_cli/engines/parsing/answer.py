"""Thinking, answer and tool calls apart, in the text of a local model as it streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.parsing.think_tags import ThinkingText
from qwen_cli.engines.parsing.tool_calls import ToolParser


class AnswerParser:
    """Takes an answer's text and gives its pieces. `thinks`: the model may open `<think>`; `opened`: the
    prompt has done it already. Without `tools` nothing is a call."""

    def __init__(
        self, *, thinks: bool = False, opened: bool = False, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self._thoughts = ThinkingText(opened=opened) if thinks or opened else None
        self._tools = ToolParser(tools) if tools else None

    @property
    def thinking(self) -> bool:
        """Return whether the text so far ends within thinking."""
        return self._thoughts is not None and self._thoughts.inside

    @property
    def called(self) -> bool:
        """Return whether a tool was called."""
        return self._tools is not None and self._tools.called

    def feed(self, text: str) -> list[Piece]:
        """Return what `text` decides."""
        if not text:
            return []
        return self._with_calls(self._thoughts.feed(text) if self._thoughts else [Piece(text)])

    def finish(self) -> list[Piece]:
        """Return what was held back when the text ended."""
        pieces = self._with_calls(self._thoughts.finish()) if self._thoughts else []
        return pieces + (self._tools.finish() if self._tools else [])

    def _with_calls(self, pieces: list[Piece]) -> list[Piece]:
        if self._tools is None:
            return pieces
        parsed: list[Piece] = []
        for piece in pieces:
            parsed += [piece] if piece.kind == "thinking" else self._tools.feed(piece.text)
        return parsed
