"""Which sequences make a step, and in which rectangles they are computed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.train import batches
from qwen_cli.tasks.train.schedule import learning_rate
from qwen_cli.tasks.train.sequences import Tokens

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=200)


def tokens(length: int) -> Tokens:
    return Tokens(np.zeros(length, np.int32), np.ones(length, bool), 1)


@given(LENGTHS, st.integers(1, 400), st.integers(0, 3))
def test_each_sequence_is_in_one_step_within_the_budget(lengths: list[int], budget: int, seed: int) -> None:
    steps = batches.epoch(lengths, budget, seed, 0)

    assert sorted(at for step in steps for at in step) == list(range(len(lengths)))
    assert all(len(step) == 1 or sum(lengths[at] for at in step) <= budget for step in steps)
    assert steps == batches.epoch(lengths, budget, seed, 0)


def test_each_epoch_has_an_order_of_its_own() -> None:
    assert len({str(batches.epoch([10] * 50, 50, 0, number)) for number in range(4)}) == 4


@given(LENGTHS, st.integers(1, 400))
def test_rectangles_hold_every_sequence_within_the_limit(lengths: list[int], most: int) -> None:
    groups = batches.rectangles([tokens(length) for length in lengths], most)

    assert sorted(len(one) for group in groups for one in group) == sorted(lengths)
    assert all(len(group) == 1 or len(group) * len(group[0]) <= most for group in groups)
    assert all(len(one) <= len(group[0]) for group in groups for one in group)


def test_padding_is_little() -> None:
    lengths = [int(x) for x in np.random.default_rng(0).integers(20, 400, 600)]
    steps = batches.epoch(lengths, 2_048, 0, 0)
    computed = sum(len(group) * len(group[0]) for step in steps
                   for group in batches.rectangles([tokens(lengths[at]) for at in step], 1_024))  # fmt: skip

    assert computed < 1.1 * sum(lengths)


def test_the_learning_rate_rises_and_falls_to_a_tenth() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(100)]

    assert rates[0] == 0.1
    assert rates[9] == max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 <= rates[-1] < 0.102
    assert learning_rate(0, 1, 1.0, 0.0) == 1.0
