"""Answers in sentences: of what a value is said, and which bound."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.math import latex
from qwen_cli.tasks.math.sentences import bound, named


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ("Bob: 5", "Bob", "5"),
        ("Total cost: $45", "Totalcost", "$45"),
        ("95% CI: (2.1, 3.5)", "95CI", "(2.1, 3.5)"),
        ("She has 12 apples left in the basket", "She", "12 apples"),
        ("The probability is 1/6", "Theprobability", "1/6"),
        ("maximum value is 5", "max", "5"),
        ("length 8 cm", "length", "8 cm"),
        ("鸡15只", "鸡", "15只"),
    ],
)
def test_what_a_value_is_of_stands_before_it(said: str, name: str, value: str) -> None:
    found, values = named(said, said)
    assert (found, values[-1]) == (name, value)


@pytest.mark.parametrize(
    "said", ["There are not 12 apples", "minus 5", "12 apples", "第3天", "减少5个", "3:2", ""]
)
def test_other_answers_name_nothing(said: str) -> None:
    assert named(said, said) == ("", [])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("at least 5", ("", ">=", "5")),
        ("k is at most 3", ("k", "<=", "3")),
        ("x is less than -2", ("x", "<", "-2")),
        ("大于5", ("", ">", "5")),
        ("x不超过10", ("x", "<=", "10")),
        ("least 5", None),
    ],
)
def test_a_bound_in_words(said: str, expected: tuple[str, str, str] | None) -> None:
    assert bound(said) == expected


def test_parts_with_names_are_matched_by_them() -> None:
    from qwen_cli.tasks.math.values import same

    two = latex.read("Alice: 3, Bob: 5")
    assert same(two, latex.read("Bob has 5 and Alice has 3"))
    assert not same(two, latex.read("Alice: 5, Bob: 3"))
    assert same(two, latex.read("3 and 5")), "what is not said is no difference"
