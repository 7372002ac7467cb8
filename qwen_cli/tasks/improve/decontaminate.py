"""Problems that are too near to one of a test: a model that has practised them would be measured wrongly.

The rule is Qwen2.5-Math's (technical report, arXiv:2409.12122, section 2): thirteen words in a row of a test,
after normalising, and more than 0.6 of the words of the shorter one in the same order. The second keeps what
only has a usual sentence in common ("What is the value of …"). The same problem goes too, if it is short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli.errors import UsageError
from qwen_cli.models.hub import datasets
from qwen_cli.tasks.eval import benches
from qwen_cli.tasks.improve.problem import Problem, normalised, words

GRAM = 13
RATIO = 0.6


@dataclass(frozen=True)
class Protected:
    """A text of a test. `source` is the name of its file or bench."""

    source: str
    id: str
    text: str


@dataclass(frozen=True)
class Match:
    """What a problem is too near to. `ratio` is the share of the shorter one's words in the same order."""

    test: Protected
    ratio: float
    same: bool = False

    @property
    def why(self) -> str:
        """Return it in a few words."""
        where = f"{self.test.source}, {self.test.id}"
        if self.same:
            return f"the same as {where}"
        return f"{GRAM} words in a row and {self.ratio:.0%} of all in the order of {where}"


class ProtectedTexts:
    """Texts of tests, to be compared with many problems."""

    def __init__(self, tests: Iterable[Protected]) -> None:
        self._tests = list(tests)
        self._words = [words(test.text) for test in self._tests]
        self._same: dict[str, int] = {}
        self._grams: dict[tuple[str, ...], list[int]] = {}
        for number, test in enumerate(self._tests):
            self._same.setdefault(normalised(test.text), number)
            for gram in set(_grams(self._words[number])):
                self._grams.setdefault(gram, []).append(number)

    def __len__(self) -> int:
        return len(self._tests)

    def match(self, text: str) -> Match | None:
        """Return the first test that `text` is too near to; `None` where there is none."""
        if (same := self._same.get(normalised(text))) is not None:
            return Match(self._tests[same], 1.0, same=True)
        said = words(text)
        near = {number for gram in _grams(said) for number in self._grams.get(gram, ())}
        for number in sorted(near):
            ratio = ordered_share(said, self._words[number], above=RATIO)
            if ratio is not None:
                return Match(self._tests[number], ratio)
        return None


def split(
    problems: Sequence[Problem], tests: ProtectedTexts
) -> tuple[list[Problem], list[tuple[Problem, Match]]]:
    """Return the problems that are clean, and the others with what they are too near to."""
    clean, dropped = [], []
    for problem in problems:
        match = tests.match(problem.problem)
        if match is None:
            clean.append(problem)
        else:
            dropped.append((problem, match))
    return clean, dropped


def ordered_share(one: Sequence[str], other: Sequence[str], *, above: float) -> float | None:
    """Return the longest common subsequence's share of the shorter text, if it is more than `above`.

    It cannot be longer than the words that both have, in whatever order: where these are too few, the
    sequence is not computed.
    """
    least = min(len(one), len(other))
    if not least:
        return None
    shared = sum((Counter(one) & Counter(other)).values())
    if shared <= above * least:
        return None
    length = longest_common(one, other)
    return length / least if length > above * least else None


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, a bit for each word of `one` (Hyyrö, 2004, "Bit-
    parallel LCS-length computation revisited")."""
    places: dict[str, int] = {}
    for index, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << index
    every = (1 << len(one)) - 1
    open_bits = every
    for word in other:
        taken = open_bits & places.get(word, 0)
        open_bits = ((open_bits + taken) | (open_bits - taken)) & every
    return len(one) - open_bits.bit_count()


def of_problems(source: str, problems: Iterable[Any]) -> list[Protected]:
    """Return problems (anything with `id` and `problem`) as texts of a test."""
    return [Protected(source, problem.id, problem.problem) for problem in problems]


def of_file(path: Path) -> list[Protected]:
    """Return the texts of a bench's file, in whatever of their formats it is. Raises `UsageError`."""
    for bench in benches.BENCHES:
        if bench.kind in ("choice", "program", "problem"):
            try:
                return [
                    Protected(path.name, item.id, _text(item)) for item in benches.read(bench, path).items
                ]
            except UsageError as fault:
                if not path.is_file():
                    raise UsageError(f"there is no file {path}") from None
                refused = fault
    raise refused


def of_this_machine(complain: Callable[[str], None]) -> list[Protected]:
    """Return the texts of every bench whose data is on this machine: what `qwen eval` has fetched. One that
    cannot be read is told to `complain`."""
    tests: list[Protected] = []
    for bench in benches.BENCHES:
        if bench.data is None:
            continue
        for path in datasets.present(bench.data.repo, bench.data.pattern):
            try:
                tests += [
                    Protected(bench.name, item.id, _text(item)) for item in benches.read(bench, path).items
                ]
            except UsageError as fault:
                complain(f"{bench.name} is not compared with: {fault}")
    return tests


def _text(item: Any) -> str:
    """Return what a bench asks: the question of choices, the text of a problem, what a program is to do."""
    return str(next(getattr(item, name) for name in ("problem", "question", "asked") if hasattr(item, name)))


def _grams(said: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(said[i : i + GRAM]) for i in range(len(said) - GRAM + 1)]
