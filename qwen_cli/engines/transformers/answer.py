"""One answer while it is generated: tokens in, pieces out, and why it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Piece, Sampling, StopReason
from qwen_cli.engines.parsing.answer import AnswerParser
from qwen_cli.engines.transformers.detokenizer import TextStream, TokenTable


class Answer:
    """Turns tokens into pieces until one of them ends the answer; then `reason` says why.

    `ends` are the tokens that end a turn, `room` the tokens that fit the context after the prompt.
    `opened` says that the prompt ends inside `<think>`, `thinks` that the model may open it. After `budget`
    tokens of thinking `closing` is queued in `forced`: tokens that come next whatever the model says.
    """

    def __init__(
        self,
        table: TokenTable,
        sampling: Sampling,
        *,
        ends: Collection[int],
        room: int,
        thinks: bool = False,
        opened: bool = False,
        budget: int | None = None,
        closing: Sequence[int] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.table = table
        self._text = TextStream(table, sampling.stop)
        self._ends = ends
        self._room = room
        self._limit = sampling.max_tokens
        self._budget = budget
        self._closing = closing
        self._parser = AnswerParser(thinks=thinks, opened=opened, tools=tools)
        self.forced: deque[int] = deque()
        self.tokens = 0
        self.reason: StopReason | None = None
        if opened and budget is not None and budget <= 0:
            self._cut_thinking()

    @property
    def thinking(self) -> bool:
        """Return whether the next token is part of the thinking."""
        return self._parser.thinking

    def accept(self, token: int) -> list[Piece]:
        """Return what `token` adds to the answer."""
        self.tokens += 1
        if token in self._ends:
            return self._end("stop")
        pieces = self._parser.feed(self._text.feed(token))
        if self._text.stopped:
            return pieces + self._end("stop")
        if self._limit is not None and self.tokens >= self._limit:
            return pieces + self._end("length")
        if self.tokens >= self._room:
            return pieces + self._end("context")
        if self.thinking and self._budget is not None and self.tokens >= self._budget:
            self._cut_thinking()
        return pieces

    def _cut_thinking(self) -> None:
        self.forced.extend(self._closing)
        self._budget = None

    def _end(self, reason: StopReason) -> list[Piece]:
        pieces = self._parser.feed(self._text.finish()) + self._parser.finish()
        self.reason = "tool_calls" if self._parser.called and reason == "stop" else reason
        return pieces


def end_tokens(configured: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer: the model's own, and those of ChatML in any case."""
    own = configured if isinstance(configured, list) else [configured]
    added = tokenizer.get_added_vocab()  # the whole vocabulary as a dictionary takes 0.1 s
    chatml = [added.get(token) for token in ("<|im_end|>", "<|endoftext|>")]
    return frozenset(t for t in (*own, tokenizer.eos_token_id, *chatml) if t is not None)
