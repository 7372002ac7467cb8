"""Many problems: read from a file, several in flight at once, kept as they are solved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import ContextFull, EngineError, UsageError
from qwen_cli.tasks.chat import attachments
from qwen_cli.tasks.common import parallel
from qwen_cli.tasks.common.drain import drain_until
from qwen_cli.tasks.math import prompts, solve
from qwen_cli.tasks.math.answer import Judge
from qwen_cli.tasks.math.extraction import boxed


@dataclass(frozen=True)
class Problem:
    """One line of a file. `answer` is the known one, where there is one."""

    id: str
    problem: str
    answer: str | None = None


def load(path: Path, complain: Callable[[str], None]) -> list[Problem]:
    """Return the problems of a JSONL file, in the fields of the usual collections: see `problem`.

    A line that is none is told to `complain` by its number and left out. Raises `UsageError` where the file
    cannot be read, names a problem twice, holds results of ours, or has no problem.
    """
    problems: dict[str, Problem] = {}
    for number, line in enumerate(attachments.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = reading.parsed_json(line)
            parsed = problem(row, str(number))
        except (ValueError, TypeError) as fault:
            complain(f"line {number:,} of {path} is left out: {fault}")
            continue
        if isinstance(row.get("run"), dict) and "by" in row["run"]:
            # Its `answer` is the model's own, which would be right every time.
            raise UsageError(f"{path} holds results, no problems", "name the file they came from")
        if parsed.id in problems:
            raise UsageError(f"line {number:,} of {path} has the id {parsed.id!r} again", "give each its own")
        problems[parsed.id] = parsed
    if not problems:
        raise UsageError(f"{path} has no problems", 'each line is an object with a field "problem"')
    return list(problems.values())


# Names of fields in the order in which they are taken, whatever their case: ours and MATH's, GSM8K's,
# MetaMath's, those of chats for training; CMATH calls its answers "golden".
_ASKED = ("problem", "question", "query", "input", "prompt", "instruction")
_ANSWERED = ("answer", "final_answer", "golden", "expected", "target")
_WORKED = ("solution", "output", "response", "completion")
# What stands before the problem: SVAMP's and ASDiv's questions and Alpaca's inputs say nothing alone.
_BEFORE = ("body", "instruction")
_CHOICES = ("choices", "options")
_MARKED = re.compile(r"^####[ \t]*(\S.*)\Z", re.MULTILINE)


def problem(row: Any, id: str) -> Problem:
    """Return the problem in one row of a collection. Its answer may be the end of a solution: what stands
    after GSM8K's `####`, or in the last box of MATH's. `id` is for a row that has none.

    Raises `ValueError` where it has no problem, or holds what would be lost: choices, an answer that cannot
    be told from its solution.
    """
    if not isinstance(row, dict):
        raise ValueError(f"it is no object, but {type(row).__name__}")
    fields = {
        str(name).lower(): value for name, value in reversed(row.items()) if value not in (None, "", [])
    }
    named = next((name for name in _ASKED if name in fields), None)
    if named is None:
        raise ValueError('it has no field "problem"')
    question = fields[named]
    if not isinstance(question, str) or not question.strip():
        raise ValueError("its problem is no text, or empty")
    if lost := next((name for name in _CHOICES if name in fields), None):
        raise ValueError(f"its `{lost}` would not be seen: write them into its problem")
    before = [text.strip() for name in _BEFORE if name != named and isinstance(text := fields.get(name), str)]
    known = next((fields[name] for name in ("id", "unique_id") if name in fields), id)
    return Problem(str(known), "\n".join([*before, question]), _answer(fields))


def _answer(fields: Mapping[str, Any]) -> str | None:
    """Return the known answer, `None` where there is none. Raises `ValueError` where it cannot be told."""
    for name in (*_ANSWERED, *_WORKED):
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, list) and len(value) == 1:  # OlympiadBench's
            (value,) = value
        if isinstance(value, (list, dict)):
            raise ValueError(f"its `{name}` is no single answer")
        text = str(value).strip()
        answer = _last(text)
        if answer is None and name in _WORKED and not _is_bare(text):
            raise ValueError(f"its `{name}` has no answer: no box, no `####`")
        return answer or text or None
    return None


def _last(solution: str) -> str | None:
    """Return what a solution comes to: after `####` (GSM8K), in its last box (MATH), after MetaMath's last
    words."""
    if marked := _MARKED.search(solution.strip()):
        return marked[1]
    answer = solution.rpartition("The answer is: ")[2] if "The answer is: " in solution else ""
    return boxed(solution) or (answer.strip() or None)


def _is_bare(text: str) -> bool:
    """Return whether it can be an answer by itself: one line without sentences."""
    return "\n" not in text and len(text.split()) <= 8 and ". " not in text


def solve_all(
    engine: Engine, problems: Sequence[Problem], options: solve.SolveOptions, *, at_once: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each problem as it is solved; `at_once` of them are in flight on engines that can.

    A problem that the engine fails on is a row with `error`. Closing the iterator stops what is in flight.
    """
    # Samples of one problem fill the slots by themselves.
    lanes = engine.lanes(at_once if options.samples == 1 else 1)
    if len(lanes) > 1 and problems and engine.capabilities.state:
        # What all prompts begin with, an example among it, is computed once.
        with suppress(ContextFull, EngineError):  # told of that problem when its turn comes
            solve.prefill(engine, problems[0].problem, options)
        lanes = engine.lanes(at_once, warm=True)

    def one(lane: Engine, problem: Problem, stopped: parallel.Stopped) -> dict[str, Any]:
        with Judge(contained=options.contained) as judge:
            return _row(lane, problem, judge, options, stopped)

    yield from parallel.map_unordered(lanes, problems, one)


def _row(
    engine: Engine, problem: Problem, judge: Judge, options: solve.SolveOptions, stopped: parallel.Stopped
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": problem.id, "problem": problem.problem, "expected": problem.answer}
    solving = solve.solve(engine, problem.problem, judge, options)
    try:
        checked = drain_until(solving, stopped)
    except (ContextFull, EngineError) as fault:
        return {**row, "answer": None, "correct": None, "error": str(fault)}
    if checked is None:
        return {**row, "error": "stopped"}
    solution = checked.solution
    correct = None
    if problem.answer is not None:
        correct = solution.answer is not None and judge.same(problem.answer, solution.answer)
    return {
        **row,
        "answer": solution.answer,
        "correct": correct,
        "check": checked.words,
        **({"verification": asdict(checked.verification)} if checked.verification else {}),
        "mode": solution.mode,
        "stop": solution.stop,
        "runs": [
            {"code": run.code, "output": run.shown_to_model, "status": run.outcome.status}
            for run in solution.runs
        ],
        "solution": solution.text,
        "tokens": solution.usage.generated_tokens,
    }


def training(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield correct solutions as chats for fine-tuning: rejection sampling, the first half of Qwen2.5-Math's
    self-improvement (technical report, arXiv:2409.12122, section 2)."""
    for row in rows:
        if row.get("correct"):
            mode = row.get("mode", "cot")
            language = prompts.language(row["problem"])
            messages = prompts.messages(row["problem"], mode, language, specialist=True)
            yield {"messages": [*messages, {"role": "assistant", "content": row["solution"]}]}
