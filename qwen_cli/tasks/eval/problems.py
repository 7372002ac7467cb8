"""Mathematics with known answers: GSM8K, MATH, AIME, CMATH.

Answers are compared in the sandbox, as `qwen math` compares them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.tasks.common.drain import drain_until
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval.item import Attempt, written
from qwen_cli.tasks.eval.protocol import Protocol
from qwen_cli.tasks.math import batch, solve
from qwen_cli.tasks.math.answer import Judge
from qwen_cli.tasks.math.extraction import boxed

_MOST = 2048  # tokens of an answer, as Qwen2.5-Math's script has it
_END = "\n\nQuestion:"
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")
_SAID = re.compile(r"[Tt]he (?:final )?answer is:?\s*(.+?)(?:\.\s|\.?$)", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """One problem. `worked` is its solution, for the shots of raw text; `mode` is how `qwen math` solves it
    in chat."""

    id: str
    subject: str
    problem: str
    expected: str
    worked: str = ""
    mode: solve.Mode = "cot"
    shots: tuple[Problem, ...] = ()

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        with Judge() as judge:
            ask = self._raw if protocol.raw else self._solved
            return ask(engine, protocol, number, stopped, judge)

    def prompt(self, shots: int) -> str:
        """Return the raw text before a solution."""
        worked = "".join(
            f"Question: {shot.problem}\nAnswer: {shot.worked.strip()}\n\n" for shot in self.shots[:shots]
        )
        return f"{worked}Question: {self.problem}\nAnswer:"

    def _raw(
        self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped, judge: Judge
    ) -> Attempt | None:
        sampling = replace(protocol.limited(_MOST).nth(number), stop=(_END, "\nQuestion:"))
        answer = written(engine.complete(self.prompt(protocol.shots), sampling=sampling), stopped)
        if answer is None:
            return None
        return self._marked(answer.attempt(concluded(answer.text), 0.0), judge)

    def _solved(
        self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped, judge: Judge
    ) -> Attempt | None:
        options = solve.SolveOptions(
            mode=self.mode, sampling=protocol.limited(_MOST).nth(number), thinking=protocol.thinking
        )
        checked = drain_until(solve.solve(engine, self.problem, judge, options), stopped)
        if checked is None:
            return None
        solution, spent = checked.solution, checked.solution.usage
        found = Attempt(
            checked.answer, 0.0, solution.text, solution.stop, spent.generated_tokens, spent.prompt_tokens
        )
        return self._marked(found, judge)

    def _marked(self, found: Attempt, judge: Judge) -> Attempt:
        """Return `found` with its point, where its answer is the known one."""
        right = found.answer is not None and judge.same(self.expected, found.answer)
        return replace(found, correct=float(right))


def concluded(text: str) -> str | None:
    """Return the answer of a solution in raw text: after GSM8K's `####`, in a box, what it calls its answer,
    else its last number."""
    if "####" in text:
        return text.partition("####")[2].strip().partition("\n")[0].strip() or None
    if box := boxed(text):
        return box
    if said := _SAID.findall(text):
        return str(said[-1]).strip()
    numbers = _NUMBER.findall(text)
    return str(numbers[-1]) if numbers else None


def parse(row: dict[str, Any], number: int, *, mode: solve.Mode = "cot") -> Problem:
    """Return the problem in one row of the usual collections (`tasks.math.batch.problem`). Raises
    `ValueError`."""
    read = batch.problem(row, str(number))
    if read.answer is None:
        raise ValueError("it has no answer")
    worked = next((str(row[n]) for n in ("solution", "answer") if _is_worked(row.get(n))), "")
    subject = next((str(row[n]) for n in ("subject", "type", "category") if row.get(n)), "")
    return Problem(read.id, subject, read.problem, read.answer, worked, mode)


def _is_worked(value: object) -> bool:
    return isinstance(value, str) and ("\n" in value or "####" in value or len(value.split()) > 8)
