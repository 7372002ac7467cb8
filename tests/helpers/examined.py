"""An engine that sits an examination: what it says to each question is written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import (
    Capabilities,
    Engine,
    EngineBase,
    Message,
    Piece,
    Reuse,
    Sampling,
    Stream,
    TokenLogprob,
    Usage,
)

Says = Callable[[str], str]


class Examined(EngineBase):
    """Says `says(prompt)` to a question in chat (its last turn, with a begun answer after it) or in raw text.
    `likes` are the chances of single tokens, by their text, after any raw prompt. `prompts` are all that it
    was given, `asked` the sampling and thinking."""

    name = "examined"

    def __init__(
        self,
        says: Says = lambda prompt: "",
        *,
        likes: Mapping[str, float] | None = None,
        model: str = "none",
        stop: Any = "stop",
        **can: Any,
    ) -> None:
        self.model, self._says, self._likes, self._stop = model, says, likes or {}, stop
        self.chat_template = "{{ messages }}"
        self.capabilities = Capabilities(**{"context": 32_768, "logprobs": likes is not None, **can})
        self.prompts: list[str] = []
        self.turns: list[list[dict[str, Any]]] = []
        self.asked: list[tuple[Sampling, Any]] = []

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Any = None,
        schema: Any = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Any = None,
    ) -> Stream:
        self.turns.append([dict(message) for message in messages])
        self.asked.append((sampling, thinking))
        yield from self._answer(str(messages[-1]["content"]))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        self.asked.append((sampling, None))
        if sampling.logprobs:
            self.prompts.append(prompt)
            others = tuple(_token(text, chance) for text, chance in self._likes.items())
            yield Piece("x", logprobs=(TokenLogprob("x", (120,), 0.0, others),))
            yield Piece(usage=Usage(prompt_tokens=1, generated_tokens=1))
            return
        yield from self._answer(prompt)

    def _answer(self, prompt: str) -> Stream:
        self.prompts.append(prompt)
        yield Piece("so I think", kind="thinking")
        yield Piece(self._says(prompt))
        yield Piece(
            usage=Usage(prompt_tokens=len(prompt.split()), generated_tokens=7, stop_reason=self._stop)
        )

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        self.prompts.append(prompt)
        ends = [text for text in self._likes if prompt.endswith(text)]
        return [_token(text, self._likes[text]) for text in ends]

    def sample(self, prompt: Any, n: int, **settings: Any) -> Any:
        raise AssertionError("an examination asks each question by itself")

    def count_tokens(self, prompt: Any, **rest: Any) -> int:
        return len(str(prompt).split())


def _token(text: str, chance: float) -> TokenLogprob:
    return TokenLogprob(text, tuple(text.encode()), math.log(chance))


def engine(*given: Any, **can: Any) -> Engine:
    """Return it as what tasks take."""
    return Examined(*given, **can)
