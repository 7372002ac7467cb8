"""Which samples a model learns from: right ones in their form, no two alike, few of each problem (rejection
sampling: RFT, Yuan et al. 2023, arXiv:2308.01825; Qwen2.5-Math, arXiv:2409.12122, section 3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

from qwen_cli.engines.core.base import CUT
from qwen_cli.errors import QwenError
from qwen_cli.tasks.improve import asking
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.math import prompts

Row = dict[str, Any]
Scores: TypeAlias = "dict[tuple[str, str], float]"
"""How good solutions are, by a problem's id and the text: more is better."""


@dataclass(frozen=True)
class Difficulty:
    """How often a problem was answered rightly: `right` of `samples`."""

    problem: Problem
    right: int
    samples: int


@dataclass(frozen=True)
class Solution:
    """A right solution of a problem, and a wrong one to set against it where there is one."""

    problem: Problem
    text: str


@dataclass(frozen=True)
class Gathered:
    """What came of the samples. `solutions` are to be learned from; `pairs` are right and wrong solutions of
    one problem. `always` and `never` problems were answered rightly each time and not once, and are set
    aside; so many right solutions were the same as another (`repeated`), in no box (`unboxed`), or more than
    are taken of a problem or in all (`more`). `ranked` says that a reward model chose among them."""

    difficulty: Sequence[Difficulty]
    solutions: Sequence[Solution]
    pairs: Sequence[tuple[Solution, Solution]]
    always: int
    never: int
    repeated: int
    unboxed: int
    more: int
    ranked: bool = False

    @property
    def words(self) -> str:
        """Return it in a line."""
        left = [
            f"{count:,} {what}"
            for count, what in (
                (self.repeated, "repeated"),
                (self.unboxed, "without a box"),
                (self.more, "more than are taken"),
            )
            if count
        ]
        problems = len({one.problem.id for one in self.solutions})
        return (
            f"{len(self.solutions):,} right solutions of {problems:,} problems to learn from"
            f"{', the best by reward' if self.ranked else ''}"
            f"{' (left out: ' + ', '.join(left) + ')' if left else ''}; set aside: "
            f"{self.always:,} problems always right, {self.never:,} never"
        )


def gather(
    problems: Sequence[Problem],
    rows: Sequence[Mapping[str, Any]],
    *,
    per_problem: int,
    most: int | None,
    scores: Scores | None = None,
) -> Gathered:
    """Return what is worth learning from `rows`: at most `per_problem` solutions of a problem, `most` in all,
    so that each problem has its first before any has its second. The first are those that were drawn first,
    or with `scores` the best of them. Problems that were always or never answered
    rightly teach nothing. Raises `QwenError` where no row is right: with what was seen."""
    by_problem: dict[str, list[Mapping[str, Any]]] = {problem.id: [] for problem in problems}
    for row in rows:
        by_problem[row["id"]].append(row)
    difficulty = [_difficulty(problem, by_problem[problem.id]) for problem in problems]
    if not any(one.right for one in difficulty):
        raise _never_right(rows)
    taken: list[list[Solution]] = []
    pairs: list[tuple[Solution, Solution]] = []
    repeated = unboxed = more = 0
    for one in difficulty:
        if not 0 < one.right < one.samples:
            continue
        samples = by_problem[one.problem.id]
        right = [str(row["text"]) for row in samples if row["correct"]]
        formed = [str(row["text"]) for row in samples if row["correct"] and is_formed(row)]
        single = no_two_alike(formed)
        if scores is not None:
            single.sort(key=lambda text: -scores.get((one.problem.id, text), 0.0))
        unboxed += len(right) - len(formed)
        repeated += len(formed) - len(single)
        more += max(0, len(single) - per_problem)
        solutions = [Solution(one.problem, text.strip()) for text in single[:per_problem]]
        taken.append(solutions)
        wrong = no_two_alike([str(r["text"]) for r in samples if not r["correct"] and r.get("text")])
        pairs += [
            (good, Solution(one.problem, bad.strip())) for good, bad in zip(solutions, wrong, strict=False)
        ]
    firsts = [solution for turn in zip_longest(*taken) for solution in turn if solution is not None]
    kept = firsts[:most]
    return Gathered(
        difficulty,
        kept,
        pairs,
        always=sum(one.right == one.samples for one in difficulty),
        never=sum(not one.right for one in difficulty),
        repeated=repeated,
        unboxed=unboxed,
        more=more + len(firsts) - len(kept),
        ranked=scores is not None,
    )


def chats(solutions: Sequence[Solution], mode: prompts.Mode, model: str) -> list[Row]:
    """Return solutions as chats to train the model of this name on."""
    return [{"messages": [*asking.asked(one.problem.problem, mode, model), _said(one)]} for one in solutions]


def preferences(pairs: Sequence[tuple[Solution, Solution]], mode: prompts.Mode, model: str) -> list[Row]:
    """Return pairs as trainers for DPO read them (TRL's conversational preference format)."""
    return [
        {
            "prompt": asking.asked(good.problem.problem, mode, model),
            "chosen": [_said(good)],
            "rejected": [_said(bad)],
        }
        for good, bad in pairs
    ]


def shuffled(chats: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return each question of `chats` with the solutions of another, for a control: what a model learns of
    these is their form alone. Fewer than two questions have nothing to exchange."""
    questions: dict[str, Sequence[Row]] = {}
    said: dict[str, list[Row]] = {}
    for chat in chats:
        *question, solution = chat["messages"]
        key = json.dumps(question)
        questions[key] = question
        said.setdefault(key, []).append(solution)
    # Neighbours may be of one family: digests are in no order that has to do with the problems.
    order = sorted(questions, key=lambda key: hashlib.sha256(key.encode()).digest())
    return [
        {"messages": [*questions[key], solution]}
        for key, other in zip(order, order[1:] + order[:1], strict=True)
        for solution in said[other]
        if key != other
    ]


def _said(solution: Solution) -> Row:
    return {"role": "assistant", "content": solution.text}


def _difficulty(problem: Problem, rows: Sequence[Mapping[str, Any]]) -> Difficulty:
    return Difficulty(problem, sum(bool(row["correct"]) for row in rows), len(rows))


def is_formed(row: Mapping[str, Any]) -> bool:
    """Return whether an answer is in a box and came to its end."""
    return asking.has_box(row) and row.get("stop") not in CUT


def no_two_alike(texts: Sequence[str]) -> list[str]:
    """Return the first of `texts` that differ in more than spaces."""
    return list({" ".join(text.split()): text for text in reversed(texts)}.values())[::-1]


def _never_right(rows: Sequence[Mapping[str, Any]]) -> QwenError:
    answered = [row for row in rows if row.get("answer") is not None]
    cut = sum(row.get("stop") in CUT for row in rows)
    seen = f"none of {len(rows):,} answers is right"
    if answered:
        seen += f": to {answered[0]['id']} it said {answered[0]['answer']!r}, not {answered[0]['expected']!r}"
    else:
        seen += ", and none could be read"
    if cut:
        seen += f"; {cut:,} were cut at a limit"
    return QwenError(
        seen, "raise `max_tokens`" if 2 * cut > len(rows) else "give easier problems, or a larger model"
    )
