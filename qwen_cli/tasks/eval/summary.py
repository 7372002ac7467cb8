"""What rows of results come to: shares with intervals, by subject; two runs on the same items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from qwen_cli.engines.core.base import CUT
from qwen_cli.tasks.common import statistics

Row = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """A share of points and its 95 % interval, over `items`."""

    name: str
    share: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Summary:
    """A run in figures. `at` holds pass@k for k from 1 to the samples, `vote` the share where the answer that
    most samples have is right (`None`: one sample, or nothing to vote on). `cut` answers of `answers` ended
    at a limit, `unread` had no answer that could be read."""

    whole: Score
    subjects: Sequence[Score]
    at: Sequence[float]
    vote: float | None
    answers: int
    cut: int
    unread: int
    tokens: int

    @property
    def macro(self) -> float:
        """Return the mean of the subjects' shares."""
        return fmean(score.share for score in self.subjects) if self.subjects else self.whole.share


def by_item(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each item, by its id."""
    items: dict[str, list[Row]] = {}
    for row in rows:
        items.setdefault(str(row["id"]), []).append(row)
    return items


def summarise(rows: Iterable[Row]) -> Summary:
    """Return the figures of `rows`, those with an `error` left out."""
    answered = [row for row in rows if "error" not in row]
    items = by_item(answered)
    groups: dict[str, list[list[Row]]] = {}
    for samples in items.values():
        groups.setdefault(str(samples[0].get("subject", "")), []).append(samples)
    subjects = [_score(name, groups[name]) for name in sorted(groups)] if len(groups) > 1 else []
    most = min((len(samples) for samples in items.values()), default=0)
    voted = [vote for samples in items.values() if (vote := vote_of(samples)) is not None]
    return Summary(
        _score("", list(items.values())),
        subjects,
        [_pass_at(k, list(items.values())) for k in range(1, most + 1)],
        fmean(voted) if voted and most > 1 else None,
        len(answered),
        sum(row.get("stop") in CUT for row in answered),
        sum(row.get("answer") is None and not row.get("why") and not row["correct"] for row in answered),
        sum(int(row.get("tokens", 0)) for row in answered),
    )


def _score(name: str, items: Sequence[Sequence[Row]]) -> Score:
    shares = [fmean(float(row["correct"]) for row in samples) for samples in items]
    share = fmean(shares) if shares else 0.0
    if all(value in (0.0, 1.0) for value in shares):
        low, high = statistics.interval(round(sum(shares)), len(shares))
    else:
        low, high = statistics.mean_interval(shares)
    return Score(name, share, low, high, len(shares))


def _pass_at(k: int, items: Sequence[Sequence[Row]]) -> float:
    return fmean(statistics.pass_at(k, len(s), sum(float(row["correct"]) == 1.0 for row in s)) for s in items)


def vote_of(samples: Sequence[Row]) -> float | None:
    """Return the points of the answer that most samples of an item have, the first of those that tie."""
    answers = [str(row["answer"]) for row in samples if row.get("answer") is not None]
    if not answers:
        return None
    winner = Counter(answers).most_common(1)[0][0]
    return next(float(row["correct"]) for row in samples if str(row.get("answer")) == winner)


@dataclass(frozen=True)
class Difference:
    """Two runs on the items that both have. `only_first` were right in the first alone; `chance` is how
    likely so large a difference is by chance (McNemar's exact test)."""

    name: str
    items: int
    first: float
    second: float
    only_first: int
    only_second: int
    chance: float


def compare(first: Sequence[Row], second: Sequence[Row]) -> list[Difference]:
    """Return the differences of two runs: over all, then by subject where there are several. Empty where
    they share no item."""
    one, other = _means(first), _means(second)
    shared = [name for name in one if name in other]
    if not shared:
        return []
    subjects = {str(row["id"]): str(row.get("subject", "")) for row in first}
    names = sorted({subjects[name] for name in shared})
    differences = [_difference("", shared, one, other)]
    if len(names) > 1:
        differences += [
            _difference(name, [item for item in shared if subjects[item] == name], one, other)
            for name in names
        ]
    return differences


def _means(rows: Sequence[Row]) -> dict[str, float]:
    samples: dict[str, list[float]] = {}
    for row in rows:
        if "error" not in row and isinstance(points := row.get("correct", row.get("passed")), (int, float)):
            samples.setdefault(str(row["id"]), []).append(float(points))
    return {name: fmean(points) for name, points in samples.items()}


def _difference(
    name: str, items: Sequence[str], one: dict[str, float], other: dict[str, float]
) -> Difference:
    only_first = sum(one[item] >= 0.5 > other[item] for item in items)
    only_second = sum(other[item] >= 0.5 > one[item] for item in items)
    return Difference(
        name,
        len(items),
        fmean(one[item] for item in items),
        fmean(other[item] for item in items),
        only_first,
        only_second,
        statistics.mcnemar(only_first, only_second),
    )
