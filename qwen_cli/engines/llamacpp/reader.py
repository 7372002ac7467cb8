"""One answer in the chunks that llama.cpp streams: its pieces, and whether it ended while it was thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.core.prompt import Prompt
from qwen_cli.engines.llamacpp.requests import GO_ON
from qwen_cli.engines.parsing.answer import AnswerParser
from qwen_cli.engines.parsing.marks import Marks, own_words
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE, ToolCalls
from qwen_cli.engines.parsing.stops import StopStrings
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN
from qwen_cli.engines.parsing.tool_calls import calls_at_end

# Something to read before the turn may end (llama.cpp's grammars/README.md).
_ANSWERED = r"root ::= [ \t\r\n]* [^ \t\r\n] .*"
_BUDGET = ("thinking_budget_tokens", "reasoning_budget_message")


@dataclass(frozen=True)
class Asked:
    """A turn that was asked for: llama.cpp's `handler` and the `request` to it. A raw request has its
    `prompt` here, and AnswerParser reads the answer in llama.cpp's place (`raw`).

    `thinks` says that the model may think in the answer, `opened` that its thinking has begun; after `budget`
    tokens of it the answer is asked for. `stop` ends the answer and not the thinking. `grammar` is that of
    the answer, which is asked for apart as soon as the thinking is over. `reports` how far the prompt is read
    and `times` what is generated, in `Piece.progress`.
    """

    handler: str
    request: Mapping[str, Any]
    prompt: Prompt | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    stop: tuple[str, ...] = ()
    thinks: bool = False
    opened: bool = False
    budget: int | None = None
    grammar: str | None = None
    reports: bool = False
    times: bool = False

    def ended_by(self, stop: Sequence[str]) -> Asked:
        """Return the same, ended here by a string of `stop`, which llama.cpp is not told of."""
        told = {name: value for name, value in self.request.items() if name != "stop"}
        return replace(self, request=told, stop=tuple(stop))

    def telling(self, extras: Mapping[str, Any]) -> Asked:
        """Return the same, with what `Sampling.extras` want told of its progress."""
        reports, times = (bool(extras.get(name)) for name in ("return_progress", "timings_per_token"))
        return replace(self, reports=reports, times=times) if reports or times else self

    @property
    def counted(self) -> bool:
        """Return whether tokens are counted while they come, for an end that llama.cpp does not see."""
        return bool(self.stop or self.times) or self.budget is not None or self.grammar is not None

    @property
    def raw(self) -> bool:
        """Return whether it is a raw prompt."""
        return "messages" not in self.request


def held(request: Mapping[str, Any], grammar: str) -> dict[str, Any]:
    """Return `request` with this grammar for all of the answer, in place of that of calls: llama.cpp takes
    one or the other."""
    calls = ("tools", "grammar_lazy", "grammar_triggers")
    return {**{name: value for name, value in request.items() if name not in calls}, "grammar": grammar}


class Reader:
    """Takes the choices of the chunks of one answer, and gives its pieces."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._parser = (
            AnswerParser(thinks=asked.thinks, opened=asked.opened, tools=asked.tools, stop=asked.stop)
            if asked.prompt is not None
            else None
        )
        self._stops = StopStrings(asked.stop)
        self._calls = ToolCalls()
        self._written, self._thought, self._answered = "", "", False

    @property
    def stopped(self) -> bool:
        """Return whether a stop string has ended the answer."""
        return bool(self.stop_string)

    @property
    def stop_string(self) -> str:
        """Return the stop string that has ended the answer, if one has."""
        return self._stops.matched or (self._parser.stop_string if self._parser else "")

    @property
    def answered(self) -> bool:
        """Return whether the answer has begun."""
        return self._answered

    @property
    def called(self) -> bool:
        """Return whether a tool was called in what llama.cpp takes for text."""
        return self._parser is not None and self._parser.called

    @property
    def thinking(self) -> bool:
        """Return whether all so far is thinking."""
        if self._parser is not None:
            return self._parser.thinking
        return self._asked.thinks and not self._answered and bool(self._thought or self._asked.opened)

    def spent(self, chunk: Mapping[str, Any]) -> bool:
        """Return whether the budget for thinking is spent with `chunk`."""
        generated = (chunk.get("timings") or {}).get("predicted_n", 0)
        return self._asked.budget is not None and self.thinking and generated >= self._asked.budget

    def feed(self, choice: Mapping[str, Any]) -> list[Piece]:
        """Return the pieces of one chunk, at the last with what was held back."""
        delta = choice.get("delta") or {"content": choice.get("text")}
        pieces: list[Piece] = []
        if text := delta.get("reasoning_content"):
            self._thought += text
            pieces.append(Piece(text, "thinking"))
        if text := delta.get("content"):
            self._written += text
            pieces += self._parser.feed(text) if self._parser else [Piece(text)]
        calls = delta.get("tool_calls") or ()
        self._calls.feed(calls)
        self._answered |= bool(calls) or any(p.kind == "answer" and p.text for p in pieces)
        if choice["finish_reason"] and not self.thinking:
            cut = choice["finish_reason"] == "length"
            pieces += self._parser.finish(cut=cut) if self._parser else []
            pieces += [Piece(kind="tool_call", call=call) for call in self._calls.finish()]
        if self._parser is None:
            pieces = self._stops.feed(pieces)
            pieces += self._stops.finish() if choice["finish_reason"] else []
        return pieces

    def finish(self) -> list[Piece]:
        """Return what is held back of thinking that has ended."""
        return self._parser.finish() if self._parser else []

    def calls_while_thinking(self) -> list[Piece]:
        """Return the calls that thinking ended in (`AnswerParser.calls_while_thinking`)."""
        if self._parser is not None:
            return self._parser.calls_while_thinking()
        return calls_at_end(self._thought, self._asked.tools) if self._asked.tools else []

    @property
    def generated(self) -> str:
        """Return the thinking as it was written, for its tokens to be counted."""
        return self._written or ("" if self._asked.opened else f"{OPEN}\n") + self._thought

    def after_thinking(
        self, marks: Marks, *, spent: bool
    ) -> tuple[Prompt | None, dict[str, Any], list[Piece]]:
        """Return (raw prompt, request without it, pieces) to go on with: the answer, after thinking that is
        over because its budget is `spent` or the model ended its turn."""
        left = {name: value for name, value in self._asked.request.items() if name not in _BUDGET}
        constrained = any(name in left for name in ("tools", "response_format", "json_schema", "grammar"))
        if self._asked.grammar:
            left = held(left, self._asked.grammar)
        elif not constrained:
            left["grammar"] = _ANSWERED
        message = BUDGET_MESSAGE if spent else ""
        said = [Piece(message, "thinking")] if message else []
        if self._parser is not None and self._asked.prompt is not None:
            if self._answered:  # what it had begun with is left out
                thought, close, _ = self._written.partition(CLOSE)
                words = own_words(thought, thinks=True) + f"{CLOSE}\n\n" if close else Prompt("")
                return Prompt(self._asked.prompt + words), left, said
            closing = f"{message}{CLOSE}\n\n" if spent else self._parser.closing
            prompt = Prompt(self._asked.prompt + own_words(self._written, thinks=True)) + closing
            return prompt, left, said
        thought = marks.broken(own_words(self._thought, thinks=False)) + message
        turn = {"role": "assistant", "reasoning_content": thought.rstrip("\n") or "\n", "content": ""}
        return None, {**left, "messages": [*left["messages"], turn], **GO_ON}, said
