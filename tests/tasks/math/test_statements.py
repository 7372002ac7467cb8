"""Systems, functions by cases, sets of sets, statements: read as what they say, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.math import statements


def test_rows_of_a_system_are_its_equations() -> None:
    assert statements.rows(r"\begin{cases}x=1,\\y=2.\end{cases}") == ["x=1", "y=2."]
    assert statements.rows(r"\{\begin{array}{l}x=1\\y=2\end{array}") == ["x=1", "y=2"]
    assert statements.rows(r"x=1\\y=2") == ["x=1", "y=2"]


@pytest.mark.parametrize("other", [r"\begin{pmatrix}1\\2\end{pmatrix}", "x=1", r"1\\2", ""])
def test_what_is_no_system_has_no_rows(other: str) -> None:
    assert statements.rows(other) == []


def test_a_function_by_cases_has_a_condition_for_each_value() -> None:
    assert statements.cases(r"\begin{cases}x, & \text{if } x>0\\0 & \text{otherwise}\end{cases}") == [
        ("x", "x>0"),
        ("0", "otherwise"),
    ]
    assert statements.cases(r"\begin{aligned}x&=1\\y&=2\end{aligned}") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"A\cup B", r"B\cup A"),
        (r"\overline{A}\cap\overline{B}", r"(A\cup B)^c"),
        (r"p\Rightarrow q", r"\neg q\to\neg p"),
        (r"p\to q\to r", r"p\land q\to r"),
        (r"A\supset B", r"B\subset A"),
    ],
)
def test_one_thing_said_in_two_ways_is_one(one: str, other: str) -> None:
    assert statements.statement(one) == statements.statement(other) != ""


def test_sets_and_statements_are_two_things() -> None:
    assert statements.statement(r"A\cap B") != statements.statement(r"A\land B")


@given(st.text(alphabet=r"AB()^c\cuplandneg{} ", max_size=40))
def test_any_text_is_read_or_is_not(text: str) -> None:
    assert isinstance(statements.statement(text), str)
    assert isinstance(statements.rows(text), list)
