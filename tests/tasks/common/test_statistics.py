"""What a share of right answers tells."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.common import statistics


def test_the_interval_is_wilsons() -> None:
    # Newcombe (1998), Statistics in Medicine 17: 81 of 263 and 15 of 148, method 3.
    assert statistics.interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)
    assert statistics.interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-4)
    assert statistics.interval(0, 20)[0] == 0
    assert statistics.interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("k", "samples", "right", "chance"),
    [(1, 10, 3, 0.3), (10, 10, 1, 1.0), (2, 4, 1, 0.5), (5, 10, 0, 0.0), (2, 3, 2, 1.0)],
)
def test_pass_at_k_is_the_chance_that_one_of_k_is_right(
    k: int, samples: int, right: int, chance: float
) -> None:
    assert statistics.pass_at(k, samples, right) == pytest.approx(chance)


def test_pass_at_more_than_there_are_samples_is_none() -> None:
    with pytest.raises(ValueError, match="3 of 2 samples"):
        statistics.pass_at(3, 2, 1)


@pytest.mark.parametrize(
    ("first", "second", "chance"),
    # Two-sided binomial tests at one half (R: binom.test(1, 11), binom.test(5, 15), …).
    [(0, 0, 1.0), (1, 10, 0.01172), (10, 1, 0.01172), (5, 10, 0.30176), (4, 4, 1.0), (0, 6, 0.03125)],
)
def test_mcnemar_is_the_exact_test_on_both_sides(first: int, second: int, chance: float) -> None:
    assert statistics.mcnemar(first, second) == pytest.approx(chance, abs=1e-4)


def test_items_with_parts_of_a_point_have_an_interval_of_their_mean() -> None:
    low, high = statistics.mean_interval([0.25, 0.75] * 50)
    assert (low, high) == pytest.approx((0.451, 0.549), abs=1e-3)
    assert statistics.mean_interval([0.5]) == (0.0, 1.0)
