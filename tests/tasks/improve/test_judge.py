"""The verdict: figures that can be computed by hand, or that scipy gives too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from practising import Practising, sums
from scipy import stats

from qwen_cli.errors import UsageError
from qwen_cli.tasks.improve import judge
from qwen_cli.tasks.improve.asking import Asking, seed_of
from qwen_cli.tasks.improve.judge import Judged

HOW = Asking(samples=4, at_once=1)


def rows(right: str, *, boxed: bool = True, stop: str = "stop") -> list[dict[str, Any]]:
    text = r"\boxed{1}" if boxed else "It is 1"
    return [
        {"id": str(n), "sample": 0, "correct": float(mark == "+"), "answer": "1", "text": text, "tokens": 10,
         "stop": stop}
        for n, mark in enumerate(right)
    ]  # fmt: skip


def test_shares_have_wilsons_interval() -> None:
    judged = Judged(rows("+" * 82 + "-" * 118))
    whole = judged.greedy.whole
    exact = stats.binomtest(82, 200).proportion_ci(method="wilson")
    assert (whole.low, whole.high) == pytest.approx((exact.low, exact.high), abs=1e-6)
    assert judged.figures()["pass@1"] == 0.41


def test_a_difference_has_mcnemars_chance() -> None:
    before, after = (
        Judged(rows("+" * 9 + "-" * 3 + "-" * 20)),
        Judged(rows("-" * 2 + "+" * 7 + "+" * 15 + "-" * 8)),
    )
    found = judge.compare(before, after)
    assert (found.only_first, found.only_second) == (2, 15)
    assert found.chance == pytest.approx(stats.binomtest(2, 17, 0.5).pvalue)


def test_pass_at_k_is_unbiased() -> None:
    samples = [
        {**row, "sample": number, "correct": float(number < right)}
        for row, right in zip(rows("+++"), (0, 1, 4), strict=True)
        for number in range(4)
    ]
    drawn = Judged(rows("+++"), samples).sampled
    assert drawn
    # One of two of four: 0 where none is right, 1 - C(3,2)/C(4,2) where one is, 1 where all are.
    assert drawn.at[1] == pytest.approx((0 + 0.5 + 1) / 3)
    assert drawn.at[0] == pytest.approx(5 / 12)
    assert Judged(rows("+++"), samples).figures()["sampled pass@4"] == 0.6667


def test_the_form_and_what_was_cut_are_counted() -> None:
    judged = Judged(
        [*rows("+++"), *[{**row, "id": "x" + row["id"]} for row in rows("-", boxed=False, stop="length")]]
    )
    assert judged.formed == 0.75
    assert judged.greedy.cut == 1
    assert judged.figures()["in a box"] == 0.75


@pytest.mark.parametrize(
    ("before", "after", "kept"), [("+-", "-+", True), ("++", "+-", False), ("--", "+-", True)]
)
def test_an_adapter_is_kept_unless_it_is_worse(before: str, after: str, kept: bool) -> None:
    assert judge.is_kept(Judged(rows(before)), Judged(rows(after))) is kept


def test_likeliest_answers_and_samples_are_asked_for_and_kept(tmp_path: Path) -> None:
    engine = Practising(50)
    judged = judge.judge(engine, sums(6), HOW, tmp_path, {"model": "none"})
    assert (len(judged.rows), len(judged.samples)) == (6, 24)
    assert engine.asks == 30
    assert judge.judge(engine, sums(6), HOW, tmp_path, {"model": "none"}) == judged
    assert engine.asks == 30
    assert judge.read(tmp_path) == judged
    with pytest.raises(UsageError, match="model was 'none', here it is 'other'"):
        judge.judge(engine, sums(6), HOW, tmp_path, {"model": "other"})


def test_a_sample_has_a_seed_of_its_own_whatever_was_drawn_before() -> None:
    seeds = {seed_of(seed, id, number) for seed in range(3) for id in "abc" for number in range(8)}
    assert len(seeds) == 72
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(0, "sum-10", 3) == seed_of(0, "sum-10", 3)


def test_a_model_that_can_think_is_asked_without_and_one_that_must_is_refused(tmp_path: Path) -> None:
    asked = []

    class Thinking(Practising):
        def chat(self, messages: Any, **rest: Any) -> Any:
            asked.append(rest["thinking"])
            return super().chat(messages, **rest)

    engine = Thinking(50)
    engine.capabilities = replace(engine.capabilities, thinking="switch")
    judge.judge(engine, sums(2), HOW, tmp_path, {})
    assert set(asked) == {False}
    engine.capabilities = replace(engine.capabilities, thinking="always")
    with pytest.raises(UsageError, match="none always thinks, and its thoughts would not be learned"):
        judge.judge(engine, sums(2), HOW, tmp_path / "other", {})
