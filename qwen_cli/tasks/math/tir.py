"""Tool-integrated reasoning: the model writes, a sandbox runs what is code, the model goes on.

The loop is that of Qwen2.5-Math's evaluation code (github.com/QwenLM/Qwen2.5-Math, evaluation/math_eval.py),
with two differences: names stay from run to run instead of old programs being run again, and code runs in
`qwen_cli.sandbox`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from qwen_cli.engines.core.base import Completion, Engine, Piece, Sampling, Usage
from qwen_cli.errors import ContextFull
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.sandbox.truncate import cut
from qwen_cli.tasks.common.drain import drain_until
from qwen_cli.tasks.math import prompts
from qwen_cli.tasks.math.answer import boxed
from qwen_cli.tasks.math.transcript import Run, Turn, Written, said

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
_BOX = "\\boxed"


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
    mode: prompts.Mode = "tir"

    @property
    def printed(self) -> str | None:
        """Return the last line of the last run that worked: what the code says the answer is."""
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
    """Yield a solution in words alone."""
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
    nudge: prompts.Nudge | None = None,
) -> Attempt:
    """Yield a solution with programs. `begun` is a sample of its beginning, which ended at one of `stops`.

    At most `max_rounds` programs are run. With `patience`, as many failed runs in a row end the attempt
    (`stop` "failing"). With `nudge`, a model that comes to its answer without a program is made to write one
    first. Raises `SandboxError` where code cannot be contained.
    """
    turn = Turn(engine, list(messages), thinking)
    written = Written(begun.text if begun else "")
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


def stops(engine: Engine, nudge: prompts.Nudge | None) -> tuple[str, ...]:
    """Return where a generation ends besides the model's own end: after a program, and with `nudge` before an
    answer. A model that thinks may box what it thinks of."""
    return (*STOPS, _BOX) if nudge and engine.capabilities.thinking is None else STOPS


def finished(attempt: Attempt, stopped: Callable[[], bool] = lambda: False) -> Solution:
    """Run an attempt to its end, or until `stopped()`: then what there is has no answer."""
    return drain_until(attempt, stopped) or Solution("", None, stop="cancelled")


def limited(sampling: Sampling) -> Sampling:
    """Return `sampling` with an end to it: a small model that goes round in circles never stops by itself."""
    return sampling.over(Sampling(max_tokens=MAX_TOKENS))


def beginning(engine: Engine, sampling: Sampling, nudge: prompts.Nudge | None) -> Sampling:
    """Return `limited`, but with `nudge` for no more than the words between programs. Thinking takes what it
    takes."""
    most = limited(sampling)
    if nudge is None or engine.capabilities.thinking is not None or (most.max_tokens or 0) <= WORDS:
        return most
    return replace(most, max_tokens=WORDS)


def _run(sandbox: Sandbox, code: str, *, last: bool) -> Run:
    outcome = sandbox.run(code)
    told = cut(said(outcome), OUTPUT_CHARACTERS)
    return Run(code, outcome, told + (prompts.NO_MORE_RUNS if last else ""))


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
