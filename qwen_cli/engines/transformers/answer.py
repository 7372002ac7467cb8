"""One answer while it is generated: tokens in, pieces out, and why it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import CUT, Piece, Sampling, StopReason
from qwen_cli.engines.parsing.answer import AnswerParser
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE
from qwen_cli.engines.parsing.think_tags import CLOSE
from qwen_cli.engines.transformers.detokenizer import TextStream, TokenTable


class Answer:
    """Turns tokens into pieces until one of them ends the answer; then `reason` says why.

    `ends` are the tokens that end a turn, `room` the tokens that fit the context after the prompt, `ids`
    tokenizes text. `opened` says that the prompt ends inside `<think>`, `thinks` that the model may open it.
    What ends thinking, after `budget` tokens of it or where the model ends its turn, is queued in `forced`:
    tokens that come next whatever the model says.
    """

    def __init__(
        self,
        table: TokenTable,
        sampling: Sampling,
        *,
        ends: Collection[int],
        room: int,
        ids: Callable[[str], Sequence[int]],
        thinks: bool = False,
        opened: bool = False,
        budget: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.table = table
        self._text = TextStream(table)
        self.ends = ends
        self._room = room
        self._ids = ids
        self._limit = sampling.max_tokens
        self._stop = sampling.stop
        self._budget = budget
        self._thought = 0  # tokens of thinking
        self._parser = AnswerParser(thinks=thinks, opened=opened, tools=tools, stop=sampling.stop)
        self.forced: deque[int] = deque()
        self.tokens = 0
        self.reason: StopReason | None = None
        self._owes = False
        self._keep_to_budget()

    @property
    def thinking(self) -> bool:
        """Return whether the next token is part of the thinking."""
        return self._parser.thinking

    @property
    def stop_string(self) -> str:
        """Return the stop string that has ended the answer, if one has."""
        return self._parser.stop_string

    @property
    def owes(self) -> bool:
        """Return whether the turn may not end yet: there is no answer since its thinking was ended for it."""
        return self._owes and not self.forced

    def stands(self, token: int) -> int:
        """Return what stands in the place of a `token` that was chosen: what ends thinking where the model
        ends its turn while it thinks, for otherwise there would be no answer (QwenLM/Qwen3.8#216)."""
        if token not in self.ends or not self.thinking or self._parser.calls_while_thinking():
            return token
        self._text.drop()
        self._end_thinking(self._parser.closing)
        return self.forced.popleft()

    def accept(self, token: int) -> list[Piece]:
        """Return what `token` adds to the answer."""
        self.tokens += 1
        self._thought += self.thinking
        if token in self.ends or (not self.thinking and self._is_stop(token)):
            return self._end("stop")
        text = self._text.feed(token)
        self._owes &= self.thinking or not text.strip()
        pieces = self._parser.feed(text)
        if self._parser.stopped:
            return pieces + self._end("stop")
        if self._limit is not None and self.tokens >= self._limit:
            return pieces + self._end("length")
        if self.tokens >= self._room:
            return pieces + self._end("context")
        self._keep_to_budget()
        return pieces

    def _is_stop(self, token: int) -> bool:
        """Return whether `token` is a stop by its name: control tokens have no text."""
        return bool(self._stop) and self.table.name(token) in self._stop

    def _keep_to_budget(self) -> None:
        """Queue the end of thinking where its budget is spent, after a whole character. One of no tokens
        leaves the empty block that templates write without thinking."""
        if self._budget is None or not self.thinking or self._thought < self._budget or not self._text.whole:
            return
        self._end_thinking(f"{BUDGET_MESSAGE}{CLOSE}\n\n" if self._budget else self._parser.closing)

    def _end_thinking(self, words: str) -> None:
        self.forced.extend(self._ids(words))
        self._budget, self._owes = None, True

    def _end(self, reason: StopReason) -> list[Piece]:
        calls = self._parser.calls_while_thinking() if reason == "stop" else []
        pieces = self._parser.finish(cut=reason in CUT) + calls
        self.reason = "tool_calls" if reason == "stop" and (self._parser.called or calls) else reason
        return pieces


def end_tokens(configured: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer: the model's own, and those of ChatML in any case."""
    own = configured if isinstance(configured, list) else [configured]
    added = tokenizer.get_added_vocab()  # the whole vocabulary as a dictionary takes 0.1 s
    chatml = [added.get(token) for token in ("<|im_end|>", "<|endoftext|>")]
    return frozenset(t for t in (*own, tokenizer.eos_token_id, *chatml) if t is not None)
