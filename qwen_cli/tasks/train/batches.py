"""Which sequences make a step, and how they are laid out to be computed: in rectangles, or where they begin
alike (worked examples, a long system prompt, several answers to a question) as a tree, which has what they
share once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_cli.tasks.train.sequences import Tokens

if TYPE_CHECKING:
    import numpy as np

_WINDOW = 16  # steps whose sequences are put in order of length: they are alike, and padding is little
_SHARED = 0.25  # of a sequence, from which on it pays to look it up instead of computing it again
# Models whose every layer attends to all that a mask allows, at the positions it is given.
_PLAIN = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe")


@dataclass(frozen=True)
class Layout:
    """Tokens that are computed together: `ids` (rows, width; int64). Each of `targets` (n; int64) is
    predicted at one of `predictors` (n; int64, into the flat ids). In a tree, which is one row, `positions`
    (width; int64) say how far a token is from its beginning and `sees` (width, width; bool) to which tokens
    each attends; elsewhere each row is one sequence, and padding stands behind it, where no token looks."""

    ids: np.ndarray
    predictors: np.ndarray
    targets: np.ndarray
    positions: np.ndarray | None = None
    sees: np.ndarray | None = None


def epoch(lengths: Sequence[int], budget: int, seed: int, number: int) -> list[list[int]]:
    """Return the steps of epoch `number`: which sequences, of these `lengths`, each computes together.

    A step holds at most `budget` tokens, at least one sequence. Their order is chosen by `seed` and `number`;
    the sequences of a step are of like lengths, which are put in order in windows of some steps.
    """
    chance = random.Random(f"order {seed} {number}")  # noqa: S311
    order = list(range(len(lengths)))
    chance.shuffle(order)
    steps: list[list[int]] = []
    for window in _grouped(order, lengths, budget * _WINDOW):
        steps += _grouped(sorted(window, key=lambda at: -lengths[at]), lengths, budget)
    chance.shuffle(steps)
    return steps


def rectangles(sequences: Sequence[Tokens], at_once: int) -> list[list[Tokens]]:
    """Return `sequences`, longest first, in groups of at most `at_once` tokens, padding included; a longer
    one is a group of its own."""
    groups: list[list[Tokens]] = []
    for one in sorted(sequences, key=len, reverse=True):
        if groups and len(groups[-1][0]) * (len(groups[-1]) + 1) <= at_once:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def can_share(config: Mapping[str, Any]) -> bool:
    """Return whether a model with this `config.json` computes a tree rightly: each of its layers attends to
    what a mask says (no recurrent layers, no windows), at the positions it is given."""
    return config.get("model_type") in _PLAIN and not config.get("use_sliding_window")


def layouts(sequences: Sequence[Tokens], at_once: int, *, share: bool) -> list[Layout]:
    """Return how `sequences` are computed, at most `at_once` tokens together where they are no longer. With
    `share` those that begin alike become trees."""
    groups = _alike(sequences, at_once) if share else [[one] for one in sequences]
    alone = [group[0] for group in groups if len(group) == 1]
    trees = [tree(group) for group in groups if len(group) > 1]
    return trees + [rectangle(group) for group in rectangles(alone, at_once)]


def rectangle(sequences: Sequence[Tokens]) -> Layout:
    """Return `sequences`, the longest first, as the rows of a rectangle."""
    import numpy as np

    width = len(sequences[0])
    ids = np.zeros((len(sequences), width), np.int64)
    counts = np.zeros((len(sequences), width), bool)
    for row, one in enumerate(sequences):
        ids[row, : len(one)], counts[row, : len(one)] = one.ids, one.counts
    (predicted,) = counts.ravel().nonzero()
    return Layout(ids, predicted - 1, ids.ravel()[predicted])


def tree(sequences: Sequence[Tokens]) -> Layout:
    """Return `sequences`, in an order in which those that begin alike are neighbours, in one row: each begins
    with what it has in common with the one before, up to what counts, and adds the rest."""
    import numpy as np

    shared = [0, *(_common(*pair) for pair in itertools.pairwise(sequences))]
    own = [len(one) - common for one, common in zip(sequences, shared, strict=True)]
    width = sum(own)
    ids, positions = np.zeros((1, width), np.int64), np.zeros(width, np.int64)
    sees = np.zeros((width, width), bool)
    predictors, targets = [], []
    path, end = np.zeros(0, np.int64), 0
    for one, common, added in zip(sequences, shared, own, strict=True):
        begin, end = end, end + added
        ids[0, begin:end], positions[begin:end] = one.ids[common:], np.arange(common, len(one))
        sees[begin:end, path[:common]] = True
        sees[begin:end, begin:end] = np.tri(added, dtype=bool)
        path = np.concatenate(
            [path[:common], np.arange(begin, end)]
        )  # where in the row each of its tokens is
        (predicted,) = one.counts.nonzero()
        predictors.append(path[predicted - 1])
        targets.append(one.ids[predicted].astype(np.int64))
    return Layout(ids, np.concatenate(predictors), np.concatenate(targets), positions, sees)


def _alike(sequences: Iterable[Tokens], at_once: int) -> list[list[Tokens]]:
    """Return `sequences` in groups, each in order, whose members share enough with the one before and are no
    more than `at_once` tokens together."""
    groups: list[list[Tokens]] = []
    size = 0
    for one in sorted(sequences, key=lambda one: one.ids.tolist()):
        common = _common(groups[-1][-1], one) if groups else 0
        if common >= _SHARED * len(one) and size + len(one) - common <= at_once:
            groups[-1].append(one)
            size += len(one) - common
        else:
            groups.append([one])
            size = len(one)
    return groups


def _common(one: Tokens, other: Tokens) -> int:
    """Return how many tokens both begin with before the first of either that counts."""
    most = min(int(one.counts.argmax()), int(other.counts.argmax()))
    differ = one.ids[:most] != other.ids[:most]
    return int(differ.argmax()) if differ.any() else most


def _grouped(order: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    groups: list[list[int]] = []
    room = 0
    for at in order:
        if not groups or lengths[at] > room:
            groups.append([])
            room = most
        groups[-1].append(at)
        room -= lengths[at]
    return groups
