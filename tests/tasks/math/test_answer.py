"""Answers: which part of a solution is one, and which are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen_cli.tasks.math.answer import Judge, boxed


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{7} and then \boxed{8", "7"),
        (r"\boxed {x^{2^{3}}}", "x^{2^{3}}"),
        (r"\boxed{}", None),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_whole_box_is_the_answer(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18", "18.0"),
        ("$1,234.50", "1234.5"),
        (r"\$70000", "70000"),
        ("18 eggs", "18"),
        ("12元", "12"),
        ("90°", "90"),
        ("3/4", r"\frac{3}{4}"),
        (r"\frac{1}{2}", "0.5"),
        (r"50\%", "0.5"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        (r"\{1,2\}", r"\{2,1\}"),
        ("x=5", "5"),
        (r"18\text{ dollars}", "18"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
        ("27.0", "27"),
    ],
)
def test_the_same_mathematics_is_equal(judge: Judge, one: str, other: str) -> None:
    assert judge.same(one, other)
    assert judge.same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("18", "19"), ("2x", "2"), ("0.333", "1/3"), ("(1,2)", "(2,1)"), ("1000", "1,001"), ("x+1", "y+1")],
)
def test_other_mathematics_is_not(judge: Judge, one: str, other: str) -> None:
    assert not judge.same(one, other)


def test_an_answer_cannot_run_code_or_hang(judge: Judge) -> None:
    assert not judge.same("9^{9^{9^{9^{9}}}}", r"\frac{1}{2}")
    assert not judge.same("__import__('os').system('touch /tmp/qwen_escape')", "'''\"")
    assert judge.same(r"\frac{2}{4}", "1/2")  # and the judge still works


def test_equal_answers_are_one_group_the_largest_first(judge: Judge) -> None:
    assert judge.groups(["3", r"\frac{1}{2}", "0.5", "3.0", "1/2"]) == [[1, 2, 4], [0, 3]]
    assert judge.groups(["7", "8"]) == [[0], [1]]
    assert judge.groups([]) == []
