"""Many problems: read from a file, several in flight at once, kept as they are solved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli.engines.protocol import Engine
from qwen_cli.errors import ContextFull, EngineError, UsageError
from qwen_cli.tasks import attachments, in_flight, math_prompts, math_solve
from qwen_cli.tasks.math_answer import Judge


@dataclass(frozen=True)
class Problem:
    """One line of a file. `answer` is the known one, where there is one."""

    id: str
    problem: str
    answer: str | None = None


def load(path: Path, complain: Callable[[str], None]) -> list[Problem]:
    """The problems of a JSONL file (`problem`, optional `answer` and `id`).

    A line that is none is told to `complain` by its number and left out. Raises `UsageError` where the file
    cannot be read, names a problem twice, or has none.
    """
    problems: dict[str, Problem] = {}
    for number, line in enumerate(attachments.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row["problem"]
            if not isinstance(text, str) or not text.strip():
                raise ValueError("its problem is empty")
        except (ValueError, KeyError, TypeError) as fault:
            what = "it has no field `problem`" if isinstance(fault, KeyError) else str(fault)
            complain(f"line {number:,} of {path} is left out: {what}")
            continue
        answer = row.get("answer")
        found = Problem(str(row.get("id", number)), text, None if answer is None else str(answer))
        if found.id in problems:
            raise UsageError(f"line {number:,} of {path} has the id {found.id!r} again", "give each its own")
        problems[found.id] = found
    if not problems:
        raise UsageError(f"{path} has no problems", 'each line is an object with a field "problem"')
    return list(problems.values())


def solve_all(
    engine: Engine, problems: Sequence[Problem], way: math_solve.Way, *, at_once: int
) -> Iterator[dict[str, Any]]:
    """A row for each problem as it is solved; `at_once` of them are in flight on engines that can.

    A problem that the engine fails on is a row with `error`. Closing the iterator stops what is in flight.
    """
    # Samples of one problem fill the slots by themselves.
    lanes = engine.lanes(at_once if way.samples == 1 else 1)
    if len(lanes) > 1 and problems and engine.capabilities.state:
        # What all prompts begin with, an example among it, is computed once.
        with suppress(ContextFull, EngineError):  # told of that problem when its turn comes
            math_solve.prefill(engine, problems[0].problem, way)
        lanes = engine.lanes(at_once, warm=True)

    def one(lane: Engine, problem: Problem, stopped: in_flight.Stopped) -> dict[str, Any]:
        with Judge(contained=way.contained) as judge:
            return _row(lane, problem, judge, way, stopped)

    yield from in_flight.each(lanes, problems, one)


def _row(
    engine: Engine, problem: Problem, judge: Judge, way: math_solve.Way, stopped: in_flight.Stopped
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": problem.id, "problem": problem.problem, "expected": problem.answer}
    solving = math_solve.solve(engine, problem.problem, judge, way)
    try:
        while not stopped():
            next(solving)
        solving.close()
        return {**row, "error": "stopped"}
    except StopIteration as done:
        checked: math_solve.Checked = done.value
    except (ContextFull, EngineError) as fault:
        return {**row, "answer": None, "correct": False if problem.answer else None, "error": str(fault)}
    solution = checked.solution
    correct = None
    if problem.answer is not None:
        correct = solution.answer is not None and judge.same(problem.answer, solution.answer)
    return {
        **row,
        "answer": solution.answer,
        "correct": correct,
        "check": checked.words,
        "mode": solution.mode,
        "stop": solution.stop,
        "runs": [
            {"code": run.code, "output": run.told, "status": run.outcome.status} for run in solution.runs
        ],
        "solution": solution.text,
        "tokens": solution.usage.generated_tokens,
    }


def training(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Correct solutions as chats for fine-tuning: rejection sampling, the first half of Qwen2.5-Math's
    self-improvement (technical report, arXiv:2409.12122, section 2)."""
    for row in rows:
        if row.get("correct"):
            mode = row.get("mode", "cot")
            spoken = math_prompts.language(row["problem"])
            asked = math_prompts.messages(row["problem"], mode, spoken, specialist=True)
            yield {"messages": [*asked, {"role": "assistant", "content": row["solution"]}]}
