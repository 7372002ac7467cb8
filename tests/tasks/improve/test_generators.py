"""Families of problems: every sentence is read again, and solved by other means than it was made with."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_cli.errors import UsageError
from qwen_cli.tasks.improve import generators
from qwen_cli.tasks.improve.decontaminate import ProtectedTexts, of_problems
from qwen_cli.tasks.improve.generators import FAMILIES, exact, generate
from qwen_cli.tasks.improve.problem import normalised

# In the smallest unit of each kind.
SIZES = {
    "weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1,
    "kilometers": 1_000_000, "meters": 1_000, "centimeters": 10, "millimeters": 1,
    "miles": 63_360, "yards": 36, "feet": 12, "inches": 1,
    "gallons": 16, "quarts": 4, "pints": 2, "cups": 1,
    "tons": 1_000_000, "kilograms": 1_000, "grams": 1,
}  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = [date(2000, month, 1).strftime("%B") for month in range(1, 13)]


def julian(month: str, day: str, year: str) -> int:
    """The number of a day (Fliegel and van Flandern, 1968)."""
    y, m, d = int(year), MONTHS.index(month) + 1, int(day)
    a = (14 - m) // 12
    y, m = y + 4800 - a, m + 12 * a - 3
    return d + (153 * m + 2) // 5 + 365 * y + y // 4 - y // 100 + y // 400 - 32045


def day_of_month(number: int) -> int:
    """The same backwards (Richards, 2013)."""
    f = number + 1401 + (4 * number + 274277) // 146097 * 3 // 4 - 38
    h = 5 * ((4 * f + 3) % 1461 // 4) + 2
    return h % 153 // 5 + 1


def root(text: str) -> sympy.Expr:
    """The solution of the equation in a text."""
    (equation,) = re.findall(r"[-+() \w]*\d[-+() \w]*= [-+() \w]*\w", text.split(":")[-1])
    equation = re.sub(r"^.*\b(?:if|satisfies|that)\b", "", equation)
    left, right = (
        sympy.sympify(re.sub(r"(\d)\s*([a-z(])", r"\1*\2", side.strip())) for side in equation.split("=")
    )
    (value,) = sympy.solve(sympy.Eq(left, right))
    return value


def weekday(start: str, days: str, way: str) -> str:
    return DAYS[(DAYS.index(start) + (int(days) if way == "after" else -int(days))) % 7]


D = r"(January|February|March|April|May|June|July|August|September|October|November|December) (\d+), (\d+)"
N = r"([\d.]+)"


def units(text: str) -> object:
    many, large, more, small = re.search(r"(\d+) (\w+) (?:and|plus) (\d+) (\w+)", text).groups()  # type: ignore[union-attr]
    others = [word for word in re.findall(r"\w+", text) if word in SIZES and word not in (large,)]
    wanted = next((word for word in others if word != small), small)
    return Fraction(int(many) * SIZES[large] + int(more) * SIZES[small], SIZES[wanted])


def solved(text: str) -> str:
    """What a text asks for, as its answer is written."""
    value = _solved(text)
    if isinstance(value, str):
        return value
    number = sympy.Rational(value)
    return exact(Fraction(int(number.p), int(number.q)))


def _solved(text: str) -> object:
    for pattern, solve in DATES:
        if found := re.fullmatch(pattern, text):
            return solve(*found.groups())
    for pattern, expression in SENTENCES:
        if found := re.match(pattern.replace("#", r"([\d.]+)").replace("THING", r"\w+"), text):
            numbers = dict(zip("abcde", map(sympy.Rational, found.groups()), strict=False))
            return sympy.sympify(expression, locals=numbers)
    if SIZES.keys() & set(re.findall(r"\w+", text)):
        return units(text)
    return root(text)


DATES: list[tuple[str, Callable[..., object]]] = [
    (r"Today is (\w+)\. What day of the week is (\d+) days (after|before) today\?", weekday),
    (r"What day of the week is it (\d+) days (after|before) a (\w+)\?", lambda n, way, s: weekday(s, n, way)),
    (r"A meeting is (\d+) days (after|before) a (\w+)\. .*", lambda n, way, s: weekday(s, n, way)),
    (rf"How many days is it from {D} to {D}\?", lambda *d: julian(*d[3:]) - julian(*d[:3])),
    (rf"A trip begins on {D} and ends on {D}\. .*", lambda *d: julian(*d[3:]) - julian(*d[:3])),
    (rf"By how many days does {D} come after {D}\?", lambda *d: julian(*d[:3]) - julian(*d[3:])),
    (rf"A parcel is sent on {D} and takes (\d+) .*", lambda *d: day_of_month(julian(*d[:3]) + int(d[3]))),
    (rf"Which date is (\d+) days after {D}\? .*", lambda n, *d: day_of_month(julian(*d) + int(n))),
]
# The numbers of a sentence (#) in their order are a, b, c, d, e.
SENTENCES = [
    ("There are # THING in each of the THING, and # THING in each .* are # THING and # THING", "c*a*b + d*b"),
    ("Of the THING, # make one .*, # make one of .* Turn # THING plus # THING", "c*a*b + d*b"),
    ("At a market .* worth # THING, .* worth # THING. What are # THING and # THING", "c*a*b + d*b"),
    ("What is #% of #[?]", "a*b/100"),
    ("A farmer sells #% of # eggs", "a*b/100"),
    ("Of # THING, #% are new[.] How many THING are not new", "a - a*b/100"),
    ("There are # THING, and #% of them are gone", "a - a*b/100"),
    ("A THING costs [$]#[.] Its price is reduced by #%", "a - a*b/100"),
    ("A THING costs [$]#[.] Its price is raised by #%", "a + a*b/100"),
    ("The price of a THING was [$]# before it was reduced by #%", "a - a*b/100"),
    ("The price of a THING was [$]# before it was raised by #%", "a + a*b/100"),
    ("A THING counts # in .* rises by #%, then falls by #%", "(a + a*b/100) * (1 - c/100)"),
    ("Start with #, add #% of it, then take #% off", "(a + a*b/100) * (1 - c/100)"),
    ("What percent of # is #[?]", "100*b/a"),
    ("# of # seats are taken", "100*a/b"),
    ("After a discount of #% a ticket costs [$]#[.] ", "b / (1 - a/100)"),
    ("A number falls by #% and is # then", "b / (1 - a/100)"),
    ("THING has # THING of # THING each and gives away #[.]", "a*b - c"),
    ("There are # THING in each of # THING[.] THING takes # of", "a*b - c"),
    ("THING buys # THING at [$]# each and # THING at [$]# each, and pays with [$]#[.]", "e - a*b - c*d"),
    ("With [$]#, THING pays for # THING [(][$]# each[)] and # THING [(][$]# each", "a - b*c - d*e"),
    ("THING has # THING, keeps # and shares .* among # friends", "(a - b)/c"),
    ("From # THING, # are put aside.* in equal parts to # children", "(a - b)/c"),
    ("A THING goes # miles an hour for # hours, then # miles an hour for # hours", "a*b + c*d"),
    ("For # hours a THING drives at # km/h and for # hours at # km/h", "a*b + c*d"),
    ("THING earns [$]# an hour and works # hours a week for # weeks.* spending [$]#, ", "a*b*c - d"),
    ("For # weeks THING works # hours each week at [$]# an hour, and spends [$]#[.]", "a*b*c - d"),
    ("THING has # THING[.] THING has # times as many and # more", "a + a*b + c"),
    ("THING owns # THING more than # times what .* owns[.] THING owns #[.]", "c + c*b + a"),
]


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_every_answer_is_what_another_solver_finds(family: str) -> None:
    for problem in generate([family], 120, seed=11):
        assert solved(problem.problem) == problem.answer, problem.problem


def test_a_seed_gives_the_same_problems_and_another_gives_others() -> None:
    first, again = generate(["all"], 50, seed=1), generate(["all"], 50, seed=1)
    other = generate(["all"], 50, seed=2)
    assert first == again
    assert {p.problem for p in first}.isdisjoint(p.problem for p in other)


def test_no_problem_comes_twice_nor_one_that_is_to_be_avoided() -> None:
    known = generate(["all"], 300, seed=1)
    texts = [normalised(p.problem) for p in known]
    assert len(set(texts)) == len({p.id for p in known}) == 300
    rest = generate(["all"], 300, seed=1, avoid=texts)
    assert {normalised(p.problem) for p in rest}.isdisjoint(texts)


def test_families_have_equal_shares_and_several_sentences() -> None:
    made = generate(["all"], 500, seed=3)
    for family in FAMILIES:
        own = [p for p in made if p.family == family.name]
        assert len(own) == 100
        assert len({re.sub(r"\d+|[A-Z]\w+", "#", p.problem)[:20] for p in own}) >= 3


def test_problems_of_a_family_are_not_taken_for_those_of_a_test() -> None:
    tests = ProtectedTexts(of_problems("held-out", generate(["all"], 200, seed=1)))
    near = [p for p in generate(["all"], 400, seed=2) if tests.match(p.problem)]
    assert len(near) <= 20  # those that have most of their numbers in common, too


def test_an_unknown_family_and_one_that_is_used_up_are_told() -> None:
    with pytest.raises(UsageError, match=r"no family of problems 'algebra'\. There are: dates, linear"):
        generate(["algebra"], 5, seed=0)
    small = generators.Family("coin", "", lambda random: (f"Toss {random.randrange(3)}", "1"))
    with pytest.raises(UsageError, match="the family coin has no more problems"):
        list(generators._of(small, 0, set()))


@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=400))
@settings(max_examples=200, deadline=None)
def test_an_exact_number_is_read_back(value: Fraction) -> None:
    text = exact(value)
    fraction = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", text)
    assert Fraction(fraction) == value
