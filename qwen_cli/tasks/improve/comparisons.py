"""Which solutions a reward model compares: right and wrong ones of the same problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.improve import gather
from qwen_cli.tasks.improve.problem import Problem, unique

MOST = 6  # solutions of a problem, as in Qwen2.5-Math's report (arXiv:2409.12122, section 3.2)


@dataclass(frozen=True)
class Compared:
    """Solutions of one problem, each once: those that are right and those that are not."""

    problem: Problem
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Return how many pairs of a right and a wrong solution there are."""
        return len(self.right) * len(self.wrong)

    def row(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"problem": self.problem.problem, "right": list(self.right), "wrong": list(self.wrong)}


@dataclass(frozen=True)
class Comparisons:
    """Problems with right and wrong solutions. `always` and `never` others have nothing but right and nothing
    but wrong ones; `unformed` solutions were cut at a limit or have no box, and are not compared: for that
    nobody needs a model."""

    problems: Sequence[Compared]
    always: int
    never: int
    unformed: int

    @property
    def words(self) -> str:
        """Return it in a line."""
        pairs = sum(one.pairs for one in self.problems)
        unformed = f", {self.unformed:,} solutions without a box" if self.unformed else ""
        return (
            f"{pairs:,} pairs of a right and a wrong solution of {len(self.problems):,} problems; left out: "
            f"{self.always:,} problems always right, {self.never:,} never{unformed}"
        )


def comparisons(problems: Sequence[Problem], rows: Sequence[Mapping[str, Any]]) -> Comparisons:
    """Return what of the samples `rows` can be compared, at most six solutions of a problem, as many right as
    wrong ones where there are so many. A problem whose text came before is left out: it could be learned and
    held out. Raises `UsageError` for a row of no problem, `QwenError` where no
    problem has both: with what was seen."""
    known = {problem.id for problem in problems}
    by_problem: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["id"] not in known:
            raise UsageError(
                f"there is a sample of {row['id']!r}, which is none of the {len(problems):,} problems",
                "give the problems that were solved",
            )
        by_problem.setdefault(row["id"], []).append(row)
    found: list[Compared] = []
    seen: Counter[str] = Counter()
    for problem in unique(problems):
        if problem.id not in by_problem:
            continue
        samples = sorted(by_problem[problem.id], key=lambda row: int(row.get("sample", 0)))
        formed = [row for row in samples if gather.is_formed(row)]
        seen["unformed"] += len(samples) - len(formed)
        sides = [
            gather.no_two_alike([str(row["text"]) for row in formed if bool(row["correct"]) is side])
            for side in (True, False)
        ]
        if all(sides):
            chosen = list(chain.from_iterable(zip_longest(*sides)))  # by turns
            taken = [text for text in chosen if text is not None][:MOST]
            right, wrong = (tuple(text.strip() for text in side if text in taken) for side in sides)
            found.append(Compared(problem, right, wrong))
        else:
            seen["always" if sides[0] else "never"] += 1
    compared = Comparisons(found, seen["always"], seen["never"], seen["unformed"])
    if not found:
        raise QwenError(
            f"no problem has a right and a wrong solution: {compared.always:,} have right ones alone, "
            f"{compared.never:,} none, and {compared.unformed:,} of {len(rows):,} solutions are in no box or "
            "were cut",
            "draw more `samples`, or give problems that are solved at times",
        )
    return compared
