"""The answer of a solution: boxed, or said at its end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.math.extraction import boxed, final, stated


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{7} and then \boxed{8", "7"),
        (r"\boxed {x^{2^{3}}}", "x^{2^{3}}"),
        (r"\boxed{}", None),
        (r"\boxed{42}. So I have put it within \boxed{}.", "42"),
        (r"\boxed{42} and \boxed{ }", "42"),
        (r"\boxed 5", "5"),
        (r"so \boxed 42.", "42"),
        (r"\boxed12,345 dollars", "12,345"),
        (r"\boxed -3", "-3"),
        (r"\boxed x", "x"),
        (r"\boxed\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed\text{Yes}", r"\text{Yes}"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxedx is no command", None),
        (r"\boxed", None),
        (r"\boxed{1} \boxed", "1"),
        (r"{\boxed{4}", "4"),
        (r"\boxed{\{1, 2\}", None),
        (r"\boxed{a \\ b}", r"a \\ b"),
        (r"$\boxed{3}$ and $\boxed{5}$", "3, 5"),
        (r"\boxed{x=1}, \boxed{y=2}", "x=1, y=2"),
        (r"\boxed{3}, that is, \boxed{3}", "3"),
        ("\\boxed{3},\n\\boxed{5}", "5"),
        (r"\boxed{3} first, then \boxed{5}", "5"),
        (r"\boxed{8}. (I was to write \boxed{...}.)", "8"),
        (r"\boxed{8}, as \boxed{\text{your answer}}", "8"),
        (r"\boxed{8} \boxed{answer}", "8"),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_whole_box_is_the_answer(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So 6 * 7 = 42.\nThe answer is 42.", "42"),
        ("The final answer is: $\\frac{3}{4}$. I hope it is correct.", "$\\frac{3}{4}$"),
        ("**Answer:** 4.", "4"),
        ("**Final answer**: 3.5 hours", "3.5 hours"),
        ("The answer is $1,234.50.", "$1,234.50"),
        ("The correct answer is (B).", "(B)"),
        ("The answer is B, because 12 > 5.", "B"),
        ("所以答案是42。", "42"),
        ("答案：三分之二", "三分之二"),
        ("答：24元。", "24元"),
        ("答えは 42 です。", "42"),
        ("정답은 42입니다.", "42"),
        ("La réponse est 42.", "42"),
        ("Die Antwort ist 3,5.", "3,5"),
        ("Die Antwort lautet: 42", "42"),
        ("La respuesta es 42.", "42"),
        ("A resposta final é 42.", "42"),
        ("La risposta è 42.", "42"),
        ("Ответ: 42.", "42"),
        ("The answer is 7.\nNo, wait.\nThe answer is 8.", "8"),
        ("The answer is 7.\n\nLet us check.\nIt is.\nAnd that was all.\nGood.", None),
        ("The answer is not clear.", None),
        ("The answer is in the picture.", None),
        ("Let me find the answer.", None),
        ("", None),
    ],
)
def test_without_a_box_the_last_lines_say_the_answer(text: str, answer: str | None) -> None:
    assert stated(text) == answer
    assert final(text) == answer


def test_a_box_goes_before_what_is_said() -> None:
    assert final("\\boxed{5}\nThe answer is five.") == "5"


@given(
    st.lists(
        st.sampled_from([*"{}\\ $,1a.\n", "\\boxed", "\\boxed{", " and ", "answer is "]), max_size=30
    ).map("".join)
)
def test_no_solution_is_too_broken(text: str) -> None:
    found = final(text)
    assert found is None or found == found.strip()


def test_many_boxes_take_no_longer_than_their_length() -> None:
    started = time.process_time()
    assert boxed("\\boxed{" * 20_000 + "7}") == "7"
    assert time.process_time() - started < 5, "a minute where each is followed to the end"
