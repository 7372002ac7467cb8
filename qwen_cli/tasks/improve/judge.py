"""Whether a model has become better: the same held-out problems before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.eval import summary
from qwen_cli.tasks.eval.summary import Difference, Summary
from qwen_cli.tasks.improve import asking, ranking
from qwen_cli.tasks.improve.asking import Asking, Progress
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.improve.ranking import Scorer

Row = dict[str, Any]
BY = "qwen improve judge"
GREEDY, SAMPLED, SCORES = "greedy.jsonl", "sampled.jsonl", "scores.jsonl"


@dataclass(frozen=True)
class Judged:
    """A model on the held-out problems: its likeliest answers, and samples where some were drawn, with the
    score of a reward model where there is one."""

    rows: Sequence[Row]
    samples: Sequence[Row] = ()

    @property
    def greedy(self) -> Summary:
        """Return the figures of the likeliest answers: `whole` is pass@1 with Wilson's interval."""
        return summary.summarise(self.rows)

    @property
    def sampled(self) -> Summary | None:
        """Return the figures of the samples: `at` is pass@k, unbiased."""
        return summary.summarise(self.samples) if self.samples else None

    @property
    def agreed(self) -> float | None:
        """Return the share of problems of which the answer that most samples have is right (maj@k); `None`
        without several samples. A problem of which no sample has an answer is not solved."""
        problems = summary.by_item(self.samples).values()
        if max(map(len, problems), default=0) < 2:
            return None
        return fmean(summary.vote_of(samples) or 0.0 for samples in problems)

    @property
    def best_of(self) -> float | None:
        """Return the share of problems of which the sample with the highest score is right (Qwen2.5-Math's
        rm@k); `None` without scores."""
        if not any("score" in row for row in self.samples):
            return None
        chosen = [ranking.best(samples) for samples in summary.by_item(self.samples).values()]
        return fmean(float(row["correct"]) if row else 0.0 for row in chosen)

    @property
    def formed(self) -> float:
        """Return the share of the likeliest answers that are in a box."""
        return fmean(asking.has_box(row) for row in self.rows)

    @property
    def right(self) -> int:
        """Return how many of the likeliest answers are right."""
        return sum(bool(row["correct"]) for row in self.rows)

    def figures(self) -> dict[str, Any]:
        """Return the figures for programs."""
        whole, drawn = self.greedy.whole, self.sampled
        chosen = (("maj", self.agreed), ("rm", self.best_of))
        return {
            "problems": whole.items,
            "right": self.right,
            "pass@1": round(whole.share, 4),
            "interval": [round(whole.low, 4), round(whole.high, 4)],
            "in a box": round(self.formed, 4),
            "cut": self.greedy.cut,
            "tokens": round(self.greedy.tokens / max(1, self.greedy.answers), 1),
            **(
                {f"sampled pass@{k}": round(drawn.at[k - 1], 4) for k in sorted({1, len(drawn.at)})}
                if drawn
                else {}
            ),
            **{
                f"{name}@{len(drawn.at)}": round(share, 4)
                for name, share in chosen
                if drawn and share is not None
            },
        }


def judge(
    engine: Engine,
    problems: Sequence[Problem],
    how: Asking,
    folder: Path,
    run: Mapping[str, Any],
    progress: Progress = asking._silent,
) -> Judged:
    """Return how `engine` does on `problems`: its likeliest answers, and `how.samples` drawn of each where
    that is not 0. Journals in `folder` have what was answered; `run` says of which model and settings."""

    def asked(how: Asking, name: str) -> list[Row]:
        return asking.journaled(engine, problems, how, folder / name, BY, run, progress)

    return Judged(asked(how.greedy, GREEDY), asked(how, SAMPLED) if how.samples else [])


def scored(
    judged: Judged,
    problems: Sequence[Problem],
    score: Scorer,
    folder: Path,
    run: Mapping[str, Any],
    progress: Progress = asking._silent,
) -> Judged:
    """Return what `judge` returned for `problems` with the scores of a reward model, which a journal in
    `folder` keeps; `run` says of which."""
    rows = ranking.journaled(problems, list(judged.samples), score, folder / SCORES, BY, run, progress)
    return replace(judged, samples=rows)


def compare(before: Judged, after: Judged) -> Difference:
    """Return the difference of two models on the same problems, with McNemar's exact test."""
    return summary.compare(before.rows, after.rows)[0]


def by_family(before: Judged, after: Judged) -> list[Difference]:
    """Return the differences in each family of problems, where there are several."""
    return summary.compare(before.rows, after.rows)[1:]


def is_kept(before: Judged, after: Judged) -> bool:
    """Return whether an adapter stays: it answers at least as many problems rightly as what was there."""
    return after.right >= before.right


def read(folder: Path) -> Judged:
    """Return what the journals in `folder` tell."""
    rows, samples, scores = (_rows(folder / name) for name in (GREEDY, SAMPLED, SCORES))
    return Judged(rows, ranking.scored(samples, {row["id"]: row["scores"] for row in scores}))


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with Journal(path, BY) as book:
        return list(book.rows)
