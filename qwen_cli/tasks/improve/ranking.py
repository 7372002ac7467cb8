"""What a reward model says of samples: which right solution is the best, how much a vote counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.eval import summary
from qwen_cli.tasks.improve import asking, gather
from qwen_cli.tasks.improve.asking import Progress
from qwen_cli.tasks.improve.problem import Problem

Row = dict[str, Any]
Scorer: TypeAlias = Callable[[str, Sequence[str]], Sequence[float]]
"""Says how good each solution of a problem is: more is better."""


def of_right(
    problems: Sequence[Problem],
    rows: Sequence[Mapping[str, Any]],
    score: Scorer,
    progress: Progress = asking._silent,
) -> gather.Scores:
    """Return the scores of the right solutions that `gather.gather` chooses from, where a problem has
    several."""
    by_problem: dict[str, list[str]] = {problem.id: [] for problem in problems}
    for row in rows:
        if row["correct"] and gather.is_formed(row):
            by_problem[row["id"]].append(str(row["text"]))
    several = [
        (problem, texts)
        for problem in problems
        if len(texts := gather.no_two_alike(by_problem[problem.id])) > 1
    ]
    scores: gather.Scores = {}
    for done, (problem, texts) in enumerate(several, 1):
        found = score(problem.problem, texts)
        scores |= {(problem.id, text): value for text, value in zip(texts, found, strict=True)}
        progress(done, len(several), "")
    return scores


def journaled(
    problems: Sequence[Problem],
    rows: Sequence[Row],
    score: Scorer,
    path: Path,
    by: str,
    run: Mapping[str, Any],
    progress: Progress = asking._silent,
) -> list[Row]:
    """Return `rows` with the score of each that has an answer. The journal of the command `by` at `path` has
    those that were scored before; `run` says by which reward model."""
    with Journal(path, by) as book:
        book.begin(run)
        known: dict[str, dict[str, float]] = {row["id"]: row["scores"] for row in book.rows}
        samples = summary.by_item(rows)
        for done, problem in enumerate(problems, 1):
            if problem.id not in known:
                answered = [row for row in samples.get(problem.id, ()) if row.get("answer") is not None]
                found = score(problem.problem, [str(row.get("text", "")) for row in answered])
                scores = {str(row["sample"]): value for row, value in zip(answered, found, strict=True)}
                known[problem.id] = book.add({"id": problem.id, "scores": scores})["scores"]
            progress(done, len(problems), "")
    return scored(rows, known)


def scored(rows: Sequence[Row], known: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Return `rows` with their scores, which are `known` by a problem's id and the number of the sample."""
    found = [known.get(row["id"], {}).get(str(row["sample"])) for row in rows]
    return [row if score is None else {**row, "score": score} for row, score in zip(rows, found, strict=True)]


def best(samples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the sample of the highest score, the first of those that are equal; `None` where none has
    one."""
    rated = [row for row in samples if "score" in row]
    return max(rated, key=lambda row: float(row["score"]), default=None)


def weight(score: float) -> float:
    """Return how much a solution of this score has to say where solutions vote: the chance that it beats one
    of a score of 0, which is neither good nor bad (Bradley and Terry, 1952)."""
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))
