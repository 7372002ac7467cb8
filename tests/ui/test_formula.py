"""What is printed of a formula means the formula: it is read back and compared with the value."""

from __future__ import annotations

import json
import random
import string
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import FUNCTIONS, SEPARATORS, Unclear, call, read

from qwen_cli.ui.formula import as_text

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "formulas.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
_SYMBOLS = {"arrow_": "→", "equal_": "=", "comma_": ",", "mod_": "mod", "pm": "pm", "deg": "deg"}
_CALLS = {"SUM": "Sum", "PRODUCT": "Product", "INTEGRAL": "Integral", "lim": "lim", "prime": "prime"}
_CALLS |= {"LIST": "list)", "LIST2": "list]", "SET": "list}", "list_close": "list)"}
_NAMES: dict[str, Any] = {
    **{letter: sympy.Symbol(letter) for letter in string.ascii_letters + "αβγδθλφΔ"},
    **{name: sympy.Symbol(text) for name, text in _SYMBOLS.items()},
    **{name: sympy.Function(text) for name, text in _CALLS.items()},
    "oo": sympy.oo,
    "pi": sympy.pi,
    "log": sympy.log,
}


def expected(part: str) -> Any:
    return part if part in SEPARATORS or part == "mod" else sympy.sympify(part, _NAMES)


def same(one: Any, other: Any) -> bool:
    """Whether both are one expression: at some points, and for what is not computed in its parts."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    if one == other:
        return True
    if one.atoms(sympy.core.function.AppliedUndef) or other.atoms(sympy.core.function.AppliedUndef):
        return sympy.simplify(one - other) == 0
    names = sorted(one.free_symbols | other.free_symbols, key=str)
    for seed in range(3):
        chance = random.Random(seed)
        point = {name: Fraction(chance.randint(11, 99), chance.randint(11, 99)) for name in names}
        at = {name: sympy.Rational(value.numerator, value.denominator) for name, value in point.items()}
        values = [complex(value.subs(at).evalf(30)) for value in (one, other)]
        if abs(values[0] - values[1]) > 1e-9 * max(1, abs(values[0])):
            return False
    return True


@pytest.mark.parametrize("row", [r for r in ROWS if r["value"]], ids=lambda row: row["latex"])
def test_the_text_of_a_formula_has_its_value(row: dict[str, Any]) -> None:
    text = as_text(row["latex"])
    assert text is not None
    found, wanted = read(text), [expected(part) for part in row["value"]]
    assert len(found) == len(wanted), text
    assert all(same(a, b) for a, b in zip(found, wanted, strict=True)), f"{text} is read as {found}"


@pytest.mark.parametrize("row", [r for r in ROWS if r["value"] is None], ids=lambda row: row["latex"])
def test_what_is_not_computed_is_written_so(row: dict[str, Any]) -> None:
    assert as_text(row["latex"]) == row["text"]


# --- random formulas ------------------------------------------------------------------------------------

_NUMBERS = st.integers(1, 40).map(lambda n: (str(n), sympy.Integer(n)))
_LETTERS = st.sampled_from("abkmnxyz").map(lambda name: (name, sympy.Symbol(name)))


def _bracketed(latex: str) -> str:
    return rf"\left({latex}\right)"


def _grown(inner: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    """Formulas with formulas in them: LaTeX as it is written, and the value."""

    def power(parts: tuple[tuple[str, Any], int]) -> tuple[str, Any]:
        (base, value), n = parts
        return rf"{_bracketed(base)}^{{{n}}}", value**n

    def letter_power(parts: tuple[tuple[str, Any], tuple[str, Any]]) -> tuple[str, Any]:
        (base, value), (exponent, by) = parts
        return rf"{base}^{{{exponent}}}", value**by

    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: (f"{p[0][0]} + {_bracketed(p[1][0])}", p[0][1] + p[1][1])),
        pairs.map(lambda p: (f"{p[0][0]}-{_bracketed(p[1][0])}", p[0][1] - p[1][1])),
        pairs.map(lambda p: (_bracketed(p[0][0]) + _bracketed(p[1][0]), p[0][1] * p[1][1])),
        pairs.map(lambda p: (rf"\frac{{{p[0][0]}}}{{{p[1][0]}}}", p[0][1] / (p[1][1]))),
        pairs.map(lambda p: (rf"\dfrac{{{p[0][0]}}}{{{p[1][0]}}}y", p[0][1] / p[1][1] * sympy.Symbol("y"))),
        pairs.map(lambda p: (rf"x\frac{{{p[0][0]}}}{{{p[1][0]}}}", p[0][1] / p[1][1] * sympy.Symbol("x"))),
        pairs.map(
            lambda p: (rf"{_bracketed(p[0][0])} \div \frac{{{p[1][0]}}}{{3}}", 3 * p[0][1] / p[1][1]),
        ),
        inner.map(lambda p: (rf"\sqrt{{{p[0]}}}", sympy.sqrt(p[1]))),
        inner.map(lambda p: (rf"x^2\sqrt{{{p[0]}}}y", sympy.sqrt(p[1]) * sympy.sympify("x**2*y"))),
        inner.map(lambda p: (rf"\sin\left({p[0]}\right)", sympy.sin(p[1]))),
        inner.map(lambda p: (rf"\left|{p[0]}\right|", sympy.Abs(p[1]))),
        st.tuples(inner, st.integers(2, 4)).map(power),
        st.tuples(_LETTERS, inner).map(letter_power),
    )


@settings(max_examples=300)
@given(st.recursive(st.one_of(_NUMBERS, _LETTERS), _grown, max_leaves=6))
def test_random_formulas_are_read_back_as_themselves(formula: tuple[str, Any]) -> None:
    latex, value = formula
    if value.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.AccumBounds):
        return
    text = as_text(latex)
    if text is None:
        assert latex.count("|") > 2, latex  # bars within bars
        return
    (found,) = read(text)
    assert numerically(found, value), f"{latex} -> {text} -> {found}"


def numerically(one: Any, other: Any) -> bool:
    names = {
        name: sympy.Rational(7 + 3 * n, 5 + n) / 4
        for n, name in enumerate(sorted((one + other).free_symbols, key=str))
    }
    values = [complex(value.subs(names).evalf(20, maxn=60)) for value in (one, other)]
    return abs(values[0] - values[1]) <= 1e-6 * max(1.0, abs(values[0])) or any(v != v for v in values)


_COMMANDS = r"\frac \sqrt \left \right \begin{pmatrix} \end{pmatrix} \text \overline \binom \pmod \not \sum"
_COMMANDS += r" \sin \\ \bar \mathbb \begin \boxed \cdot \le ² 中"
_SCRAPS = st.lists(
    st.sampled_from([*r"{}[]()^_&%$#~\|/!'.,+-=<>0123abx ", *_COMMANDS.split()]), max_size=24
).map("".join)


@settings(max_examples=1500)
@given(st.one_of(st.text(max_size=40), _SCRAPS))
def test_no_text_is_too_broken(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = as_text(source)
    assert text is None or "\\" not in text, "half converted"


@pytest.mark.parametrize(
    "source",
    [
        "{" * 3000,
        "(" * 4000,
        r"\frac" * 900,
        "^" * 4000,
        r"\left(" * 700,
        "x" * 6000,
        "{" * 2000 + "}" * 2000,
        "|" * 4999,
    ],
)
def test_a_formula_without_end_costs_little(source: str) -> None:
    text = as_text(source)
    assert text is None or text == source


def test_the_reader_refuses_what_could_be_read_in_two_ways() -> None:
    """Or the tests above would say little."""
    for text in ("1/2x", "√2x", "sin x/2", "x³√2", "sin(x)²", "2 1/2x", "x+", "(x", "1/2·"):
        with pytest.raises(Unclear):
            read(text)
    assert "sin" in FUNCTIONS
    assert call("f", 1) != call("f", 2)
