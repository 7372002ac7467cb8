"""What an answer can be, and when two are the same.

An answer has several readings where it can be read in several ways (`1,234` is a number and a list); two
answers are the same where a reading of one equals a reading of the other. Runs in the sandbox (see
answer).
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import sympy

from qwen_cli.tasks.math.units import Unit

_DIGITS = 60  # of values that are compared as exact
_CLOSE = sympy.Float("1e-9")  # relative error of a number that was written with all digits of a float
_NOISE = sympy.Float("1e-12")  # what a float is off zero after a calculation
_PERIODS = re.compile("[kmnlzZN]")
ANY_WHOLE = sympy.Symbol("any whole number")
_CONSTANTS = re.compile(r"[CcK]_?[0-9]?")
_PARAMETERS = frozenset(("t", "s", "r", "u", "k", "c", "lambda", "mu", "alpha"))
_MOST_CONSTANTS = 3
_FUNCTION = re.compile(r"[A-Za-z]'*\([a-z]\)|y'*|[A-Za-z]'+")
_OPPOSITES = (
    *(
        ("north", "south"),
        ("east", "west"),
        ("left", "right"),
        ("up", "down"),
        ("more", "less"),
        ("more", "fewer"),
    ),
    *(
        ("profit", "loss"),
        ("gain", "loss"),
        ("increase", "decrease"),
        ("above", "below"),
        ("before", "after"),
    ),
    *(
        ("faster", "slower"),
        ("ahead", "behind"),
        ("older", "younger"),
        ("taller", "shorter"),
        ("heads", "tails"),
    ),
    *(("early", "late"), ("clockwise", "counterclockwise"), ("upward", "downward"), ("greater", "smaller")),
)
_MEASURES = frozenset("只个头辆本支条匹张件名位棵朵台把双袋箱盒瓶颗块")
_INDEXED = re.compile("(?<=^[A-Za-z])_?[0-9]$")
_WHOLE = frozenset("kmn")  # letters that stand for integers
_MOST_SYMBOLS = 12
_MOST_EXPANDED, _MOST_TERMS = 40, 2_000  # degree and terms of a polynomial that is multiplied out


@dataclass(frozen=True)
class Quantity:
    """A number or an expression, with or without a unit. Long decimals in it are `sympy.Float`."""

    value: Any
    unit: Unit | None = None


@dataclass(frozen=True)
class Many:
    """Several answers. `kind`: "bare" (only commas between them, in any order), "set", "tuple", "brackets"
    (an ordered list in LaTeX), "list" (as Python prints it: a set, a tuple or a vector) or "ratio"."""

    items: tuple[Readings, ...]
    kind: str


@dataclass(frozen=True)
class Assigned:
    """`name` = what it is. A name of several letters is a word, and says nothing."""

    name: str
    value: Readings


@dataclass(frozen=True)
class Pieces:
    """Numbers on a line: pieces (from, with it, to, with it) in order, that do not touch. `name` is the
    variable's, where there is one."""

    parts: tuple[Part, ...]
    name: str = ""


@dataclass(frozen=True)
class Relation:
    """`difference` is =, >, >= or != zero."""

    difference: Any
    sign: str


@dataclass(frozen=True)
class Grid:
    """A matrix of expressions."""

    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Clock:
    """A time of day in minutes. `half` is false where a. m. or p. m. is not said, but could be."""

    minutes: int
    half: bool


@dataclass(frozen=True)
class Day:
    year: int | None
    month: int
    day: int


@dataclass(frozen=True)
class Choice:
    """Letters of a multiple choice, and what is written behind a single one."""

    letters: frozenset[str]
    value: Readings = ()


@dataclass(frozen=True)
class Words:
    text: str


Part: TypeAlias = "tuple[Any, bool, Any, bool]"
"""A part of the line: from, with it, to, with it."""
Value: TypeAlias = "Quantity | Many | Assigned | Pieces | Relation | Grid | Clock | Day | Choice | Words"
Readings: TypeAlias = "tuple[Value, ...]"
_Kept = TypeVar("_Kept", bound="Value")


def same(one: Readings, other: Readings) -> bool:
    """Return whether a reading of `one` is a reading of `other`."""
    return any(_equal(a, b) or _equal(b, a) for a in one for b in other)


def _equal(a: Value, b: Value) -> bool:
    if isinstance(a, Assigned):
        return _assigned(a, b)
    if isinstance(a, Many):
        return _many(a, b)
    if isinstance(a, Choice):
        return _chosen(a, b)
    if isinstance(a, Quantity):
        return isinstance(b, Quantity) and _quantities(a, b)
    if isinstance(a, Grid):
        single = len(a.rows) == 1 and len(a.rows[0]) == 1 and isinstance(b, Quantity)
        return same((Quantity(a.rows[0][0]),), (b,)) if single else isinstance(b, Grid) and _grids(a, b)
    if isinstance(a, Pieces):
        return isinstance(b, Pieces) and _pieces(a, b)
    if isinstance(a, Relation):
        return isinstance(b, Relation) and a.sign == b.sign and (a == b or _proportional(a, b))
    if isinstance(a, Clock):
        return isinstance(b, Clock) and _clocks(a, b)
    return a == b


def _assigned(a: Assigned, b: Value) -> bool:
    if isinstance(b, Assigned):
        named = any(len(name) > 1 and name.isalpha() for name in (a.name, b.name))
        # A derivative is another than its function.
        functions = a.name.count("'") == b.name.count("'") and all(
            _FUNCTION.fullmatch(name) for name in (a.name, b.name)
        )
        indexed = _stem(a.name) == b.name or a.name == _stem(b.name)  # x for x_1
        if {_extreme(a.name), _extreme(b.name)} == {"max", "min"} or _inverse(a.name, b.name):
            return False
        return (a.name == b.name or named or functions or indexed) and same(a.value, b.value)
    return not isinstance(b, Choice) and same(a.value, (b,))


def _inverse(one: str, other: str) -> bool:
    """Return whether two functions are of each other: y'(x) and x'(y)."""
    letters = [re.sub("[^A-Za-z]", "", name) for name in (one, other)]
    return len(letters[0]) == 2 and letters[0] == letters[1][::-1] != letters[1] and "(" in one + other


def _extreme(name: str) -> str:
    """Return max or min where that is what `name` says."""
    found = re.match("max|min|最[大小]", name.lower())
    return {"最大": "max", "最小": "min"}.get(found[0], found[0]) if found else ""


def _stem(name: str) -> str:
    """Return the letter of a name with a number as its index (x of x_1), and a_n as a(n)."""
    return re.sub(r"^([A-Za-z])_([a-z])$", r"\1(\2)", _INDEXED.sub("", name))


def _chosen(a: Choice, b: Value) -> bool:
    if isinstance(b, Choice):
        if a.value and b.value and not same(a.value, b.value):
            return False
        return a.letters == b.letters
    if isinstance(b, Many):  # ['A', 'B', 'D']
        chosen = [next((r for r in item if isinstance(r, Choice)), None) for item in b.items]
        letters = [c.letters for c in chosen if c is not None and not c.value and len(c.letters) == 1]
        if letters and len(letters) == len(b.items) > 1:
            return a.letters == frozenset().union(*letters)
    return bool(a.value) and not isinstance(b, Words) and same(a.value, (b,))


def _many(a: Many, b: Value) -> bool:
    if isinstance(b, Many) and (renamed := _same_parameter(a, b)):
        b = renamed
    if isinstance(b, Grid):
        return _as_grid(a, b)
    if isinstance(b, Pieces) and a.kind == "set":
        return not a.items and not b.parts
    if not isinstance(b, Many):
        alone = len(a.items) == 1
        return alone and same(a.items[0], (b,))
    if "ratio" in (a.kind, b.kind):
        return a.kind == b.kind and _ratios(a, b)
    kinds = {a.kind, b.kind}
    if len(a.items) == 1 != len(b.items) and a.kind in ("list", "set"):
        return same(a.items[0], (b,))
    names = [_variables(m) for m in (a, b)]
    if ("tuple" in kinds and any(len(set(n)) < len(n) for n in names)) or (
        "set" in kinds and any(len(set(map(_stem, n))) > 1 for n in names)
    ):
        return False  # x = 1 or x = 2 is no point, x = 1 and y = 2 no set
    if "set" in kinds and "tuple" not in kinds:
        return _within(a.items, b.items) and _within(b.items, a.items)
    if len(a.items) != len(b.items) or kinds == {"brackets", "tuple"}:
        return False
    if kinds & {"tuple", "brackets"}:
        return "set" not in kinds and all(map(same, a.items, b.items))
    one, other = [[_called(item) for item in m.items] for m in (a, b)]
    if "" not in one and len(set(one)) == len(one) and set(one) == set(other):
        order = [other.index(name) for name in one]  # which name has which value
        return all(same(item, b.items[at]) for item, at in zip(a.items, order, strict=True))
    return _matched(a.items, b.items)


def _variables(many: Many) -> list[str]:
    """Return the names of what is assigned in a list."""
    assigned = [next((r.name for r in item if isinstance(r, Assigned)), "") for item in many.items]
    return [name for name in assigned if name]


def _called(readings: Readings) -> str:
    """Return what a part of an answer is said to be of: `Bob: 5` of Bob, `15 chickens` of chickens."""
    names = [r.name for r in readings if isinstance(r, Assigned)]
    names += [r.unit.name for r in readings if isinstance(r, Quantity) and r.unit is not None]
    name = next(filter(None, names), "")
    name = _extreme(name) or name
    if len(name) > 1 and name[0] in _MEASURES:
        return name[1:]  # the chickens of 15只鸡
    return re.sub(r"(?<=[a-z]{3})s$|\W", "", name.casefold()) if len(name) > 2 else name


def _within(inner: Sequence[Readings], outer: Sequence[Readings]) -> bool:
    return all(any(same(one, other) for other in outer) for one in inner)


def _matched(one: Sequence[Readings], other: Sequence[Readings]) -> bool:
    """Return whether both have the same elements, each as often."""
    left = list(other)
    for readings in one:
        index = next((n for n, candidate in enumerate(left) if same(readings, candidate)), None)
        if index is None:
            return False
        del left[index]
    return not left


def _as_grid(a: Many, b: Grid) -> bool:
    """Return whether a list is a matrix: numbers a column or a row, lists the rows of one."""
    column = all(len(row) == 1 for row in b.rows)
    line = [row[0] for row in b.rows] if column else b.rows[0] if len(b.rows) == 1 else ()
    listed = line and len(a.items) == len(line) and a.kind in ("tuple", "list", "brackets")
    if listed and all(map(same, a.items, [(Quantity(cell),) for cell in line])):
        return True
    rows = [next((r for r in readings if isinstance(r, Many)), None) for readings in a.items]
    if a.kind == "set" or len(rows) != len(b.rows) or not rows:
        return False
    return all(
        row is not None
        and len(row.items) == len(cells)
        and all(same(item, (Quantity(cell),)) for item, cell in zip(row.items, cells, strict=True))
        for row, cells in zip(rows, b.rows, strict=True)
    )


def _ratios(a: Many, b: Many) -> bool:
    numbers = [
        [next((r.value for r in item if isinstance(r, Quantity)), None) for item in m.items] for m in (a, b)
    ]
    if len(numbers[0]) != len(numbers[1]) or None in numbers[0] + numbers[1]:
        return False
    (first, *_), (other, *_) = numbers
    return all(equal(x * other, y * first) for x, y in zip(*numbers, strict=True))


def _grids(a: Grid, b: Grid) -> bool:
    shapes = [[len(row) for row in grid.rows] for grid in (a, b)]
    cells = [[cell for row in grid.rows for cell in row] for grid in (a, b)]
    return shapes[0] == shapes[1] and all(map(equal, *cells))


def _clocks(a: Clock, b: Clock) -> bool:
    if a.minutes == b.minutes:
        return True
    other = {a.half, b.half} == {True, False} and min(a.minutes, b.minutes) % 720 == max(
        a.minutes, b.minutes
    ) % 720
    return other and max(x.minutes for x in (a, b) if not x.half) < 780


def _quantities(a: Quantity, b: Quantity) -> bool:
    one, other = a.unit, b.unit
    if one is not None and other is not None and _opposed(one.name, other.name):
        return False  # 5 km north, 5 km south; a rise of 5 %, a fall of 5 %
    if one is not None and other is not None and not (one.label and other.label):
        if one.label or other.label or one.measures != other.measures:
            return False
        return equal(a.value * one.factor + one.offset, b.value * other.factor + other.offset)
    if any(unit is not None and unit.glued for unit in (one, other)) and None in (one, other):
        return False
    if equal(a.value, b.value):
        return True
    free = next((q for q in (a, b) if q.unit is not None and q.unit.free), None)
    if free is None or free.unit is None or (one is not None and other is not None):
        return False
    return equal(free.value * free.unit.factor, (b if free is a else a).value)


def _opposed(one: str, other: str) -> bool:
    """Return whether what is said behind two numbers is the opposite, or of another measure (/hour, /day)."""
    if one[:1] == other[:1] == "/" and one != other:
        return True
    words = [set(re.findall(r"\w+", name.lower())) for name in (one, other)]
    return any(a in words[n] and b in words[1 - n] for a, b in _OPPOSITES for n in (0, 1))


def _pieces(a: Pieces, b: Pieces) -> bool:
    if len(a.parts) != len(b.parts) or (a.name and b.name and a.name != b.name):
        return False
    return all(
        p[1] == q[1] and p[3] == q[3] and equal(p[0], q[0]) and equal(p[2], q[2])
        for p, q in zip(a.parts, b.parts, strict=True)
    )


def _proportional(a: Relation, b: Relation) -> bool:
    """Return whether the differences are a constant times each other, for inequalities a positive one."""
    symbols = a.difference.free_symbols
    if not symbols or symbols != b.difference.free_symbols:
        return False
    factors = []
    for point in _points(symbols):
        one, other = (_number(expr.difference, point) for expr in (a, b))
        if None in (one, other) or sympy.oo in (abs(one), abs(other)) or abs(other) < _NOISE:
            continue
        factors.append(one / other)
    if len(factors) < 3 or any(abs(f - factors[0]) > abs(factors[0]) * sympy.Float("1e-20") for f in factors):
        return False
    return a.sign in ("=", "!=") or bool(factors[0].is_real and factors[0] > 0)


def equal(a: Any, b: Any) -> bool:
    """Return whether two expressions are equal: exactly, but up to its rounding where one has a long
    decimal; letters that may stand for anything by any name."""
    a, b = _named(a), _named(b)
    return _alike(a, b) or _same_cycle(a, b) or any(_alike(a, other) for other in _renamed(a, b))


def replaced(value: _Kept, letters: dict[Any, Any]) -> _Kept:
    """Return `value` with other symbols in place of `letters`."""
    if isinstance(value, Quantity) and hasattr(value.value, "xreplace"):
        return replace(value, value=value.value.xreplace(letters))
    if isinstance(value, Assigned):
        return replace(value, value=tuple(replaced(r, letters) for r in value.value))
    if isinstance(value, Many):
        return replace(value, items=tuple(tuple(replaced(r, letters) for r in item) for item in value.items))
    return value


def _letters(value: Value) -> set[Any]:
    if isinstance(value, Quantity):
        return set(getattr(value.value, "free_symbols", ()))
    if isinstance(value, (Many, Assigned)):
        items = value.items if isinstance(value, Many) else (value.value,)
        return {letter for item in items for reading in item for letter in _letters(reading)}
    return set()


def _same_parameter(a: Many, b: Many) -> Many | None:
    """Return `b` with the parameter of a line called as in `a`: (s, 2s) as (t, 2t); `None` where it is so
    already, or there is none."""
    one, other = _letters(a), _letters(b)
    if len(one) != 1 or len(other) != 1 or one == other:
        return None
    named = [str(letter) for letter in (*one, *other)]
    if not all(name in _PARAMETERS for name in named):
        return None
    return replaced(b, {other.pop(): one.pop()})


def _cycle(expr: Any) -> tuple[Any, Any] | None:
    """Return where the values of `expr` for all whole numbers begin, and their step; `None` where it is not
    of that kind."""
    letters = [
        symbol for symbol in expr.free_symbols if symbol == ANY_WHOLE or _PERIODS.fullmatch(str(symbol))
    ]
    if len(letters) != 1 or len(expr.free_symbols) != 1:
        return None
    step = expr.diff(letters[0])
    if step.free_symbols or step.is_zero or not (letters == [ANY_WHOLE] or expr.has(sympy.pi)):
        return None
    return expr.subs(letters[0], 0), step


def _same_cycle(a: Any, b: Any) -> bool:
    """Return whether `a` and `b` have the same values for all whole numbers: pi/4 + k pi, 5 pi/4 + n pi."""
    if ANY_WHOLE in a.free_symbols | b.free_symbols:  # then the letter of the other is one too
        a, b = (
            expr.xreplace({s: ANY_WHOLE for s in expr.free_symbols if _PERIODS.fullmatch(str(s))})
            for expr in (a, b)
        )
    one, other = _cycle(a), _cycle(b)
    if one is None or other is None or not (_alike(one[1], other[1]) or _alike(one[1], -other[1])):
        return False
    turns = _number((one[0] - other[0]) / one[1], {})
    return (
        turns is not None and bool(turns.is_real) and _near(turns, sympy.Float(round(turns), _DIGITS), False)
    )


def _renamed(a: Any, b: Any) -> Iterator[Any]:
    """Yield `b` with its free letters called as those of `a`: the whole numbers of a period, the constants of
    an integral or of a differential equation."""
    for kind, free in ((_PERIODS, _periodic), (_CONSTANTS, _linear)):
        one, other = (sorted((x for x in e.free_symbols if kind.fullmatch(str(x))), key=str) for e in (a, b))
        if not 0 < len(one) == len(other) <= _MOST_CONSTANTS or not (free(a, one) and free(b, other)):
            continue
        for names in itertools.permutations(one):
            if list(names) != other:
                yield b.xreplace(dict(zip(other, names, strict=True)))


def _periodic(expr: Any, letters: Sequence[Any]) -> bool:
    """Return whether `expr` goes on by a whole number of periods: a sum with a multiple of pi, or a sign that
    changes."""
    if len(letters) != 1:
        return False
    steady = expr.subs((-1) ** letters[0], 1)
    return bool(steady.has(sympy.pi) and steady.diff(letters[0]).is_number)


def _linear(expr: Any, letters: Sequence[Any]) -> bool:
    """Return whether `expr` is a sum of multiples of the letters, as functions of something else."""
    slopes = [expr.diff(letter) for letter in letters]
    others = expr.free_symbols - set(letters)
    return bool(others) and not any(slope.free_symbols & set(letters) for slope in slopes)


def _alike(a: Any, b: Any) -> bool:
    if a == b:
        return True
    if a.is_Rational and b.is_Rational:
        return False
    loose = a.has(sympy.Float) or b.has(sympy.Float)
    symbols = a.free_symbols | b.free_symbols
    if len(symbols) > _MOST_SYMBOLS:
        return False
    if not symbols:
        return _near(_number(a, {}), _number(b, {}), loose)
    # An identity holds at every point where both sides are real. Where there is none, both are complex.
    points = _points(symbols)
    values = [(_number(a, points[0]), _number(b, points[0]))]  # most that differ do so here
    if all(x is not None and x.is_real for x in values[0]) and not _near(*values[0], loose):
        return False
    if not loose and _identical(a, b):
        return True
    values += [(_number(a, point), _number(b, point)) for point in points[1:]]
    real = [v for v in values if all(x is not None and x.is_real for x in v)]
    if len(real) >= 3:
        return all(_near(x, y, loose) for x, y in real)
    known = [v for v in values[: len(values) // 2] if None not in v]
    return len(known) >= 3 and all(_near(x, y, loose) for x, y in known)


def _identical(a: Any, b: Any) -> bool:
    try:
        degree, letters = max(_degree(a), _degree(b)), len(a.free_symbols | b.free_symbols)
        terms = math.comb(degree + letters, letters) if degree <= _MOST_EXPANDED else _MOST_TERMS + 1
        small = a.count_ops() + b.count_ops() < 60 and terms <= _MOST_TERMS
        return small and bool(sympy.expand(a - b) == 0)
    except (TypeError, ValueError, AttributeError):
        return False


def _degree(expr: Any) -> int:
    """Return about how many terms long the expansion of `expr` is in one letter."""
    if expr.is_Pow and expr.exp.is_Integer:
        return int(abs(expr.exp)) * _degree(expr.base)
    inner = [_degree(arg) for arg in expr.args]
    return sum(inner) if expr.is_Mul else max(inner, default=1)


def _named(expr: Any) -> Any:
    """Return `expr` with f(x) as a symbol of that name."""
    expr = sympy.sympify(expr)
    calls = expr.atoms(sympy.core.function.AppliedUndef)
    return expr.xreplace({call: sympy.Symbol(str(call)) for call in calls}) if calls else expr


def _points(symbols: Any) -> list[dict[Any, Any]]:
    """Return values for `symbols`: first positive, then of either sign; integers where letters mean that."""
    chance = random.Random(20240919)  # noqa: S311 - the same points each time
    names = sorted(symbols, key=str)
    points = []
    for number in range(12):
        point = {}
        for name in names:
            if str(name) in _WHOLE:
                point[name] = sympy.Integer(chance.randint(3, 14))
                continue
            value = sympy.Rational(chance.randint(101, 997), chance.choice((211, 223, 227)))
            point[name] = -value if number >= 6 and chance.random() < 0.6 else value
        points.append(point)
    return points


def _number(expr: Any, point: dict[Any, Any]) -> Any:
    """Return the value of `expr`; `None` where it has none."""
    try:
        value = sympy.N(expr.xreplace(point) if point else expr, _DIGITS)
        value = value.expand(complex=True) if value.has(sympy.I) else value
    except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
        return None
    if value in (sympy.oo, -sympy.oo):
        return value
    if not value.is_number or value.has(sympy.nan, sympy.zoo, sympy.oo):
        return None
    real, imaginary = value.as_real_imag()
    return real if abs(imaginary) < sympy.Float("1e-45") else value


def _near(x: Any, y: Any, loose: bool) -> bool:
    if x is None or y is None:
        return False
    if sympy.oo in (x, y) or -sympy.oo in (x, y):
        return bool(x == y)
    gap, size = abs(x - y), max(abs(x), abs(y))
    if loose:
        return bool(gap <= _CLOSE * size or (size < _NOISE and 0 in (x, y)))
    return bool(gap <= sympy.Float("1e-40") * max(size, sympy.Float("1e-10")))
