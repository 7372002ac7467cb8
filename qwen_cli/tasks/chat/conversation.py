"""A conversation: who said what, what of it the model still sees, and the next answer as it comes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.engines.core.base import Engine, Message, Piece, Sampling, StopReason, Stream, ToolCall, Usage
from qwen_cli.engines.core.template import by_effort, given
from qwen_cli.errors import ContextFull, UsageError
from qwen_cli.tasks.chat import context_window, messages, prefill
from qwen_cli.tasks.chat.context_window import Overflow
from qwen_cli.tasks.chat.messages import FAILED_BEFORE, LAST_ROUND, NO_ROUNDS_LEFT, NOT_RUN, Content
from qwen_cli.tasks.tools.base import ToolResult

if TYPE_CHECKING:
    from qwen_cli.tasks.tools.toolbox import Toolbox


@dataclass(frozen=True)
class Notice:
    """One line for the person: turns left the context, the answer was cut."""

    text: str


Event: TypeAlias = "Piece | Notice | ToolResult"
Events: TypeAlias = Generator[Event, None, None]

SAME_FAILURES = 3
"""Calls of a tool that fail alike until no more are asked for."""
CUT: tuple[StopReason, ...] = ("length", "context", "cancelled")
"""Ends after which an answer is not whole."""


@dataclass
class Conversation:
    """Messages, and how the next answer is asked for. The engine owns the KV cache, this owns the words.

    `messages` holds everything said but the system prompt, as OpenAI messages with extra keys: "thinking"
    (sent back as `reasoning_content` where `messages.clean` says so), "cut" (the answer is not whole),
    "unsent" (a turn that did not fit), and in tool results "name" and "ok" (it worked). `effort` is how long
    to think, a word of `effort_words`; with `preserve_thinking` (`None` is on) thoughts of past turns stay in
    the context where the template can keep them: the prompt then goes on where the last one ended, and
    nothing is computed twice. `first_sent` is the index of the first message the model still sees; `summary`
    stands for those before it. `usage` is that of the last generation. `begun` are the settings with
    which this run began, and those of the session: `sessions.begin`.
    """

    engine: Engine
    system: str | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    sampling: Sampling = field(default_factory=Sampling)
    thinking: bool | int | None = None
    effort: str | None = None
    preserve_thinking: bool | None = None
    schema: dict[str, Any] | None = None
    overflow: Overflow = "slide"
    toolbox: Toolbox | None = None
    max_tool_rounds: int = 8
    first_sent: int = 0
    summary: str | None = None
    usage: Usage | None = field(default=None, compare=False)
    begun: tuple[dict[str, Any], dict[str, Any]] | None = field(default=None, repr=False, compare=False)
    _counted: tuple[tuple[Any, ...], int] | None = field(default=None, repr=False, compare=False)

    def send(self, content: Content) -> Events:
        """Say `content`, which is kept at once, and stream the answer, running the tools it calls.

        Closing the stream early (or Ctrl-C inside it) keeps the partial answer and marks it "cut". After an
        error the user turn stays, so `retry` works. With tools there is one usage piece for each round.
        Raises `ContextFull`, `EngineError`, and `UsageError` if there is nothing in `content`.
        """
        if not content or (isinstance(content, str) and not content.strip()):
            raise UsageError("the message is empty", "say something")
        self.messages.append({"role": "user", "content": content})
        return self._answer()

    def retry(self) -> Events:
        """Answer the last user turn anew; the old answer goes. Raises `UsageError` if there is none."""
        last = self._last_user()
        if last is None:
            raise UsageError("nothing to retry", "say something first")
        self._cut_to(last + 1)
        self.messages[last].pop("unsent", None)
        return self._answer()

    def go_on(self) -> Events:
        """Go on with the last answer where it was cut, which is joined to what comes; where the last question
        has none, answer it. Raises `UsageError` where there is nothing to go on with, or no way to."""
        last = self.messages[-1] if self.messages else None
        if last is None:
            raise UsageError("nothing to continue", "say something first")
        if last["role"] != "assistant":
            last.pop("unsent", None)
            return self._answer()
        if not last.get("cut"):
            raise UsageError("the last answer is whole", "say what it is to go on with")
        if not last.get("content") and not last.get("thinking"):
            return self.retry()
        prefill.check(self.engine, self.sent(end=-1), last, self.schema)
        return self._answer(joins=True)

    def undo(self) -> bool:
        """Take back the last user turn and its answer. False if there is none."""
        last = self._last_user()
        if last is None:
            return False
        self._cut_to(last)
        return True

    def replace_last_user(self, content: Content) -> bool:
        """Put other words into the last user turn; its answer goes (`retry` asks again). False if none."""
        last = self._last_user()
        if last is None:
            return False
        self._cut_to(last)
        self.messages.append({"role": "user", "content": content})
        return True

    def clear(self) -> None:
        """Forget everything said; settings and system prompt stay."""
        self._cut_to(0)
        self.usage = None

    def tokens(self) -> tuple[int, int | None]:
        """Return the tokens of the context used and in all (`None`: the server does not say).

        After an answer this is free; after an edit it asks the engine to count, once.
        """
        total = self.engine.capabilities.context
        if not self.messages and not self.system:
            return 0, total
        key = self._state()
        if self._counted is None or self._counted[0] != key:
            counted = self._count(self.sent())
            if counted is None:
                last = self.usage
                counted = last.prompt_tokens + last.generated_tokens if last else 0
            self._counted = key, counted
        return self._counted[1], total

    def sent(self, first: int | None = None, end: int | None = None) -> list[dict[str, Any]]:
        """Return the messages as the engine gets them: system, summary, and those from `first` to before
        `end`."""
        first = self.first_sent if first is None else first
        system = self.system
        if self.summary and first >= self.first_sent > 0:
            system = f"{system or ''}\n\n{context_window.SUMMARY_HEADING}\n{self.summary}".strip()
        opening = [{"role": "system", "content": system}] if system else []
        return opening + messages.clean(self.messages[first:end], keep_thinking=self.keeps_thinking)

    @property
    def opening(self) -> dict[str, Any]:
        """Return what the prompt says before the first question."""
        thinking, variables = self._ways()
        return {"system": self.system, "tools": self._tools(), "thinking": thinking, "variables": variables}

    def first_prompt(self, question: str) -> str:
        """Return the prompt that asks `question` first. Raises `EngineError`."""
        said = self.opening
        system = [{"role": "system", "content": self.system}] if self.system else []
        return self.engine.render(
            [*system, {"role": "user", "content": question}],
            tools=said["tools"],
            thinking=said["thinking"],
            **given(said["variables"]),
        )

    @property
    def keeps_thinking(self) -> bool:
        """Return whether thoughts of past turns stay in the context."""
        return self.engine.capabilities.preserve_thinking is not None and self.preserve_thinking is not False

    def recomputed_by(self, effort: str | None) -> int:
        """Return how many tokens of the context are computed again where the effort becomes `effort`: all of
        them where the template has a word for it, which it writes at the beginning."""
        known = self.engine.capabilities.efforts
        if not known or not self.messages or (self.effort or known[0]) == (effort or known[0]):
            return 0
        return self.tokens()[0]

    def _ways(self) -> tuple[bool | int | None, dict[str, Any]]:
        """Return (thinking, variables of the template) for the next answer."""
        thinking, variables = by_effort(self.effort, self.thinking, self.engine.capabilities)
        if self.engine.capabilities.preserve_thinking is not None:
            variables["preserve_thinking"] = self.keeps_thinking
        return thinking, variables

    def _count(self, turns: Sequence[Message], *, tools: bool = True) -> int | None:
        return context_window.count(self.engine, turns, self._tools() if tools else None, self._ways()[1])

    def _answer(self, *, joins: bool = False) -> Events:
        """Generate, run the tools that were called, and generate again until the model is done. `joins`: the
        first text belongs to the last answer."""
        failed: list[ToolCall] = []  # since the question
        for done in range(self.max_tool_rounds + 1):
            try:
                yield from self._make_room()
                calls = yield from self._generate_sliding(joins=joins and not done)
            except ContextFull:
                if self.messages[-1]["role"] == "user":
                    # It would push every later turn over the edge too.
                    self.messages[-1]["unsent"] = True
                raise
            if not calls:
                return
            left = self.max_tool_rounds - done
            yield from self._run_tools(calls, left, failed)
            if again := _again(failed):
                yield Notice(f"stopped: {again.name} failed {SAME_FAILURES} times with the same arguments")
                return
            if not left:
                yield Notice(f"stopped after {self.max_tool_rounds} rounds of tool calls")

    def _generate_sliding(self, *, joins: bool) -> Generator[Event, None, list[ToolCall]]:
        """Yield `_generate`; where only the engine knows that the prompt is too long, drop turns and try
        again."""
        while True:
            before = len(self.messages)
            try:
                return (yield from self._generate(joins=joins))
            except ContextFull as full:
                if self.overflow == "stop" or len(self.messages) > before or not self._droppable():
                    raise
                yield from self._drop(full.needed, full.limit)

    def _generate(self, *, joins: bool) -> Generator[Event, None, list[ToolCall]]:
        """Yield one generation. Its message is appended however it ends, or with `joins` its text to the last
        one; the result is the calls to run."""
        text: list[str] = []
        thinking: list[str] = []
        calls: list[ToolCall] = []
        stop: StopReason = "cancelled"
        refused: list[str] = []  # answers that did not satisfy the schema
        stream = self._rest() if joins else self._next_turn(refused.append)
        try:
            for piece in stream:
                while refused:
                    yield Notice(refused.pop(0))
                if piece.call is not None:
                    calls.append(piece.call)
                (thinking if piece.kind == "thinking" else text).append(piece.text)
                if piece.usage is not None:
                    self.usage, stop = piece.usage, piece.usage.stop_reason
                yield piece
        finally:
            # Also on Ctrl-C, which arrives here as KeyboardInterrupt or GeneratorExit.
            stream.close()
            if stop == "cancelled" or self.toolbox is None:
                calls = []
            if joins and (text or thinking or stop != "cancelled"):
                before = self.messages.pop()
                text.insert(0, str(before.get("content") or ""))
                thinking.insert(0, str(before.get("thinking") or ""))
            self._append_answer("".join(text), "".join(thinking), calls, stop)
        if stop in ("length", "context"):
            yield Notice(self._why_cut(stop))
        return calls

    def _next_turn(self, refused: Callable[[str], None]) -> Stream:
        """Ask for the engine's next turn; with a schema for one that satisfies it."""
        thinking, variables = self._ways()
        settings: dict[str, Any] = {
            "tools": self._tools(),
            "sampling": self.sampling,
            "thinking": thinking,
            **given(variables),
        }
        if self.schema is None:
            return self.engine.chat(self.sent(), **settings)
        from qwen_cli.tasks.common import structured  # 10 ms, for answers that a schema holds

        return structured.chat(self.engine, self.sent(), self.schema, **settings, on_retry=refused)

    def _rest(self) -> Stream:
        """Ask for the rest of the last answer."""
        thinking, variables = self._ways()
        return prefill.stream(
            self.engine,
            self.sent(end=-1),
            self.messages[-1],
            tools=self._tools(),
            sampling=self.sampling,
            thinking=thinking,
            template_kwargs=variables,
        )

    def _append_answer(self, text: str, thinking: str, calls: list[ToolCall], stop: StopReason) -> None:
        if stop == "cancelled" and not text and not thinking:
            return  # nothing came: the user turn stands unanswered
        self.messages.append(messages.answer(text, thinking, calls, cut=stop in CUT))
        self._counted = None
        gone = thinking and not self.keeps_thinking
        if self.usage is not None and stop != "cancelled" and not gone and self.schema is None:
            self._counted = self._state(), self.usage.prompt_tokens + self.usage.generated_tokens

    def _run_tools(self, calls: list[ToolCall], rounds_left: int, failed: list[ToolCall]) -> Events:
        """Run each call and append its result; a call that was not reached gets an answer too. Those that
        fail are added to `failed`."""
        waiting = list(calls)
        try:
            while waiting:
                call = waiting[0]
                if rounds_left and self.toolbox is not None:
                    self.toolbox.fit(self.engine.capabilities.context)
                    result = self.toolbox.run(call)
                else:
                    result = ToolResult(call, NO_ROUNDS_LEFT, ok=False)
                waiting.pop(0)
                hint = LAST_ROUND if rounds_left == 1 and not waiting else ""
                if not result.ok:
                    failed.append(call)
                    hint = hint or (FAILED_BEFORE if _times(call, failed) > 1 else "")
                self.messages.append(messages.result(result, hint))
                yield result
        finally:
            for call in waiting:  # every call must have its result, or templates and servers refuse the turn
                self.messages.append(messages.result(ToolResult(call, NOT_RUN, ok=False)))

    def _make_room(self) -> Events:
        """Apply the overflow policy before a generation. Raises `ContextFull`."""
        limit = self.engine.capabilities.context
        if limit is None:
            return
        answer = min(self.sampling.max_tokens or limit, int(limit * context_window.ROOM))
        most = context_window.at_most(self.sent(), self._tools())
        if most is not None and most + answer <= limit:
            return
        needed = self._count(self.sent())
        if needed is None:
            return
        if self.overflow != "stop" and needed + answer > limit and self._droppable():
            yield from self._drop(needed, limit)
            needed = self._count(self.sent()) or 0
        if needed >= limit:
            raise ContextFull(needed, limit)

    def _droppable(self) -> list[int]:
        """Return where the context may start after dropping: at any sent turn but the first."""
        return context_window.starts(self.messages, self.first_sent)[1:]

    def _drop(self, needed: int, limit: int) -> Events:
        """Slide (or summarise) until three eighths of the window are free, keeping at least the last turn."""
        target = limit * (1 - context_window.FREE_AFTER)
        if self.overflow == "summarise":
            target -= limit * context_window.SUMMARY_SHARE
        whole = context_window.at_most(self.sent(), self._tools()) or 1

        def fits(first: int) -> bool:
            counted = self._count(self.sent(first))
            if counted is None:  # then in proportion to the length of the text
                counted = needed * (context_window.at_most(self.sent(first), self._tools()) or 1) // whole
            return counted <= target

        first = context_window.first_to_keep(self._droppable(), fits)
        dropped = context_window.starts(self.messages[:first], self.first_sent)
        turns = f"{len(dropped)} oldest turn{'s' if len(dropped) > 1 else ''}"
        summary = None
        if self.overflow == "summarise":
            yield Notice(f"the context is full: summarising the {turns}")
            summary = self._summary(first, limit)
        self.first_sent, self.summary = first, summary or None
        if not summary:
            yield Notice(f"{turns} left the context" + (", not summarised" if summary == "" else ""))

    def _summary(self, end: int, limit: int) -> str:
        """Return the model's summary of the sent turns before `end`; of the latest of them if not all fit."""
        longest = limit * context_window.SUMMARY_SHARE

        def fits(first: int) -> bool:
            counted = self._count(context_window.request(self.sent(first, end)), tools=False)
            return counted is None or counted + longest <= limit

        first = context_window.first_to_keep(
            context_window.starts(self.messages[:end], self.first_sent), fits
        )
        return context_window.summarise(self.engine, self.sent(first, end), limit, self._ways()[1])

    def _why_cut(self, stop: StopReason) -> str:
        if stop == "length":
            limit = self.sampling.max_tokens
            where = f"it reached max_tokens, {limit:,}" if limit else "it reached the server's own limit"
            return f"the answer was cut: {where}"
        size = self.engine.capabilities.context
        full = f"the context of {size:,} tokens is full" if size else "the context is full"
        then = "" if self.overflow == "stop" else "; the next turn makes room"
        return f"the answer was cut: {full}{then}"

    def _tools(self) -> list[dict[str, Any]] | None:
        return (self.toolbox.definitions or None) if self.toolbox is not None else None

    def _last_user(self) -> int | None:
        starts = context_window.starts(self.messages)
        return starts[-1] if starts else None

    def _cut_to(self, length: int) -> None:
        del self.messages[length:]
        self._counted = None
        if self.first_sent >= length:
            # What is left had left the context: start again from all of it; the next turn slides as needed.
            self.first_sent, self.summary = 0, None

    def _state(self) -> tuple[Any, ...]:
        """Return what a token count depends on."""
        return (
            id(self.engine),
            id(self.toolbox),
            self.system,
            self.summary,
            self.first_sent,
            self.effort,
            self.keeps_thinking,
            len(self.messages),
        )


def _times(call: ToolCall, failed: Sequence[ToolCall]) -> int:
    """Return how often `failed` has this very call."""
    return sum((one.name, one.arguments) == (call.name, call.arguments) for one in failed)


def _again(failed: Sequence[ToolCall]) -> ToolCall | None:
    """Return a call that has failed too often, if there is one."""
    return next((call for call in failed if _times(call, failed) >= SAME_FAILURES), None)
