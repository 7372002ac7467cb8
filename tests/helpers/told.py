"""An engine that follows no instructions: it answers what is written down, in a chat."""

from __future__ import annotations

from typing import Any

from scripted import Scripted

from qwen_cli.engines.core.base import Capabilities, Piece, Usage


class Told(Scripted):
    """Gives `answers` in turn, ending each for `stop_reason`. Tokens are four characters."""

    def __init__(self, *answers: str, stop_reason: Any = "stop", context: int | None = 8_192) -> None:
        usage = Usage(prompt_tokens=10, generated_tokens=7, stop_reason=stop_reason)
        super().__init__(*([Piece(text), Piece(usage=usage)] for text in answers), context=context)
        self.capabilities = Capabilities(context=context)

    def count_tokens(self, prompt: Any, *, tools: Any = None) -> int:
        return len(prompt) // 4 + 1
