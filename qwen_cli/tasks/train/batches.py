"""Which sequences make a step, and in which rectangles they are computed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from qwen_cli.tasks.train.sequences import Tokens

_WINDOW = 16  # steps whose sequences are put in order of length: they are alike, and padding is little


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
