"""Answers are read in their own language: the same value as LaTeX and as Python prints it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import sympy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qwen_cli.tasks.math import equality, latex, program_value, units, values, words
from qwen_cli.tasks.math.expression import Unreadable, evaluate
from qwen_cli.tasks.math.values import Choice, Clock, Day, Many, Pieces, Quantity

_x, _y = sympy.symbols("x y")
_LEAVES = st.one_of(
    st.integers(-30, 30).map(sympy.Integer),
    st.fractions(-9, 9, max_denominator=30).map(lambda f: sympy.Rational(f.numerator, f.denominator)),
    st.sampled_from([_x, _y, sympy.pi, sympy.sqrt(2), sympy.E]),
)


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]),
        pairs.map(lambda p: p[0] * p[1]),
        pairs.map(lambda p: p[0] / p[1] if p[1] != 0 else p[0]),
        st.tuples(inner, st.integers(-3, 4)).map(lambda p: p[0] ** p[1] if p[0] != 0 else p[0]),
        inner.map(lambda e: sympy.sqrt(e**2 + 1)),
        inner.map(sympy.sin),
        inner.map(lambda e: sympy.log(e**2 + 2)),
        inner.map(sympy.Abs),
    )


_EXPRESSIONS = st.recursive(_LEAVES, _grown, max_leaves=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_EXPRESSIONS)
def test_an_expression_is_the_same_in_latex_and_in_python(expression: Any) -> None:
    written, printed = sympy.latex(expression), str(expression)
    one, other = latex.read(written), program_value.read(printed)
    assert values.same(one, other), (written, printed, one, other)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_EXPRESSIONS, st.sampled_from([1, sympy.Rational(1, 1000), _x, -1]))
def test_another_expression_is_not(expression: Any, more: Any) -> None:
    one, other = latex.read(sympy.latex(expression)), program_value.read(str(expression + more))
    assert not values.same(one, other), (expression, more)


_MARKS = (
    *"(){}[]<>=+-*/^_,.:;|!%$' 0123abxEi°",
    *(
        "\\frac",
        "\\sqrt",
        "\\pm",
        "\\cup",
        "\\cap",
        "\\le",
        "\\text{",
        "\\begin{pmatrix}",
        "\\approx",
        "\\pmod",
    ),
    *(
        "三",
        "万",
        "元",
        "负",
        "且",
        "第",
        "cm",
        "½",
        "²",
        "①",
        " and ",
        " or ",
        "half ",
        "C_",
        "0x",
        "mod",
        "!!",
    ),
    *(
        "'",
        '"',
        "\\overline{",
        "\\in ",
        "\\mathbb{R}",
        "\\ne ",
        "\\equiv ",
        "\\det",
        "minus ",
        "dozen",
        "noon",
    ),
)
_ANSWERS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(_MARKS), max_size=14).map("".join))


@settings(max_examples=400)
@example("0<0", "")
@given(_ANSWERS, _ANSWERS)
def test_no_answer_is_too_broken_and_both_ways_round_are_the_same(one: str, other: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        readings = latex.read(one), latex.read(other), program_value.read(other)
        assert values.same(readings[0], readings[1]) == values.same(readings[1], readings[0])
        assert values.same(readings[0], readings[2]) == values.same(readings[2], readings[0])
        assert not readings[0] or values.same(readings[0], readings[0])
        assert equality.same(one, other, False) == equality.same(other, one, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8:30 PM", Clock(1230, True)),
        ("5 March 2024", Day(2024, 3, 5)),
        ("(A)", Choice(frozenset("A"))),
        ("[0, 1)", Pieces(((0, True, 1, False),))),
        ("2 1/2", Quantity(sympy.Rational(5, 2))),
        ("1.234.567,5", Quantity(sympy.Rational("1234567.5"))),
        (r"0.1\overline{6}", Quantity(sympy.Rational(1, 6))),
        ("一百零三", Quantity(sympy.Integer(103))),
        ("twenty-one", Quantity(sympy.Integer(21))),
    ],
)
def test_a_reading(text: str, value: Any) -> None:
    assert value in latex.read(text)


@pytest.mark.parametrize(
    "text", ["9^{9^{9^9}}", "10^{10^{10}}", r"\frac{1}{10^{99999999}}", "999999!", "2^{20!06}"]
)
def test_what_nobody_can_compute_is_not_computed(text: str) -> None:
    assert not any(isinstance(value, Quantity) for value in latex.read(text))
    assert not equality.same(text, "1", printed=False)


@pytest.mark.parametrize(
    ("text", "measures"),
    [
        ("km/h", (("length", 1), ("time", -1))),
        ("meters per second squared", (("length", 1), ("time", -2))),
        ("square centimeters", (("length", 2),)),
        ("kg·m^2", (("length", 2), ("mass", 1))),
        ("平方厘米", (("length", 2),)),
        ("%", ()),
    ],
)
def test_a_unit(text: str, measures: tuple[tuple[str, int], ...]) -> None:
    assert measures in [unit.measures for unit in units.units(text)]


@pytest.mark.parametrize("text", ["x", "eggs", "", "pi", "hello world", "/", "m" * 100])
def test_no_unit(text: str) -> None:
    assert units.units(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("十二", 12),
        ("两百", 200),
        ("一亿三千万", 130_000_000),
        ("二〇二四", 2024),
        ("五点五", 5.5),
        ("三又二分之一", 3.5),
        ("百", 100),
    ],
)
def test_chinese_numerals(text: str, value: float) -> None:
    assert words.chinese(text) == sympy.Rational(str(value))


def test_a_plus_minus_is_two_answers() -> None:
    (found,) = latex.read(r"\pm 2")
    assert isinstance(found, Many)
    assert found.items == ((Quantity(sympy.Integer(2)),), (Quantity(sympy.Integer(-2)),))


@pytest.mark.parametrize(
    "formula",
    [
        r"e^{e^{e^{e^{e}}}}",
        r"\begin{vmatrix}a&b&c&d&e\\f&g&h&i&j\\k&l&m&n&o\\p&q&r&s&t\\u&v&w&x&y\end{vmatrix}",
    ],
)
def test_what_would_take_long_is_not_computed(formula: str) -> None:
    with pytest.raises(Unreadable):
        evaluate(formula)


def test_a_sum_of_a_million_terms_is_not_multiplied_out(monkeypatch: pytest.MonkeyPatch) -> None:
    expanded: list[Any] = []
    monkeypatch.setattr(values.sympy, "expand", lambda e: expanded.append(e) or e)
    a, b, c, d, e, f = sympy.symbols("a b c d e f")
    assert not values.equal((a + b + c + d + e + f) ** 39, (a + b + c + d + e - f) ** 39)
    assert values.equal(
        (a + b + c + d + e + f) ** 39, (a + b + c + d + e + f) ** 40 / (a + b + c + d + e + f)
    )
    assert not expanded


def test_an_inequality_of_a_high_degree_is_not_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sympy, "solve_univariate_inequality", lambda *_, **__: pytest.fail("solved"))
    assert latex.read("x^{50}+x^{49}+1>0")


def test_an_exponent_that_is_a_fraction_is_no_mark() -> None:
    assert not values.same(latex.read(r"x^{\frac12}"), latex.read(r"x^{\frac13}"))
    assert values.same(latex.read(r"x^{\frac12}"), latex.read(r"\sqrt{x}"))
