"""Tool-integrated reasoning: the model writes, a sandbox runs what is code, the model goes on.

The loop is that of Qwen2.5-Math's evaluation code (github.com/QwenLM/Qwen2.5-Math, evaluation/math_eval.py);
docs/math.md lists the differences.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Completion, Engine, Piece, Sampling, Usage
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE
from qwen_cli.engines.parsing.think_tags import CLOSE, ThinkingText, closing
from qwen_cli.errors import ContextFull, EngineError
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.sandbox.truncate import cut
from qwen_cli.tasks.common.drain import drain_until
from qwen_cli.tasks.math import fences, prompts
from qwen_cli.tasks.math.allowance import THOUGHT, WORDS, allowance, limited, specialist
from qwen_cli.tasks.math.extraction import boxed, final, restated
from qwen_cli.tasks.math.transcript import Run, Turn, Written, readable_output

# Limits of Qwen2.5-Math's evaluation code, but for the rounds: it allows 4.
OUTPUT_CHARACTERS = 400
LIMITS = Limits(wall_seconds=5.0)
MAX_ROUNDS = 6
_ANSWER = 64  # tokens of an answer whose beginning is given

# What a run printed is ours to write, not the model's. That a program has ended is seen as it is written.
_OUTPUT = "```output"
_BOX = "\\boxed"
_STRING = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")


@dataclass(frozen=True)
class Restart:
    """What was written so far is dropped: the model's code kept failing, it now reasons in words alone."""

    why: str


Event: TypeAlias = "Piece | Run | Restart"


@dataclass(frozen=True)
class Solution:
    """A finished attempt. `text` holds everything, the outputs of runs too; `answer` is what it boxed last,
    or else what its end says that the answer is, or repeats of what the last program printed.

    `stop` says why it ends: "stop" (the model was done), "length", "context", "rounds" (all runs used and
    still no answer), "failing" (programs failed again and again), or "cancelled". `limit` is what the last
    generation was allowed, in tokens.
    """

    text: str
    answer: str | None
    runs: tuple[Run, ...] = ()
    stop: str = "stop"
    usage: Usage = field(default_factory=Usage)
    mode: prompts.Mode = "tir"
    limit: int | None = None

    @property
    def invents(self) -> bool:
        """Return whether it shows outputs although nothing was run: the model wrote them."""
        return not self.runs and _OUTPUT in self.text

    @property
    def printed(self) -> str | None:
        """Return the last line of the last run that worked: what the code says the answer is."""
        for run in reversed(self.runs):
            if run.outcome.status == "ok":
                lines = (run.outcome.value or run.outcome.output).strip().splitlines()
                return lines[-1].strip() if lines else None
        return None


Attempt: TypeAlias = Generator[Event, None, Solution]

Step: TypeAlias = Literal["think", "write", "finish", "conclude", "done"]
"""What the model does next: it thinks, where that is in the text of its answer; writes words and programs; is
given all it may have to finish what was begun; answers, with the beginning given; nothing."""


def reason(
    engine: Engine,
    messages: Sequence[dict[str, Any]],
    *,
    mode: prompts.Mode = "cot",
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
) -> Attempt:
    """Yield a solution in words alone; `mode` is how it was asked for."""
    text, usage = "", Usage()
    bounded = limited(engine, sampling, thinking)
    pieces = engine.chat(messages, sampling=bounded, thinking=thinking)
    try:
        for piece in pieces:
            text += piece.text if piece.kind == "answer" else ""
            usage = piece.usage or usage
            yield piece
    finally:
        pieces.close()
    return Solution(
        text, final(text), stop=usage.stop_reason, usage=usage, mode=mode, limit=bounded.max_tokens
    )


def solve(
    engine: Engine,
    messages: Sequence[dict[str, Any]],
    sandbox: Sandbox,
    *,
    begun: Completion | None = None,
    max_rounds: int = MAX_ROUNDS,
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
    patience: int | None = None,
    nudge: prompts.Nudge | None = None,
    last_words: prompts.Nudge | None = None,
) -> Attempt:
    """Yield a solution with programs. `begun` is a sample of its `opening`.

    At most `max_rounds` programs are run. With `patience`, as many failed runs in a row end the attempt
    (`stop` "failing"). With `nudge`, a model that comes to its answer without a program is made to write one
    first. Without `patience`, one whose programs lead to no answer is brought to it with `last_words`. Raises
    `SandboxError` where code cannot be contained.
    """
    loop = _Loop(engine, messages, sampling, thinking, nudge, last_words)
    yield from loop.take(begun) if begun else loop.generate()
    while True:
        yield from loop.proceed(sandbox, max_rounds, patience)
        if loop.step == "done":
            return loop.solution()
        yield from loop.generate()


def opening(
    engine: Engine,
    messages: Sequence[dict[str, Any]],
    sampling: Sampling,
    thinking: bool | int | None,
    nudge: prompts.Nudge | None,
) -> tuple[str | Sequence[dict[str, Any]], Sampling]:
    """Return the prompt of the first generation of a solution with programs, and its sampling: samples of it
    can be gone on with (`solve`)."""
    loop = _Loop(engine, messages, sampling, thinking, nudge)
    return loop.turn.prompt, loop.next_sampling()


def finished(attempt: Attempt, stopped: Callable[[], bool] = lambda: False) -> Solution:
    """Run an attempt to its end, or until `stopped()`: then what there is has no answer."""
    return drain_until(attempt, stopped) or Solution("", None, stop="cancelled")


class _Loop:
    """One attempt: what was written, why the last generation ended, and the `step` that comes next."""

    def __init__(
        self,
        engine: Engine,
        messages: Sequence[dict[str, Any]],
        sampling: Sampling,
        thinking: bool | int | None,
        nudge: prompts.Nudge | None,
        last_words: prompts.Nudge | None = None,
    ) -> None:
        self.turn = Turn(engine, list(messages), thinking)
        self.step: Step = "think" if self.turn.thinks else "write"
        self._engine = engine
        self._sampling = sampling
        self._allowed = allowance(engine, thinking)
        self._nudge = nudge
        self._last_words = last_words
        self._explains = not specialist(engine)  # Qwen2.5-Math was trained with the last line alone
        self._gave_up: str | None = None
        self._at_box: Written | None = None  # the words up to the answer that was to come before a program
        self._nudged = False
        self._written = Written()
        self._thoughts = ThinkingText(opened=self.turn.opened)
        self._raw = ""  # of the step "think", as the model wrote it
        self._usage = Usage()
        self._stop: str = "stop"
        self._failed = 0  # runs in a row
        self._step_sampling = self.next_sampling()

    def next_sampling(self) -> Sampling:
        """Return how the next step is sampled, and where it ends besides the model's own end."""
        given, most = self._sampling, self._most()
        if self.step == "think":
            allowed = self._allowed.thought
            return replace(given, max_tokens=min(given.max_tokens or allowed, allowed), stop=(CLOSE,))
        if self.step == "conclude":
            return replace(given, max_tokens=_ANSWER, stop=("\n",) if self.turn.continues else (_OUTPUT,))
        # A model that thinks is neither cut nor kept from its box: thinking takes what it takes.
        if self.step == "finish" or self._nudge is None or self._allowed.thought:
            return replace(given, max_tokens=most, stop=(_OUTPUT,))
        ends = (_OUTPUT,) if self._written.runs else (_OUTPUT, _BOX)
        return replace(given, max_tokens=min(most or WORDS, WORDS), stop=ends)

    def take(self, begun: Completion) -> Iterator[Piece]:
        """Take a sample of the first step for what the model wrote in it."""
        yield from self._add(begun.text)
        yield from self._held()
        self._spent(begun.usage)

    def generate(self) -> Iterator[Piece]:
        """Make the model write the next step."""
        self._step_sampling = self.next_sampling()
        started = time.perf_counter()
        moments: list[float] = []
        own_answer = self._at_box if self.step == "conclude" and self._gave_up else None
        pieces = self.turn.ask(own_answer or self._written, self._step_sampling)
        try:
            for piece in pieces:
                moments.append(time.perf_counter() - started)
                yield from [replace(piece, usage=None)] if piece.kind != "answer" else self._add(piece.text)
                if piece.usage:
                    self._spent(piece.usage)
                    yield Piece(usage=piece.usage)
                elif self._written.ended:
                    pieces.close()
                    self._spent(self._measured(moments))
                    break
        except ContextFull:
            self._stop, self.step = "context", "done"
        finally:
            pieces.close()
        yield from self._held()

    def proceed(self, sandbox: Sandbox, max_rounds: int, patience: int | None) -> Iterator[Event]:
        """Do what follows from what the model wrote, and set the next step."""
        cut_off = self._stop in ("length", "context")
        if self.step == "done":
            return
        if self.step == "think" and self._thoughts.inside:
            self._end_thought()
        elif self.step == "think" and self._at_budget():
            self.step = "write"  # it did not think this time: the budget is no limit of an answer
        elif self.step == "conclude":
            self.step = "done"
        elif self._nudge and self._rambles():
            yield from self._cut_short(self._nudge)
        elif cut_off:
            self.step = "done"
        elif (code := self._written.program()) is not None:
            if _BOX in self._step_sampling.stop and self._written.open and _ends_in_string(code):
                self.step = "finish"  # it was stopped at a box that its program was to print
            else:
                yield from self._execute(code, sandbox, max_rounds, patience)
        elif self._written.open_other and self.turn.continues and not self._answer():
            # It ended in a block of something else, before it came to anything.
            yield Piece(self._written.close() + self._written.add("\n"))
            self.step = "write"
        elif self._nudge and not self._nudged and not self._written.runs and not self._answer():
            yield from self._lead(self._nudge)
        else:
            self.step = "done"

    def solution(self) -> Solution:
        """Return what there is."""
        written = self._written
        solution = Solution(
            written.text,
            None,
            tuple(written.runs),
            self._stop,
            self._usage,
            limit=self._step_sampling.max_tokens,
        )
        repeated = restated(fences.prose(written.new), solution.printed or "")
        answer = final(written.prose(), repeated)
        return replace(solution, answer=answer, stop=self._stop if answer else self._gave_up or self._stop)

    def _answer(self) -> str | None:
        return boxed(self._written.prose())

    def _most(self) -> int | None:
        """Return the most tokens of a generation in which words are written."""
        given = self._sampling.max_tokens
        if given is None:
            return self._allowed.answer if self.turn.continues else self._allowed.whole
        # What was asked for is for thinking and answer together.
        before = self._usage.generated_tokens if self.turn.thinks and not self._written.runs else 0
        return max(given - before, 1)

    def _add(self, text: str) -> Iterator[Piece]:
        """Take what the model writes; thoughts apart where it thinks in its text."""
        if self.step != "think":
            yield from self._kept(text)
            return
        self._raw += text
        yield from self._parted(self._thoughts.feed(text))

    def _held(self) -> Iterator[Piece]:
        """Take what was held back of thoughts when the generation ended."""
        if self.step == "think":
            yield from self._parted(self._thoughts.finish())

    def _parted(self, parts: Sequence[Piece]) -> Iterator[Piece]:
        for part in parts:
            if part.kind == "thinking":
                yield part
                continue
            if CLOSE in self._raw and not self._written.thought:
                self._written.thought = self._raw.partition(CLOSE)[0] + CLOSE + "\n\n"
            yield from self._kept(part.text)

    def _kept(self, text: str) -> Iterator[Piece]:
        if kept := self._written.add(text):
            yield Piece(kept)

    def _end_thought(self) -> None:
        """Go on to the answer, where thinking was ended by its mark, by the end of the turn (some models put
        it there), or by a budget; else there is no room for one."""
        if self._stop == "stop" or self._at_budget():
            end = BUDGET_MESSAGE if self._stop == "length" else ""
            thought = f"{self._raw}{end}"
            self._written.thought = thought + closing(thought)
            self.step = "write"
        else:
            self.step = "done"

    def _at_budget(self) -> bool:
        """Return whether the generation ended at the budget for thinking, not at a limit of the answer."""
        budget = self._allowed.thought
        return self._stop == "length" and budget != THOUGHT and self._step_sampling.max_tokens == budget

    def _rambles(self) -> bool:
        """Return whether the model was cut in words between programs, and not at its own limit."""
        most = self._most()
        ours = self._step_sampling.max_tokens == WORDS and (most is None or most > WORDS)
        return self.step == "write" and self._stop == "length" and ours and not self._allowed.thought

    def _cut_short(self, nudge: prompts.Nudge) -> Iterator[Event]:
        """Bring a model that goes on and on to a program, and after one to its answer."""
        if self._answer() is not None:
            self.step = "done"
        elif self._written.open:
            self.step = "finish"  # it is writing a program
        elif self._written.runs:
            self.step = "conclude"
            yield Piece(self.turn.say(self._written, nudge.conclude, nudge.ask_answer))
        else:
            yield from self._lead(nudge)

    def _lead(self, nudge: prompts.Nudge) -> Iterator[Event]:
        """Begin a program for the model, or ask for one."""
        self._nudged = True
        if self.turn.continues and self._usage.stop_string == _BOX:
            self._at_box = deepcopy(self._written)
            self._at_box.add(f"{_BOX}{{")
        self.step = "finish"
        yield Piece(self.turn.say(self._written, nudge.begin, nudge.ask))

    def _execute(self, code: str, sandbox: Sandbox, max_rounds: int, patience: int | None) -> Iterator[Event]:
        """Run a program and write its output under it."""
        runs = self._written.runs
        if len(runs) >= max_rounds:
            yield from self._give_up("rounds", prompts.NO_MORE_RUNS.strip())
            return
        if again := [run for run in runs if code == run.code and run.outcome.status != "ok"]:
            # It would fail again, and the model would write it again.
            yield from self._give_up("failing", again[-1].shown_to_model)
            return
        if fence := self._written.close():
            yield Piece(fence)
        run = _run(sandbox, code, last=len(runs) + 1 == max_rounds, where=self._explains)
        self._written.put(run)
        yield run
        self._failed = 0 if run.outcome.status == "ok" else self._failed + 1
        self.step = "write"
        if patience is not None and self._failed >= patience:
            self._stop, self.step = "failing", "done"

    def _give_up(self, why: str, shown: str) -> Iterator[Event]:
        """End programs, the last one with `shown` for its output: `why` is what the attempt ends with, unless
        the model still answers: as it was about to before it was led to a program, else after all of it."""
        self._stop, self._gave_up, self.step = why, why, "done"
        if self._last_words and self._answer() is None:
            self.step = "conclude"
            before = self._written.text.rstrip("\n")
            self._written.close()
            self._written.say_output(shown)
            self.turn.say(self._written, self._last_words.conclude, self._last_words.ask_answer)
            yield Piece(self._written.text.removeprefix(before))

    def _spent(self, usage: Usage) -> None:
        self._usage = _continued(self._usage, usage)
        self._stop = usage.stop_reason

    def _measured(self, moments: Sequence[float]) -> Usage:
        """Return what a stream has cost that was closed after these seconds of its pieces."""
        try:
            prompt = self._engine.count_tokens(self.turn.prompt)
            generated = self._engine.count_tokens(self._written.new)
        except EngineError:  # a server that does not count
            prompt, generated = 0, len(moments)
        return Usage(
            prompt, 0, generated, prefill_seconds=moments[0], decode_seconds=moments[-1] - moments[0]
        )


def _run(sandbox: Sandbox, code: str, *, last: bool, where: bool) -> Run:
    outcome = sandbox.run(code)
    output = cut(readable_output(outcome, where=where), OUTPUT_CHARACTERS)
    return Run(code, outcome, output + (prompts.NO_MORE_RUNS if last else ""))


def _ends_in_string(code: str) -> bool:
    """Return whether the last line of a program is within a string that it begins."""
    return any(quote in _STRING.sub("", code.rpartition("\n")[2]) for quote in "'\"")


def _continued(total: Usage, more: Usage) -> Usage:
    """Return the usage of a text that goes on: the prompt is that of its first part."""
    # The prompt of the first generation is the problem's; what was written since is no prompt of anybody's.
    first = total if total.prompt_tokens else more
    return Usage(
        first.prompt_tokens,
        first.cached_tokens,
        total.generated_tokens + more.generated_tokens,
        total.prefill_seconds + more.prefill_seconds,
        total.decode_seconds + more.decode_seconds,
        more.stop_reason,
        stop_string=more.stop_string,
    )
