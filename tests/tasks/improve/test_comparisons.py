"""What a reward model compares: solutions in their form, each once, of problems that have right and wrong
ones."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.improve.comparisons import comparisons
from qwen_cli.tasks.improve.problem import Problem

A, B, C = (Problem(name, f"What is {name}?", "1") for name in "abc")


def row(problem: Problem, text: str, correct: bool, stop: str = "stop") -> dict[str, Any]:
    return {"id": problem.id, "correct": float(correct), "text": rf"{text} \boxed{{1}}", "stop": stop}


def test_problems_without_both_are_left_out_and_counted() -> None:
    rows = [
        *(row(A, "one", True), row(A, "two", False), row(A, "two ", False)),
        *(row(B, "one", True), row(B, "two", True)),
        *(row(C, "one", False), {**row(C, "", True), "text": "It is 1"}, row(C, "on and on", True, "length")),
    ]
    found = comparisons([A, B, C], rows)
    (one,) = found.problems
    assert (one.problem, one.right, one.wrong) == (A, (r"one \boxed{1}",), (r"two \boxed{1}",))
    assert (found.always, found.never, found.unformed) == (1, 1, 2)
    assert found.words == (
        "1 pairs of a right and a wrong solution of 1 problems; left out: 1 problems always right, 1 never, "
        "2 solutions without a box"
    )


@pytest.mark.parametrize(
    ("right", "wrong", "taken"), [(7, 1, (5, 1)), (8, 8, (3, 3)), (1, 9, (1, 5)), (2, 2, (2, 2))]
)
def test_at_most_six_are_compared_as_many_right_as_wrong_ones(
    right: int, wrong: int, taken: tuple[int, int]
) -> None:
    rows = [row(A, f"r{n}", True) for n in range(right)] + [row(A, f"w{n}", False) for n in range(wrong)]
    (one,) = comparisons([A], rows).problems
    assert (len(one.right), len(one.wrong)) == taken
    assert one.pairs == taken[0] * taken[1]


def test_the_same_problem_is_not_compared_twice() -> None:
    again = Problem("again", "What is  a?", "1")
    rows = [row(one, f"{n}", n > 0) for one in (A, again, B) for n in range(2)]
    assert [one.problem.id for one in comparisons([A, again, B], rows).problems] == ["a", "b"]


def test_where_nothing_can_be_compared_it_is_told_what_was_seen() -> None:
    with pytest.raises(
        QwenError, match="no problem has a right and a wrong solution: 1 have right ones alone, 1"
    ):
        comparisons([A, B], [row(A, "one", True), row(B, "two", False)])
    with pytest.raises(UsageError, match="a sample of 'b', which is none of the 1 problems"):
        comparisons([A], [row(A, "one", True), row(B, "two", False)])
