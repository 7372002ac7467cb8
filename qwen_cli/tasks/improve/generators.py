"""Families of problems whose answers are right by construction, for a model that is to practise from nothing.

A family draws numbers, puts them into one of several sentences, and computes the answer with `fractions` or
`datetime`. The same seed gives the same problems.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import count
from random import Random
from typing import TypeAlias

from qwen_cli.errors import UsageError
from qwen_cli.tasks.improve.problem import Problem, normalised

Made: TypeAlias = "tuple[str, str]"
"""A problem's text and its answer."""
_TRIES = 2_000  # in a row that give nothing new, after which a family has no more


@dataclass(frozen=True)
class Family:
    """A kind of problem. `title` says in a few words what is practised."""

    name: str
    title: str
    make: Callable[[Random], Made]


def generate(
    names: Sequence[str], wanted: int, seed: int, *, avoid: Collection[str] = frozenset()
) -> list[Problem]:
    """Return `wanted` problems, as many of each family of `names`; none of them twice, and none whose
    normalised text is in `avoid`. Raises `UsageError` for a name that no family has, and where a family has
    no more."""
    seen = set(avoid)
    drawing = [_of(family, seed, seen) for family in chosen(names)]
    return [next(drawing[number % len(drawing)]) for number in range(wanted)] if drawing else []


def chosen(names: Sequence[str]) -> list[Family]:
    """Return the families of these names, in the order of `FAMILIES`; "all" is each of them. Raises
    `UsageError`."""
    known = {family.name for family in FAMILIES}
    if unknown := [name for name in names if name not in known | {"all"}]:
        raise UsageError(
            f"there is no family of problems {unknown[0]!r}", f"there are: {', '.join(sorted(known))}, all"
        )
    return [family for family in FAMILIES if "all" in names or family.name in names]


def _of(family: Family, seed: int, seen: set[str]) -> Iterator[Problem]:
    random = Random(f"{seed}:{family.name}")  # noqa: S311 practice, no secret
    tries = 0
    while tries < _TRIES:
        text, answer = family.make(random)
        tries += 1
        if normalised(text) not in seen:
            seen.add(normalised(text))
            tries = 0
            digest = hashlib.sha256(text.encode()).hexdigest()[:10]
            yield Problem(f"{family.name}-{digest}", text, answer, family.name)
    raise UsageError(
        f"the family {family.name} has no more problems than {len(seen):,} that are different",
        "ask for fewer, or for more families",
    )


def exact(value: Fraction | int) -> str:
    """Return a number as an answer is written: whole, as a decimal where that ends, else as a fraction."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        sign = "-" if value < 0 else ""
        return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    places = next(n for n in count(1) if (value * 10**n).denominator == 1)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


# -- linear equations ---------------------------------------------------------------------------------------

_LETTERS = "xyzntkmpw"


def _linear(random: Random) -> Made:
    letter = random.choice(_LETTERS)
    value = random.choice([n for n in range(-12, 21) if n])
    a, b = random.randint(2, 9), random.randint(-20, 20)
    kind = random.randrange(4)
    if kind == 0:
        equation = f"{a}{letter}{_signed(b)} = {exact(a * value + b)}"
    elif kind == 1:
        c = random.choice([n for n in range(2, 12) if n != a])
        equation = f"{a}{letter}{_signed(b)} = {c}{letter}{_signed(a * value + b - c * value)}"
    elif kind == 2:
        c = random.randint(2, 15)
        equation = f"{a}({letter}{_signed(b or 1)}){_signed(c)} = {exact(a * (value + (b or 1)) + c)}"
    else:
        c = random.choice([n for n in range(2, 10) if n != a])
        d = random.choice([n for n in range(-9, 10) if n])
        rest: int = a * (value + d) - c * value
        equation = f"{a}({letter}{_signed(d)}) = {c}{letter}{_signed(rest)}"
    said = random.choice(
        (
            f"Solve for {letter}: {equation}",
            f"Find the value of {letter} if {equation}.",
            f"The number {letter} satisfies {equation}. What is {letter}?",
            f"What must {letter} be so that {equation}?",
        )
    )
    return said, exact(value)


def _signed(value: int) -> str:
    """Return a term as it stands behind another; nothing for zero."""
    return f" {'-' if value < 0 else '+'} {exact(abs(value))}" if value else ""


# -- chains of units ----------------------------------------------------------------------------------------

# Each unit with how many of the next one it has.
_CHAINS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("weeks", 7), ("days", 24), ("hours", 60), ("minutes", 60), ("seconds", 1)),
    (("kilometers", 1000), ("meters", 100), ("centimeters", 10), ("millimeters", 1)),
    (("miles", 1760), ("yards", 3), ("feet", 12), ("inches", 1)),
    (("gallons", 4), ("quarts", 2), ("pints", 2), ("cups", 1)),
    (("tons", 1000), ("kilograms", 1000), ("grams", 1)),
)
_ODD = ("flims", "gorps", "pends", "tralls", "quibs", "zents", "morls", "dacks", "veeps", "lonts")


def _units(random: Random) -> Made:
    return random.choice((_known_units, _odd_units, _odd_units))(random)


def _known_units(random: Random) -> Made:
    chain = random.choice(_CHAINS)
    first = random.randrange(len(chain) - 1)
    last = random.randrange(first + 1, len(chain))
    many = random.randint(2, 15)
    middle = random.randrange(first + 1, last + 1)
    more = random.randint(2, 40)
    total = many * _between(chain, first, last) + more * _between(chain, middle, last)
    large, small, wanted = chain[first][0], chain[middle][0], chain[last][0]
    return random.choice(
        (
            f"How many {wanted} are {many} {large} and {more} {small}?",
            f"Write {many} {large} and {more} {small} in {wanted}.",
            f"A total of {many} {large} plus {more} {small} is how many {wanted}?",
        )
    ), exact(total)


def _between(chain: Sequence[tuple[str, int]], first: int, last: int) -> int:
    product = 1
    for _, each in chain[first:last]:
        product *= each
    return product


def _odd_units(random: Random) -> Made:
    a, b, c = random.sample(_ODD, 3)
    one, two, many = random.randint(2, 12), random.randint(2, 15), random.randint(2, 20)
    more = random.randint(1, 30)
    total = many * one * two + more * two
    return random.choice(
        (
            f"There are {one} {b} in each of the {a}, and {two} {c} in each of the {b}. "
            f"How many {c} are {many} {a} and {more} {b}?",
            f"Of the {b}, {one} make one of the {a}; of the {c}, {two} make one of the {b}. "
            f"Turn {many} {a} plus {more} {b} into {c}.",
            f"At a market one of the {a} is worth {one} {b}, and one of the {b} is worth {two} {c}. "
            f"What are {many} {a} and {more} {b} worth in {c}?",
        )
    ), exact(total)


# -- dates --------------------------------------------------------------------------------------------------

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)


def _dates(random: Random) -> Made:
    return random.choice((_weekday, _days_between, _day_later))(random)


def _weekday(random: Random) -> Made:
    start, days = random.randrange(7), random.randint(8, 120)
    later = random.random() < 0.6
    answer = _WEEKDAYS[(start + (days if later else -days)) % 7]
    way, name = ("after", _WEEKDAYS[start]) if later else ("before", _WEEKDAYS[start])
    return random.choice(
        (
            f"Today is {name}. What day of the week is {days} days {way} today?",
            f"What day of the week is it {days} days {way} a {name}?",
            f"A meeting is {days} days {way} a {name}. On which day of the week is it?",
        )
    ), answer


def _days_between(random: Random) -> Made:
    first = date(random.randint(1990, 2039), 1, 1) + timedelta(days=random.randrange(300))
    last = first + timedelta(days=random.randint(15, 150))
    return random.choice(
        (
            f"How many days is it from {_said(first)} to {_said(last)}?",
            f"A trip begins on {_said(first)} and ends on {_said(last)}. How many days later is that?",
            f"By how many days does {_said(last)} come after {_said(first)}?",
        )
    ), str((last - first).days)


def _day_later(random: Random) -> Made:
    first = date(random.randint(1990, 2039), 1, 1) + timedelta(days=random.randrange(330))
    days = random.randint(10, 75)
    last = first + timedelta(days=days)
    return random.choice(
        (
            f"A parcel is sent on {_said(first)} and takes {days} days. On which day of the month "
            "does it come?",
            f"Which date is {days} days after {_said(first)}? Give only the day of the month, as a number.",
        )
    ), str(last.day)


def _said(day: date) -> str:
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"


# -- percentages --------------------------------------------------------------------------------------------


def _percent(random: Random) -> Made:
    return random.choice((_share_of, _share_left, _changed, _changed_twice, _what_percent, _before_change))(
        random
    )


def _share_of(random: Random) -> Made:
    rate, whole = random.choice(range(5, 100, 5)), 20 * random.randint(2, 60)
    return random.choice(
        (f"What is {rate}% of {whole}?", f"A farmer sells {rate}% of {whole} eggs. How many eggs is that?")
    ), exact(Fraction(whole * rate, 100))


def _share_left(random: Random) -> Made:
    rate, whole = random.choice(range(5, 100, 5)), 20 * random.randint(2, 60)
    thing = random.choice(("students", "apples", "tickets", "books", "cars", "seats"))
    return random.choice(
        (
            f"Of {whole} {thing}, {rate}% are new. How many {thing} are not new?",
            f"There are {whole} {thing}, and {rate}% of them are gone. How many {thing} are left?",
        )
    ), exact(Fraction(whole * (100 - rate), 100))


def _changed(random: Random) -> Made:
    rate, price = random.choice(range(5, 80, 5)), 20 * random.randint(2, 50)
    thing = random.choice(("coat", "bicycle", "lamp", "phone", "desk", "tent"))
    down = random.random() < 0.5
    result = Fraction(price) * (100 - rate if down else 100 + rate) / 100
    word = "reduced" if down else "raised"
    return random.choice(
        (
            f"A {thing} costs ${price}. Its price is {word} by {rate}%. What is the new price in dollars?",
            f"The price of a {thing} was ${price} before it was {word} by {rate}%. "
            "How many dollars does it cost now?",
        )
    ), exact(result)


def _changed_twice(random: Random) -> Made:
    first, second = random.choice((10, 20, 25, 30, 40, 50)), random.choice((10, 20, 25, 30, 40, 50))
    start = 200 * random.randint(1, 12)
    result = Fraction(start) * (100 + first) * (100 - second) / 10_000
    place = random.choice(("town", "club", "school", "forest", "library"))
    return random.choice(
        (
            f"A {place} counts {start} in its first year. The count rises by {first}%, then falls by "
            f"{second}%. What is it at the end?",
            f"Start with {start}, add {first}% of it, then take {second}% off the result. What is left?",
        )
    ), exact(result)


def _what_percent(random: Random) -> Made:
    rate, whole = random.choice(range(5, 100, 5)), 20 * random.randint(2, 40)
    part = exact(Fraction(whole * rate, 100))
    return random.choice(
        (
            f"What percent of {whole} is {part}? Give the number alone.",
            f"{part} of {whole} seats are taken. What percent is that? Give the number alone.",
        )
    ), str(rate)


def _before_change(random: Random) -> Made:
    rate, before = random.choice((10, 20, 25, 30, 40, 50, 60, 75)), 20 * random.randint(2, 40)
    after = exact(Fraction(before) * (100 - rate) / 100)
    return random.choice(
        (
            f"After a discount of {rate}% a ticket costs ${after}. What did it cost before, in dollars?",
            f"A number falls by {rate}% and is {after} then. What was the number?",
        )
    ), exact(before)


# -- word problems of two steps -----------------------------------------------------------------------------

_NAMES = ("Anna", "Ben", "Carla", "David", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jun", "Kofi", "Lena")
_THINGS = ("pencils", "marbles", "stickers", "cards", "shells", "coins", "beads", "stamps")
_BOXES = ("boxes", "bags", "jars", "drawers", "packs", "tins")


def _steps(random: Random) -> Made:
    return random.choice((_boxes_less, _shop, _shared, _trip, _wages, _compared))(random)


def _boxes_less(random: Random) -> Made:
    name, thing, box = random.choice(_NAMES), random.choice(_THINGS), random.choice(_BOXES)
    boxes, each = random.randint(3, 15), random.randint(6, 40)
    gone = random.randint(5, boxes * each - 5)
    return random.choice(
        (
            f"{name} has {boxes} {box} of {each} {thing} each and gives away {gone}. "
            f"How many {thing} are left?",
            f"There are {each} {thing} in each of {boxes} {box}. {name} takes {gone} of the {thing}. "
            "How many stay?",
        )
    ), exact(boxes * each - gone)


def _shop(random: Random) -> Made:
    name = random.choice(_NAMES)
    first, second = random.sample(("pens", "cups", "caps", "maps", "keys", "belts", "plums", "cakes"), 2)
    a, b, c, d = (random.randint(2, 19) for _ in range(4))
    bill = a * b + c * d
    paid = bill + random.randint(3, 60)
    return random.choice(
        (
            f"{name} buys {a} {first} at ${b} each and {c} {second} at ${d} each, and pays with ${paid}. "
            "How many dollars come back?",
            f"With ${paid}, {name} pays for {a} {first} (${b} each) and {c} {second} (${d} each). "
            "How many dollars are left?",
        )
    ), exact(paid - bill)


def _shared(random: Random) -> Made:
    name, thing = random.choice(_NAMES), random.choice(_THINGS)
    friends, each, kept = random.randint(3, 12), random.randint(4, 30), random.randint(5, 50)
    total = friends * each + kept
    return random.choice(
        (
            f"{name} has {total} {thing}, keeps {kept} and shares the others equally among "
            f"{friends} friends. How many {thing} does each friend get?",
            f"From {total} {thing}, {kept} are put aside. The rest goes in equal parts to {friends} "
            "children. How many does each child have?",
        )
    ), exact(each)


def _trip(random: Random) -> Made:
    a, b, c, d = random.randint(30, 95), random.randint(2, 6), random.randint(30, 95), random.randint(2, 6)
    thing = random.choice(("train", "car", "bus", "truck", "van"))
    return random.choice(
        (
            f"A {thing} goes {a} miles an hour for {b} hours, then {c} miles an hour for {d} hours. "
            "How many miles is that in all?",
            f"For {b} hours a {thing} drives at {a} km/h and for {d} hours at {c} km/h. "
            "How many kilometers does it drive?",
        )
    ), exact(a * b + c * d)


def _wages(random: Random) -> Made:
    name = random.choice(_NAMES)
    rate, hours, weeks, spent = (
        random.randint(8, 30), random.randint(5, 38), random.randint(2, 9), random.randint(20, 70),
    )  # fmt: skip
    return random.choice(
        (
            f"{name} earns ${rate} an hour and works {hours} hours a week for {weeks} weeks. "
            f"After spending ${spent}, how many dollars remain?",
            f"For {weeks} weeks {name} works {hours} hours each week at ${rate} an hour, and spends "
            f"${spent}. How many dollars are there at the end?",
        )
    ), exact(rate * hours * weeks - spent)


def _compared(random: Random) -> Made:
    one, two = random.sample(_NAMES, 2)
    thing = random.choice(_THINGS)
    base, times, more = random.randint(5, 60), random.randint(2, 9), random.randint(2, 40)
    return random.choice(
        (
            f"{one} has {base} {thing}. {two} has {times} times as many and {more} more. "
            f"How many {thing} do they have together?",
            f"{two} owns {more} {thing} more than {times} times what {one} owns. {one} owns {base}. "
            f"How many {thing} is that for both?",
        )
    ), exact(base + base * times + more)


FAMILIES: tuple[Family, ...] = (
    Family("linear", "linear equations in one unknown", _linear),
    Family("units", "chains of units, real ones and made up", _units),
    Family("dates", "weekdays, and days between dates", _dates),
    Family("percent", "percentages, forwards and backwards", _percent),
    Family("steps", "word problems of two steps", _steps),
)
