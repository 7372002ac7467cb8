"""Which sequences make a step, and how they are laid out to be computed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.train import batches
from qwen_cli.tasks.train.schedule import learning_rate
from qwen_cli.tasks.train.sequences import Tokens

SEQUENCES = st.lists(  # of two words: many begin alike
    st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.lists(st.integers(0, 1), min_size=1)),
    min_size=1,
    max_size=12,
)
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


@given(SEQUENCES, st.integers(1, 60))
def test_layouts_have_every_sequence_and_predict_what_counts_of_it(
    rows: list[tuple[list[int], list[int]]], at_once: int
) -> None:
    sequences = [
        Tokens(np.array(asked + said, np.int32), np.arange(len(asked + said)) >= len(asked), 1)
        for asked, said in rows
    ]
    layouts = batches.layouts(sequences, at_once, share=True)

    learned = [pair for layout in layouts for pair in predictions(layout)]
    wanted = [(tuple(one.ids[:at]), one.ids[at]) for one in sequences for at in one.counts.nonzero()[0]]
    assert sorted(learned) == sorted(wanted)
    assert all(layout.ids.size <= max(at_once, *map(len, sequences)) for layout in layouts)


def predictions(layout: batches.Layout) -> list[tuple[tuple[int, ...], int]]:
    """Return each target of a layout with the tokens that its predictor looks at."""
    ids, width = layout.ids.ravel(), layout.ids.shape[1]
    found = []
    for at, target in zip(layout.predictors, layout.targets, strict=True):
        if layout.sees is None or layout.positions is None:
            seen = np.arange(at - at % width, at + 1)
        else:
            (seen,) = layout.sees[at].nonzero()
            assert list(layout.positions[seen]) == list(range(len(seen)))
        found.append((tuple(ids[seen]), target))
    return found


def test_what_sequences_begin_with_is_computed_once() -> None:
    examples = list(range(350))
    sequences = [
        Tokens(np.array([*examples, 1_000 + row, *range(40)], np.int32), np.arange(391) > 350, 1)
        for row in range(5)
    ]

    assert [layout.ids.size for layout in batches.layouts(sequences, 1_024, share=True)] == [350 + 5 * 41]
    assert sum(layout.ids.size for layout in batches.layouts(sequences, 1_024, share=False)) == 5 * 391


def test_few_tokens_in_common_are_not_worth_a_tree() -> None:
    sequences = [
        Tokens(np.array([*range(20), 1_000 + row, *range(100)], np.int32), np.arange(121) > 60, 1)
        for row in range(3)
    ]

    (layout,) = batches.layouts(sequences, 1_024, share=True)

    assert layout.ids.shape == (3, 121)
    assert layout.sees is None


def test_models_with_windows_or_recurrent_layers_have_no_trees() -> None:
    assert batches.can_share({"model_type": "qwen3", "use_sliding_window": False})
    assert not batches.can_share({"model_type": "qwen2", "use_sliding_window": True})
    assert not batches.can_share({"model_type": "qwen3_5"})


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
