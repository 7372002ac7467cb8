"""Parts of the number line: unions, intersections, and what an inequality allows.

Runs in the sandbox (see `answer.Judge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import sympy

from qwen_cli.tasks.math.values import Many, Part, Pieces, Quantity, Readings, Relation, Value, same

_MOST_DEGREE = 8  # of an inequality that is solved


def without(points: Many) -> Pieces:
    """Return the line without some points."""
    values = [next((r.value for r in item if isinstance(r, Quantity)), None) for item in points.items]
    ends = [-sympy.oo, *sorted((v for v in values if v is not None), key=lambda v: float(v)), sympy.oo]
    return Pieces(tuple((one, False, other, False) for one, other in pairwise(ends)))


def line_without(readings: Readings) -> Pieces:
    """Return the line without what is read: one number or several."""
    several = next((r for r in readings if isinstance(r, Many)), None)
    return without(several or Many((readings,), "bare"))


def intersection(readings: Sequence[Readings]) -> Readings:
    """Return what several parts of the line have in common; nothing where one of them is none."""
    lines = [next((r for r in one if isinstance(r, Pieces)), None) for one in readings]
    known = [line for line in lines if line is not None]
    names = {line.name for line in known if line.name}
    if len(known) < len(lines) or len(names) > 1:
        return ()
    common = known[0].parts
    for line in known[1:]:
        common = tuple(
            both
            for part in common
            for other in line.parts
            for both in [_common(part, other)]
            if both is not None
        )
    return (union(common, "".join(names)),) if common else ()


def common_elements(readings: Sequence[Readings]) -> Readings:
    """Return the elements that all of several sets have; nothing where one of them is no set."""
    sets = [next((r for r in one if isinstance(r, Many) and r.kind == "set"), None) for one in readings]
    known = [one for one in sets if one is not None]
    if len(known) < len(sets):
        return ()
    first, *others = known
    shared = (item for item in first.items if all(any(same(item, x) for x in o.items) for o in others))
    return (Many(tuple(shared), "set"),)


def _common(one: Part, other: Part) -> Part | None:
    low, low_in = max(one[:2], other[:2], key=lambda end: (float(end[0]), not end[1]))
    high, high_in = min(one[2:], other[2:], key=lambda end: (float(end[0]), end[1]))
    inside = float(low) < float(high) or (low == high and low_in and high_in)
    return (low, low_in, high, high_in) if inside else None


def union(pieces: Sequence[Part], name: str) -> Pieces:
    """Join pieces of a line: in order, those that touch as one."""
    joined: list[Part] = []
    for low, low_in, high, high_in in sorted(pieces, key=lambda p: (float(p[0]), not p[1])):
        if joined:
            start, start_in, end, end_in = joined[-1]
            if float(low) < float(end) or (low == end and (low_in or end_in)):
                if float(high) > float(end) or (high == end and high_in):
                    joined[-1] = (start, start_in, high, high_in)
                continue
        joined.append((low, low_in, high, high_in))
    return Pieces(tuple(joined), name)


def ascending(low: Any, high: Any) -> bool:
    try:
        return bool(float(low) < float(high))
    except (TypeError, ValueError, OverflowError):
        return False


def inequality(values: Sequence[Any], signs: Sequence[str]) -> Readings:
    """Read `values` with < <= > >= != between them: a part of the line where a variable stands alone or can,
    else what is said of a difference."""
    if any(value is None for value in values):
        return ()
    if len(values) == 3 and len({sign[0] for sign in signs}) == 1 and signs[0][0] in "<>":
        low, middle, high = values if signs[0][0] == "<" else values[::-1]
        marks = signs if signs[0][0] == "<" else signs[::-1]
        if middle.is_Symbol and not (low.free_symbols or high.free_symbols) and ascending(low, high):
            return (Pieces(((low, "=" in marks[0], high, "=" in marks[1]),), str(middle)),)
        return ()
    if len(values) != 2:
        return ()
    (left, right), sign = values, signs[0]
    if sign[0] == "<":
        left, right, sign = right, left, sign.replace("<", ">")
    difference = left - right
    if difference.has(sympy.oo, sympy.nan, sympy.zoo):
        return _unbounded(left, right, sign)
    readings: list[Value] = [Relation(difference, sign)]
    symbols = sorted(difference.free_symbols, key=str)
    if len(symbols) == 1 and difference.is_polynomial(*symbols) and sympy.degree(difference, symbols[0]) == 1:
        slope = difference.coeff(symbols[0]) if difference.is_Add or difference.is_Mul else sympy.Integer(1)
        slope = sympy.Poly(difference, symbols[0]).LC() if slope == 0 else slope
        end = sympy.solve(difference, symbols[0])[0]
        if not slope.is_real:
            return tuple(readings)
        below, above = (-sympy.oo, False, end, "=" in sign), (end, "=" in sign, sympy.oo, False)
        if sign == "!=":
            readings.append(
                Pieces(((-sympy.oo, False, end, False), (end, False, sympy.oo, False)), str(symbols[0]))
            )
        else:
            readings.append(Pieces((above if slope > 0 else below,), str(symbols[0])))
    elif len(symbols) == 1 and difference.count_ops() < 40 and not _steep(difference):
        readings += _solved(difference, sign, symbols[0])
    return tuple(readings)


def _steep(difference: Any) -> bool:
    """Return whether the roots of `difference` would take long to find."""
    powers = [power.exp for power in difference.atoms(sympy.Pow)]
    return any(exponent.is_Integer and abs(exponent) > _MOST_DEGREE for exponent in powers)


def _unbounded(left: Any, right: Any, sign: str) -> Readings:
    """Read inequalities with infinity, which sympy prints: x < oo."""
    if left == sympy.oo and right.is_Symbol and sign == ">":
        return (Pieces(((-sympy.oo, False, sympy.oo, False),), str(right)),)
    if right == -sympy.oo and left.is_Symbol and sign == ">":
        return (Pieces(((-sympy.oo, False, sympy.oo, False),), str(left)),)
    return ()


def _solved(difference: Any, sign: str, symbol: Any) -> Readings:
    """Return where `difference` is > >= or != zero, if sympy can tell."""
    real = sympy.Dummy(real=True)
    made = {">": sympy.Gt, ">=": sympy.Ge, "!=": sympy.Ne}[sign]
    try:
        solved = sympy.solve_univariate_inequality(
            made(difference.xreplace({symbol: real}), 0), real, relational=False
        )
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        return ()
    parts = []
    for piece in solved.args if isinstance(solved, sympy.Union) else [solved]:
        if isinstance(piece, sympy.Interval):
            parts.append((piece.start, not piece.left_open, piece.end, not piece.right_open))
        elif isinstance(piece, sympy.FiniteSet):
            parts += [(value, True, value, True) for value in piece]
        elif piece is not sympy.S.EmptySet:
            return ()
    return (union(parts, str(symbol)),)
