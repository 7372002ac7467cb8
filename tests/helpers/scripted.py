"""An engine whose answers are written down.

Only for what the half-billion-parameter starter cannot be made to do on demand: call a tool, think, fail
half-way, refuse to count. Everything else is tested on the real model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    EngineBase,
    Message,
    Piece,
    Reuse,
    Sampling,
    Stream,
    Usage,
)
from qwen_cli.errors import ContextFull, EngineError

DEFAULTS = Sampling()


class Scripted(EngineBase):
    """Plays `answers` in turn: each is a list of pieces, in which an exception is raised where it stands.

    It counts a token for every word, but tells nobody: what does not fit `context` is refused by `chat`.
    `seen` are the messages and tools of every request, `asked` its sampling and thinking,
    `variables` those of the template.
    """

    name = "scripted"
    model = "none"

    def __init__(self, *answers: list[Piece | BaseException], context: int | None = None) -> None:
        self.answers = list(answers)
        self.capabilities = Capabilities(context=context, tools=True, thinking="switch")
        self.hidden_limit = 10**9
        self.seen: list[tuple[list[dict[str, Any]], Any]] = []
        self.asked: list[tuple[Sampling, bool | int | None]] = []
        self.variables: list[dict[str, Any]] = []
        self.closed = False

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = DEFAULTS,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> Stream:
        words = sum(len(str(m["content"]).split()) for m in messages)
        if words > self.hidden_limit:
            raise ContextFull(words, self.hidden_limit)
        self.seen.append(([dict(m) for m in messages], tools))
        self.asked.append((sampling, thinking))
        self.variables.append(dict(template_kwargs or {}))
        for piece in self.answers.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def count_tokens(self, prompt: str | Sequence[Message], **rest: Any) -> int:
        raise EngineError("this server does not count tokens")

    def complete(self, prompt: str, *, sampling: Sampling = DEFAULTS, reuse: Reuse = "prefix") -> Stream:
        raise AssertionError("a conversation never completes raw text")

    def sample(self, prompt: Any, n: int, **settings: Any) -> list[Completion]:
        raise AssertionError("a conversation never samples")

    def close(self) -> None:
        self.closed = True


def end(reason: Any = "stop") -> Piece:
    """The last piece of an answer."""
    return Piece(usage=Usage(prompt_tokens=10, generated_tokens=3, stop_reason=reason))
