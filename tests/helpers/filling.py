"""An engine that fills in what is written down, without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scripted import DEFAULTS, Scripted

from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Message,
    Piece,
    Reuse,
    Sampling,
    Stream,
    Usage,
)


class Filling(Scripted):
    """Writes `answer` (of the prompt, where it is a function) word by word at every raw prompt; `prompts`
    holds those that it was given.

    `stop_reason` says how each ends. Tokens are four characters, a mark of the layout is one.
    """

    model = "qwen2.5-coder:0.5b"

    def __init__(
        self, answer: str | Callable[[str], str], *, stop_reason: Any = "stop", context: int | None = 4096
    ) -> None:
        super().__init__(context=context)
        self.capabilities = Capabilities(context=context, fim=True)
        self.answer, self.stop_reason = answer, stop_reason
        self.prompts: list[str] = []

    def complete(self, prompt: str, *, sampling: Sampling = DEFAULTS, reuse: Reuse = "prefix") -> Stream:
        self.prompts.append(prompt)
        text = self.answer if isinstance(self.answer, str) else self.answer(prompt)
        words = [text[n : n + 4] for n in range(0, len(text), 4)]
        for word in words:
            yield Piece(word)
        yield Piece(usage=Usage(prompt_tokens=10, generated_tokens=len(words), stop_reason=self.stop_reason))

    def sample(self, prompt: Any, n: int, **settings: Any) -> list[Completion]:
        self.prompts.append(prompt)
        text = self.answer if isinstance(self.answer, str) else self.answer(prompt)
        return [
            Completion(
                text, "", Usage(prompt_tokens=10, generated_tokens=3, stop_reason=self.stop_reason), -0.5
            )
        ] * n

    def count_tokens(self, prompt: str | Sequence[Message], **rest: Any) -> int:
        assert isinstance(prompt, str)
        return 1 if prompt.startswith("<|") and prompt.endswith("|>") else len(prompt) // 4 + 1
