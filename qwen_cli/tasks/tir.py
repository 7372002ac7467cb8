"""Tool-integrated reasoning: the model writes, a sandbox runs what is code, the model goes on.

The loop is that of Qwen2.5-Math's evaluation code (github.com/QwenLM/Qwen2.5-Math, evaluation/math_eval.py),
with two differences: names stay from run to run instead of old programs being run again, and code runs in
`qwen_cli.sandbox`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from qwen_cli.engines.protocol import Completion, Engine, Piece, Sampling, Stream, Usage
from qwen_cli.errors import ContextFull
from qwen_cli.sandbox import Limits, Outcome, Sandbox
from qwen_cli.sandbox.output import cut
from qwen_cli.tasks import math_prompts
from qwen_cli.tasks.math_answer import boxed

# Limits of Qwen2.5-Math's evaluation code, but for the rounds: it allows 4.
OUTPUT_CHARACTERS = 400
LIMITS = Limits(wall_seconds=5.0)
MAX_ROUNDS = 6
MAX_TOKENS = 2_048  # of one generation
# Of words between the programs of a model that is brought to them. The starter's reach 350 where they lead
# anywhere; those that go on count the same steps until they are cut.
WORDS = 640
_ANSWER = 64  # tokens of an answer whose beginning is given

# A closed block ends the turn; what a run printed is ours to write, not the model's.
STOPS = ("\n```\n", "```output")
_FENCE = re.compile(r"^```[ \t]*([\w+-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = {"python", "py", "python3"}
_BOX = "\\boxed"
_FORMULAS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
_THOUGHT = "</think>"
NOTHING = "(nothing was printed)"


@dataclass(frozen=True)
class Run:
    """A program of the model, what became of it, and what of that the model is told."""

    code: str
    outcome: Outcome
    told: str

    @property
    def said(self) -> str:
        """What there is to read of it: output, value, and the last line of an error."""
        return said(self.outcome)


@dataclass(frozen=True)
class Restart:
    """What was written so far is dropped: the model's code kept failing, it now reasons in words alone."""

    why: str


Event: TypeAlias = "Piece | Run | Restart"


@dataclass(frozen=True)
class Solution:
    """A finished attempt. `text` holds everything, the outputs of runs too; `answer` is what it boxed last.

    `stop` says why it ends: "stop" (the model was done), "length", "context", "rounds" (all runs used and
    still no answer), "failing" (programs failed again and again), or "cancelled".
    """

    text: str
    answer: str | None
    runs: tuple[Run, ...] = ()
    stop: str = "stop"
    usage: Usage = field(default_factory=Usage)
    mode: math_prompts.Mode = "tir"

    @property
    def printed(self) -> str | None:
        """The last line of the last run that worked: what the code says the answer is."""
        for run in reversed(self.runs):
            if run.outcome.status == "ok":
                lines = (run.outcome.value or run.outcome.output).strip().splitlines()
                return lines[-1].strip() if lines else None
        return None


Attempt: TypeAlias = Generator[Event, None, Solution]


def reason(
    engine: Engine,
    messages: Sequence[dict[str, Any]],
    *,
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
) -> Attempt:
    """A solution in words alone."""
    text, usage = "", Usage()
    pieces = engine.chat(messages, sampling=limited(sampling), thinking=thinking)
    try:
        for piece in pieces:
            text += piece.text if piece.kind == "answer" else ""
            usage = piece.usage or usage
            yield piece
    finally:
        pieces.close()
    return Solution(text, boxed(text), stop=usage.stop_reason, usage=usage, mode="cot")


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
    nudge: math_prompts.Nudge | None = None,
) -> Attempt:
    """A solution with programs. `begun` is a sample of its beginning, which ended at one of `stops`.

    At most `max_rounds` programs are run. With `patience`, as many failed runs in a row end the attempt
    (`stop` "failing"). With `nudge`, a model that comes to its answer without a program is made to write one
    first. Raises `SandboxError` where code cannot be contained.
    """
    turn = _Turn(engine, list(messages), thinking)
    written = _Written(begun.text if begun else "")
    usage = begun.usage if begun else Usage()
    stop: str = usage.stop_reason
    failed = 0
    nudged = concluded = False
    brief = beginning(engine, sampling, nudge)
    asked = brief
    going = begun is None
    while True:
        if going:
            try:
                stop_at = stops(engine, nudge if not written.runs else None)
                if concluded and turn.continues:
                    stop_at = ("\n",)
                pieces = turn.ask(written, replace(asked, stop=stop_at))
                for piece in pieces:
                    written.add(piece)
                    usage = _sum(usage, piece.usage)
                    stop = piece.usage.stop_reason if piece.usage else stop
                    yield piece
            except ContextFull:
                stop = "context"
                break
        going = True
        if concluded:
            break
        if nudge and stop == "length" and asked is brief and brief != limited(sampling):
            asked = limited(sampling)
            if written.open:
                continue  # it is writing a program
            if written.runs:
                concluded, asked = True, replace(asked, max_tokens=_ANSWER)
                yield Piece(turn.say(written, nudge.conclude, nudge.ask_answer))
            else:
                nudged = True
                yield Piece(turn.say(written, nudge.begin, nudge.ask))
            continue
        code = written.program()
        if code is None:
            if stop == "stop" and written.close_other():
                continue
            if stop == "stop" and nudge and not written.runs and not nudged:
                nudged, asked = True, limited(sampling)
                yield Piece(turn.say(written, nudge.begin, nudge.ask))
                continue
            break
        if stop in ("length", "context"):
            break
        if len(written.runs) >= max_rounds:
            stop = "rounds"
            break
        if any(code == run.code and run.outcome.status != "ok" for run in written.runs):
            stop = "failing"  # it would fail again, and the model would write it again
            break
        run = _run(sandbox, code, last=len(written.runs) + 1 == max_rounds)
        written.put(run)
        asked = brief
        yield run
        failed = 0 if run.outcome.status == "ok" else failed + 1
        if patience is not None and failed >= patience:
            stop = "failing"
            break
    return Solution(written.text, boxed(written.prose()), tuple(written.runs), stop, usage)


def stops(engine: Engine, nudge: math_prompts.Nudge | None) -> tuple[str, ...]:
    """Where a generation ends besides the model's own end: after a program, and with `nudge` before an
    answer. A model that thinks may box what it thinks of."""
    return (*STOPS, _BOX) if nudge and engine.capabilities.thinking is None else STOPS


def rendered(engine: Engine, messages: Sequence[dict[str, Any]], thinking: bool | int | None) -> str | None:
    """The raw prompt that answers can be gone on with, where the engine tells it. It has no place for
    pictures."""
    if not engine.capabilities.render or not all(isinstance(m["content"], str) for m in messages):
        return None
    return engine.render(messages, thinking=thinking)


def finished(attempt: Attempt, stopped: Callable[[], bool] = lambda: False) -> Solution:
    """Run an attempt to its end, or until `stopped()`: then what there is has no answer."""
    try:
        while not stopped():
            next(attempt)
    except StopIteration as done:
        solution: Solution = done.value
        return solution
    attempt.close()
    return Solution("", None, stop="cancelled")


def limited(sampling: Sampling) -> Sampling:
    """`sampling` with an end to it: a small model that goes round in circles never stops by itself."""
    return sampling.over(Sampling(max_tokens=MAX_TOKENS))


def beginning(engine: Engine, sampling: Sampling, nudge: math_prompts.Nudge | None) -> Sampling:
    """`limited`, but with `nudge` for no more than the words between programs. Thinking takes what it
    takes."""
    most = limited(sampling)
    if nudge is None or engine.capabilities.thinking is not None or (most.max_tokens or 0) <= WORDS:
        return most
    return replace(most, max_tokens=WORDS)


def said(outcome: Outcome) -> str:
    """Output, value, and of an error the last line: Qwen2.5-Math's executor shows the model no more."""
    error = None if outcome.status == "ok" else outcome.error or outcome.status
    parts = (outcome.output.rstrip("\n") or None, outcome.value, error)
    return "\n".join(part for part in parts if part is not None) or NOTHING


def _run(sandbox: Sandbox, code: str, *, last: bool) -> Run:
    outcome = sandbox.run(code)
    told = cut(said(outcome), OUTPUT_CHARACTERS)
    return Run(code, outcome, told + (math_prompts.NO_MORE_RUNS if last else ""))


@dataclass
class _Written:
    """The assistant's text: what the model wrote and, between it, what its programs printed."""

    text: str = ""
    runs: list[Run] = field(default_factory=list)
    parts: list[tuple[str, str]] = field(default_factory=list)  # (what the model wrote, the output after it)
    _from: int = 0  # where the text after the last output begins

    def add(self, piece: Piece) -> None:
        self.text += piece.text if piece.kind == "answer" else ""

    @property
    def new(self) -> str:
        """What the model wrote after the last output."""
        return self.text[self._from :]

    def program(self) -> str | None:
        """The program that ends the new text, its fence open or closed."""
        if (block := self._block()) is None:
            return None
        tag, body, rest = block
        return body if tag in _PYTHON and body.strip() and not rest.strip() else None

    def close_other(self) -> bool:
        """Close a block in another language, so that the model goes on after it. False where none is open."""
        block = self._block()
        if block is None or block[0] in _PYTHON or not self.open:
            return False
        self.text += "\n```\n"
        return True

    def put(self, run: Run) -> None:
        """Write the output of a program under it."""
        wrote = self.new.rstrip("\n") + ("\n```" if self.open else "")
        output = f"\n```output\n{run.told}\n```\n"
        self.text = self.text[: self._from] + wrote + output
        self.parts.append((wrote, output))
        self.runs.append(run)
        self._from = len(self.text)

    def say(self, words: str) -> None:
        """Have the user say something after what was written."""
        self.parts.append((self.new, words))
        self.text += "\n\n"
        self._from = len(self.text)

    def prose(self) -> str:
        """All of it without thoughts, programs and outputs: where an answer is an answer."""
        text = "\n".join([*(wrote for wrote, _ in self.parts), self.new])
        spoken = text.rpartition(_THOUGHT)[2]
        return re.sub(r"^```.*?(?:^```[ \t]*$|\Z)", "", spoken, flags=re.MULTILINE | re.DOTALL)

    @property
    def open(self) -> bool:
        """Whether a fenced block is not closed yet."""
        return len(_FENCE.findall(self._spoken())) % 2 == 1

    def _spoken(self) -> str:
        return self.new.rpartition(_THOUGHT)[2]

    def _block(self) -> tuple[str, str, str] | None:
        """The last fenced block of the new text: (language, body, what stands after it)."""
        text = self._spoken()
        fences = list(_FENCE.finditer(text))
        if not fences:
            return None
        opened = len(fences) % 2 == 1
        start = fences[-1] if opened else fences[-2]
        end, rest = (len(text), "") if opened else (fences[-1].start(), text[fences[-1].end() :])
        return start[1].lower(), text[start.end() + 1 : end], rest


class _Turn:
    """How the model is asked to go on: in the same turn where the prompt can be told, so that the KV cache
    holds all of it; elsewhere outputs are said by the user."""

    def __init__(self, engine: Engine, messages: list[dict[str, Any]], thinking: bool | int | None) -> None:
        self._engine, self._messages, self._thinking = engine, messages, thinking
        self._prompt = rendered(engine, messages, thinking)

    @property
    def continues(self) -> bool:
        """Whether the model goes on with its own text, so that a sentence can be begun for it."""
        return self._prompt is not None

    def say(self, written: _Written, begin: str, ask: str) -> str:
        """Have the model go on with what is begun for it, or asked. The text added to what it wrote."""
        before = len(written.text)
        if self.continues:
            # It may have been stopped inside a formula that was to hold the answer.
            opened = next((o for o in _FORMULAS if written.text.rstrip().endswith(o)), None)
            written.text += f"…{_FORMULAS[opened]}\n\n{begin}" if opened else f"\n\n{begin}"
        else:
            written.say(ask)
        return written.text[before:]

    def ask(self, written: _Written, sampling: Sampling) -> Stream:
        if self._prompt is not None:
            return self._engine.complete(self._prompt + written.text, sampling=sampling)
        turns = list(self._messages)
        for wrote, output in written.parts:
            turns.append({"role": "assistant", "content": wrote})
            turns.append({"role": "user", "content": output.strip()})
        if written.new:
            turns.append({"role": "assistant", "content": written.new})
            turns.append({"role": "user", "content": "Go on."})
        return self._engine.chat(turns, sampling=sampling, thinking=self._thinking)


def _sum(total: Usage, more: Usage | None) -> Usage:
    if more is None:
        return total
    # The prompt of the first generation is the problem's; what was written since is no prompt of anybody's.
    first = total if total.prompt_tokens else more
    return Usage(
        first.prompt_tokens,
        first.cached_tokens,
        total.generated_tokens + more.generated_tokens,
        total.prefill_seconds + more.prefill_seconds,
        total.decode_seconds + more.decode_seconds,
        more.stop_reason,
    )
