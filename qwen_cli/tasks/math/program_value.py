"""The readings of what a program printed: Python's and sympy's own notation.

Runs in the sandbox (see `answer.Judge`).
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import sympy

from qwen_cli.tasks.math import latex, words
from qwen_cli.tasks.math.chemistry import chemical
from qwen_cli.tasks.math.expression import binomial, derivative, factorial
from qwen_cli.tasks.math.expression import power as power_of
from qwen_cli.tasks.math.intervals import inequality, intersection, union
from qwen_cli.tasks.math.latex import decimal
from qwen_cli.tasks.math.values import (
    Assigned,
    Clock,
    Day,
    Grid,
    Many,
    Part,
    Pieces,
    Quantity,
    Readings,
    Relation,
    Value,
    Words,
)

_LONGEST = 10_000  # characters of a line
_MOST_LINES = 20  # that are one answer
_LABEL = re.compile(r"[A-Za-z_][\w '()]*?\s*(?:[:=]|\bis)\s*(?P<value>[^=].*)", re.DOTALL)
_MIDNIGHT = re.compile(r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]00:00(?::00)?)?")
_FAULT = re.compile(r"Traceback \(most recent call last\)|(?:\w+\.)*\w*(?:Error|Exception|Warning)\b")
_NAMES: dict[str, Any] = {
    "pi": sympy.pi,
    "E": sympy.E,
    "e": sympy.E,
    "I": sympy.I,
    "oo": sympy.oo,
    "inf": sympy.oo,
}
_KNOWN = (
    *("sqrt", "exp", "log", "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh"),
    *("tanh", "Abs", "floor", "ceiling", "gcd", "lcm", "cbrt", "root", "Max", "Min", "re", "im"),
    *("Rational", "Integer", "Mul", "Add", "conjugate"),
)
_CALLS: dict[str, Callable[..., Any]] = {
    **{name: getattr(sympy, name) for name in _KNOWN},
    "ln": sympy.log,
    "abs": sympy.Abs,
    "factorial": factorial,
    "Fraction": sympy.Rational,
    "Pow": power_of,
    "binomial": binomial,
}
_SAME = (
    "Float",
    "Decimal",
    "float64",
    "float32",
    "float",
    "int64",
    "int32",
    "int",
    "str",
    "Symbol",
    "mpf",
    "mpq",
)
_MATRICES = ("Matrix", "ImmutableMatrix", "MutableDenseMatrix", "ImmutableDenseMatrix", "matrix")
_ARRAYS = ("array", "tensor", "asarray")
_SIGNS: dict[type, str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.NotEq: "!=",
    ast.Eq: "=",
}
_RELATIONS = {"Eq": "=", "Ne": "!=", "Lt": "<", "Le": "<=", "Gt": ">", "Ge": ">=", "Equality": "="}


class _Foreign(ValueError):
    """Not Python of the kind that values are printed in."""


def read(text: str) -> Readings:
    """Return every way to read a line that was printed."""
    text = text.strip()
    if len(text) > _LONGEST:
        return ()
    source = text
    if re.fullmatch(r"[\[\]0-9.\se+-]+", text):  # as numpy prints an array
        source = re.sub(r"(?<=\])\s+(?=\[)", ", ", re.sub(r"(?<=[0-9.])\s+(?=[-0-9.])", ", ", text))
    source = re.sub(r"(?<![\w.])0+(?=[1-9])", "", source)
    if _FAULT.match(text):
        return (Words(text),)
    if re.fullmatch(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?", text):
        return (Quantity(decimal(text.replace(",", ""))), *_python(source))
    if words.clock(text):
        return latex.read(text)
    if day := _MIDNIGHT.fullmatch(text):
        return latex.read(day["day"])
    if lines := _labelled(text):
        return (Many(tuple(lines), "bare"),)
    readings = _python(source)
    if readings:
        word = re.fullmatch(r"[A-Za-z]{3,}", text) or chemical(text)
        return (*readings, *latex.read(text)) if word else readings
    label = _LABEL.fullmatch(text)
    if label and not words.read(text) and not re.search(r"=.*[^<>!=]=", text):
        inner = read(label["value"].strip().rstrip("."))
        name = re.split(r"[:=]", text)[0].strip() if "=" in text and text[0] != "=" else ""
        if inner and re.fullmatch(r"[A-Za-z]\w?", name):
            return (Assigned(name, inner),)
        if inner:
            return inner
    return latex.read(text)


def _labelled(text: str) -> list[Readings]:
    """Return what is read of lines that each say what their value is of; none where one does not."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not 1 < len(lines) <= _MOST_LINES:
        return []
    read_so = [read(line) for line in lines]
    return read_so if all(any(isinstance(r, Assigned) for r in one) for one in read_so) else []


def _python(source: str) -> Readings:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about literals such as 1in
            tree = ast.parse(source, mode="eval")
        return tuple(_values(tree.body))
    except (
        _Foreign,
        SyntaxError,
        ValueError,
        TypeError,
        ArithmeticError,
        AttributeError,
        RecursionError,
        MemoryError,
    ):
        return ()


def _values(node: ast.AST) -> Sequence[Value]:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, str))):
        if isinstance(node.value, str):
            return latex.read(node.value)
        return (Words({True: "true", False: "false", None: "none"}[node.value]),)
    if isinstance(node, (ast.List, ast.Set, ast.Tuple)):
        kind = {ast.List: "list", ast.Set: "set", ast.Tuple: "tuple"}[type(node)]
        return (Many(tuple(tuple(_values(item)) for item in node.elts), kind),)
    if isinstance(node, ast.Dict):
        return _mapping(node)
    if isinstance(node, ast.Compare):
        return _compared(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.BitOr)):
        return _combined(node)
    if isinstance(node, ast.Call):
        special = _called(node)
        if special is not None:
            return special
    if isinstance(node, ast.Name) and node.id in ("EmptySet", "Reals", "nan", "zoo"):
        if node.id == "Reals":
            return (Pieces(((-sympy.oo, False, sympy.oo, False),)),)
        return (Many((), "set"),) if node.id == "EmptySet" else (Words("undefined"),)
    return (Quantity(_expression(node)),)


def _mapping(node: ast.Dict) -> Sequence[Value]:
    items: list[Readings] = []
    pairs = [(_whole(key), _whole(value)) for key, value in zip(node.keys, node.values, strict=True)]
    if pairs and all(prime is not None and power is not None and prime > 1 for prime, power in pairs):
        factors = [power_of(sympy.Integer(prime), sympy.Integer(times)) for prime, times in pairs]
        return (Quantity(sympy.prod(factors)),)  # as sympy's factorint prints it
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            raise _Foreign
        items.append((Assigned(ast.unparse(key).strip("'\""), tuple(_values(value))),))
    return (Many(tuple(items), "bare"),) if len(items) != 1 else items[0]


def _whole(node: ast.AST | None) -> int | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _compared(node: ast.Compare) -> Sequence[Value]:
    signs = [_SIGNS.get(type(op)) for op in node.ops]
    if None in signs:
        raise _Foreign
    values = [_expression(side) for side in (node.left, *node.comparators)]
    return inequality(values, [sign for sign in signs if sign])


def _combined(node: ast.BinOp) -> Sequence[Value]:
    """Read `(5 < x) & (x < oo)`, `(x < 2) | (x > 5)`."""
    if isinstance(node.op, ast.BitOr):
        names = [v.name for side in (node.left, node.right) for v in _values(side) if isinstance(v, Pieces)]
        return (union([*_parts(node.left), *_parts(node.right)], next(filter(None, names), "")),)
    sides = [
        next((v for v in _values(side) if isinstance(v, Pieces)), None) for side in (node.left, node.right)
    ]
    one, other = sides
    if one is None or other is None:
        raise _Foreign
    name = one.name or other.name
    return intersection([(one,), (other,)]) or (Pieces((), name),)


def _parts(node: ast.AST) -> Sequence[Part]:
    """Return the parts of the line that one argument of a union is: pieces of it, or points."""
    for value in _values(node):
        if isinstance(value, Pieces):
            return value.parts
        if isinstance(value, Many) and value.kind == "set":
            points = [r.value for item in value.items for r in item if isinstance(r, Quantity)]
            return [(point, True, point, True) for point in points]
    raise _Foreign


def _called(node: ast.Call) -> Sequence[Value] | None:
    """Read calls whose value is no expression: sets, matrices, equations."""
    name = _callee(node)
    if name in _MATRICES:
        rows = [next((v for v in _values(arg) if isinstance(v, Many)), None) for arg in node.args[:1]]
        return _grid(rows[0]) if rows and rows[0] else None
    if name in _ARRAYS and node.args:
        inner = _values(node.args[0])
        return (*inner, *(grid for value in inner if isinstance(value, Many) for grid in _grid(value)))
    if name == "Poly" and node.args:
        return _values(node.args[0])
    if name in ("date", "datetime", "time"):
        numbers = [_whole(arg) for arg in node.args]
        return _dated(name, [number for number in numbers if number is not None])
    if name == "timedelta":
        return latex.read(f"{_seconds(node)} s")
    if name == "ImageSet" and node.args and isinstance(node.args[0], ast.Call):
        return _values(node.args[0].args[-1])  # ImageSet(Lambda(n, n*pi), Integers)
    images = [isinstance(arg, ast.Call) and _callee(arg) == "ImageSet" for arg in node.args]
    if name == "FiniteSet" or (name == "Union" and all(images)):
        return (Many(tuple(tuple(_values(arg)) for arg in node.args), "set"),)
    if name.startswith("Interval"):
        low, high = (_expression(arg) for arg in node.args[:2])
        flags = [isinstance(arg, ast.Constant) and bool(arg.value) for arg in node.args[2:4]]
        left, right = (*flags, False, False)[:2]
        left = left or name in ("Interval.open", "Interval.Lopen") or low == -sympy.oo
        right = right or name in ("Interval.open", "Interval.Ropen") or high == sympy.oo
        return (Pieces(((low, not left, high, not right),)),)
    if name == "Union":
        return (union([part for arg in node.args for part in _parts(arg)], ""),)
    if name in _RELATIONS:
        left_side, right_side = (_expression(arg) for arg in node.args)
        if _RELATIONS[name] != "=":
            return inequality([left_side, right_side], [_RELATIONS[name]])
        relation = Relation(_unapplied(left_side - right_side), "=")
        if left_side.is_Symbol or isinstance(left_side, sympy.core.function.AppliedUndef):
            return (relation, Assigned(str(left_side), (Quantity(_unapplied(right_side)),)))
        return (relation,)
    if name in ("set", "frozenset", "list", "tuple"):
        return (Many((), "set"),) if not node.args else _values(node.args[0])
    if name in ("EmptySet",):
        return (Many((), "set"),)
    return None


def _unapplied(expression: Any) -> Any:
    """Return an equation with derivatives in it as it is written by hand: y for y(x)."""
    if not any(str(symbol).endswith("'") for symbol in expression.free_symbols):
        return expression
    calls = expression.atoms(sympy.core.function.AppliedUndef)
    return expression.xreplace({call: sympy.Symbol(call.func.__name__) for call in calls})


def _derived(node: ast.Call) -> Any:
    """Return the symbol of `Derivative(y(x), x)`, `Derivative(y(x), (x, 2))`, `Derivative(y(x), x, x)`."""
    function, first, *others = node.args
    pair = isinstance(first, ast.Tuple) and len(first.elts) == 2
    variable, times = (first.elts[0], _whole(first.elts[1])) if pair else (first, 1 + len(others))  # type: ignore[attr-defined]
    named = function.func if isinstance(function, ast.Call) else function
    if not (isinstance(named, ast.Name) and isinstance(variable, ast.Name) and times) or times > 9:
        raise _Foreign
    if any(not isinstance(other, ast.Name) or other.id != variable.id for other in others):
        raise _Foreign
    return derivative(named.id, variable.id, times)


def _dated(name: str, numbers: Sequence[int]) -> Sequence[Value]:
    """Return what Python prints for a day or a time of day."""
    if name == "time" and len(numbers) >= 2:
        return (Clock(numbers[0] % 24 * 60 + numbers[1] % 60, True),)
    if name != "time" and len(numbers) >= 3:
        return (Day(numbers[0], numbers[1], numbers[2]),)
    raise _Foreign


def _seconds(node: ast.Call) -> Any:
    """Return the seconds of a `timedelta`, whose arguments come in the order of `lengths`."""
    lengths = {"days": 86_400, "seconds": 1, "microseconds": sympy.Rational(1, 10**6)}
    lengths |= {"milliseconds": sympy.Rational(1, 1000), "minutes": 60, "hours": 3_600, "weeks": 604_800}
    given = [*zip(lengths, node.args, strict=False), *((one.arg, one.value) for one in node.keywords)]
    if not all(name in lengths for name, _ in given):
        raise _Foreign
    return sum(lengths[name] * _expression(value) for name, value in given if name)


def _grid(rows: Many) -> Sequence[Value]:
    cells = []
    for row in rows.items:
        inner = next((v for v in row if isinstance(v, Many)), None)
        items = inner.items if inner else (row,)
        cells.append(tuple(next(v.value for v in item if isinstance(v, Quantity)) for item in items))
    return (Grid(tuple(cells)),)


def _callee(node: ast.Call) -> str:
    name = ast.unparse(node.func)
    return name if name.startswith("Interval.") else name.rpartition(".")[2]


def _expression(node: ast.AST) -> Any:
    if isinstance(node, ast.Constant):
        return _constant(node)
    if isinstance(node, ast.Name):
        return _NAMES.get(node.id) or sympy.Symbol(re.sub(r"_(?=\w)", "", node.id))
    if isinstance(node, ast.Attribute) and node.attr in ("pi", "e", "inf", "oo", "I", "E"):
        return _NAMES[node.attr]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _expression(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _operated(type(node.op), _expression(node.left), _expression(node.right))
    if isinstance(node, ast.Call) and not node.keywords:
        name = _callee(node)
        if name in _SAME and len(node.args) == 1:
            arg = node.args[0]
            quoted = isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            return decimal(str(arg.value)) if quoted and name != "Symbol" else _expression(arg)  # type: ignore[attr-defined]
        if name in ("Derivative", "diff") and len(node.args) > 1:
            return _derived(node)
        arguments = [_expression(arg) for arg in node.args]
        if name in _CALLS:
            return _CALLS[name](*arguments)
        if re.fullmatch(r"[A-Za-z]\w?", name):
            return sympy.Function(name)(*arguments)
    raise _Foreign


def _constant(node: ast.Constant) -> Any:
    if isinstance(node.value, complex) and not isinstance(node.value, bool):
        return decimal(repr(node.value.imag)) * sympy.I
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return sympy.Integer(node.value)
    if isinstance(node.value, float):
        return decimal(repr(node.value))
    raise _Foreign


def _operated(operator: type[ast.operator], left: Any, right: Any) -> Any:
    if operator is ast.Pow:
        return power_of(left, right)
    made: dict[type[ast.operator], Callable[[], Any]] = {
        ast.Add: lambda: left + right,
        ast.Sub: lambda: left - right,
        ast.Mult: lambda: left * right,
        ast.Div: lambda: left / right,
        ast.FloorDiv: lambda: sympy.floor(left / right),
        ast.Mod: lambda: left % right,
    }
    if operator not in made:
        raise _Foreign
    return made[operator]()
