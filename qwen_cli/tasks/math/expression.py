r"""The value of a LaTeX formula: its tree (latex_tree) as a sympy expression.

Runs in the sandbox (see `answer.Judge`), for a formula of a few characters can take for ever to compute.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from qwen_cli import latex_tree
from qwen_cli.latex_tree import (
    Fenced,
    Fraction,
    Group,
    Items,
    Matrix,
    Node,
    Overline,
    Root,
    Script,
    Symbol,
    Unknown,
)

_MOST_BITS = 2_000_000  # of a power
_LARGEST_EXPONENT = 1_000_000  # of a number, where it is no fraction
_MOST_FACTORIAL = 20_000
_MOST_CHOSEN = 100  # of more than that
_MOST_MATRIX_POWER, _LARGEST_MATRIX = 20, 8
_LARGEST_DETERMINANT = 4  # of letters
_FLOAT_DIGITS = 10  # as in latex
_FUNCTIONS: dict[str, Any] = {
    **{f.__name__: f for f in (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc, sympy.exp)},
    **{f.__name__: f for f in (sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.gcd, sympy.lcm)},
    "arcsin": sympy.asin,
    "arccos": sympy.acos,
    "arctan": sympy.atan,
    "ln": sympy.log,
    "cis": lambda angle: sympy.cos(angle) + sympy.I * sympy.sin(angle),
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "ceiling": sympy.ceiling,
    "abs": sympy.Abs,
    "max": sympy.Max,
    "min": sympy.Min,
}
_INVERSES = {"sin": sympy.asin, "cos": sympy.acos, "tan": sympy.atan}
_PRIME = "'"
_CALLED = frozenset("fghFGH")  # letters that stand for functions before brackets


class Unreadable(ValueError):
    """The text is no expression."""


def evaluate(latex: str) -> list[Any]:
    """Return the values that a formula can have: two for ±, and for a log without a base.

    Raises `Unreadable`.
    """
    if not latex.strip():
        raise Unreadable(latex)
    try:
        items = latex_tree.parse(latex, lenient=True)
        values: list[Any] = []
        for log in (None, 10) if re.search(r"\\log(?!\s*_)", latex) else (None,):
            for sign in (1, -1) if re.search(r"\\pm|\\mp|±|∓", latex) else (1,):
                value = _Evaluator(sign, log).line(items)
                if value not in values:
                    values.append(value)
    except (ValueError, ArithmeticError, LookupError, RecursionError, TypeError, AttributeError) as fault:
        raise Unreadable(latex) from fault
    for value in values:
        if not isinstance(value, (sympy.Expr, sympy.MatrixBase)) or value.has(sympy.nan, sympy.zoo):
            raise Unreadable(latex)
    return values


def power(base: Any, exponent: Any) -> Any:
    """Return `base` to `exponent`. Raises `Unreadable` where it would be huge."""
    if isinstance(base, sympy.MatrixBase):
        if not (exponent.is_Integer and abs(exponent) <= _MOST_MATRIX_POWER):
            raise Unreadable("a power of a matrix")
        return base**exponent
    if base.is_number and exponent.is_number and not exponent.is_Rational:
        size = abs(exponent.evalf(5))
        if not size.is_Float or size > _LARGEST_EXPONENT:
            raise Unreadable("a power of that size")
    if exponent.is_Rational and not base.free_symbols and base not in (0, 1, -1):
        size = max(int(base.p).bit_length(), int(base.q).bit_length()) if base.is_Rational else 8
        if size * abs(exponent) > _MOST_BITS:
            raise Unreadable("a power of that size")
    return base**exponent


def factorial(value: Any) -> Any:
    """Return `value`!. Raises `Unreadable` where it would be huge."""
    if value.is_Integer and value > _MOST_FACTORIAL:
        raise Unreadable("a factorial of that size")
    return sympy.factorial(value)


def binomial(above: Any, below: Any) -> Any:
    """Return a binomial coefficient. Raises `Unreadable` where it would be huge."""
    if above.is_Integer and below.is_Integer and abs(above) > _MOST_FACTORIAL and below > _MOST_CHOSEN:
        raise Unreadable("a binomial coefficient of that size")
    return sympy.binomial(above, below)


def determinant(matrix: Any) -> Any:
    """Return the determinant of a matrix. Raises `Unreadable` where it is a long sum of letters."""
    if matrix.free_symbols and matrix.rows > _LARGEST_DETERMINANT:
        raise Unreadable("a determinant of that size")
    return matrix.det()


def number(text: str) -> Any:
    """Return a decimal: exact, or a `Float` where it has the digits of one."""
    text = text.replace(",", "")
    rounded = "." in text and len(text.replace(".", "").lstrip("0")) >= _FLOAT_DIGITS
    return sympy.Float(text, 30) if rounded else sympy.Rational(text)


@dataclass
class _Evaluator:
    """`sign` is what ± stands for, `log` the base of a logarithm without one (`None`: e)."""

    sign: int
    log: int | None

    def line(self, items: Items) -> Any:
        nodes = _joined(items)
        value, at = self._sum(nodes, 0)
        if at < len(nodes):
            raise Unknown
        return value

    def _sum(self, nodes: Sequence[Node], at: int) -> tuple[Any, int]:
        sign, at = self._signs(nodes, at)
        value, at = self._product(nodes, at)
        value = sign * value
        while _kind(nodes, at) == "plus":
            sign, at = self._signs(nodes, at)
            term, at = self._product(nodes, at)
            value = value + sign * term
        return value, at

    def _signs(self, nodes: Sequence[Node], at: int) -> tuple[int, int]:
        sign = 1
        while _kind(nodes, at) == "plus":
            sign *= {"-": -1, "−": -1, "±": self.sign, "∓": -self.sign}.get(_text(nodes[at]), 1)
            at += 1
        return sign, at

    def _product(self, nodes: Sequence[Node], at: int) -> tuple[Any, int]:
        value, at = self._factor(nodes, at)
        while at < len(nodes):
            kind = _kind(nodes, at)
            if kind == "relation" and _text(nodes[at]) == "mod":
                factor, at = self._factor(nodes, at + 1)
                value = sympy.Mod(value, factor)
            elif kind in ("times", "over"):
                sign, at = self._signs(nodes, at + 1)
                factor, at = self._factor(nodes, at)
                value = value * sign * factor if kind == "times" else value / (sign * factor)
            elif kind in ("plus", "relation", "comma", "after", "word", "sign", "loose", "row", "cell"):
                break
            else:
                factor, at = self._factor(nodes, at)
                value = value * factor
        return value, at

    def _factor(self, nodes: Sequence[Node], at: int) -> tuple[Any, int]:
        """Read a factor with what is written behind it, as `n!`."""
        if at >= len(nodes):
            raise Unknown
        if _kind(nodes, at) == "function":
            value, at = self._called(nodes, at)
        else:
            called = _kind(nodes, at) == "letter" and _text(nodes[at]) in _CALLED and _is_call(nodes, at + 1)
            if called:
                inside = nodes[at + 1]
                assert isinstance(inside, Fenced)
                value, at = sympy.Function(_text(nodes[at]))(self.line(inside.items)), at + 2
            else:
                value, at = self._node(nodes[at]), at + 1
        while _kind(nodes, at) == "after":
            mark = _text(nodes[at])
            if mark == "!" and at + 1 < len(nodes) and _text(nodes[at + 1]) == "!":
                value, at = sympy.factorial2(value) if factorial(value) else value, at + 1
            elif mark == "!":
                value = factorial(value)
            elif mark in "'′" and value.is_Symbol:
                value = sympy.Symbol(f"{value}'")
            elif mark == "%":
                value = value / 100
            elif mark == "°":
                value = value * sympy.pi / 180
            else:
                raise Unknown
            at += 1
        return value, at

    def _called(self, nodes: Sequence[Node], at: int) -> tuple[Any, int]:
        """Read a function and what it is of."""
        node = nodes[at]
        low, high = (node.low, node.high) if isinstance(node, Script) else (None, None)
        if _text(node) == "det" and at + 1 < len(nodes):
            return determinant(self._node(nodes[at + 1])), at + 2
        name = _text(node.base if isinstance(node, Script) else node)
        at += 1
        inside = nodes[at] if at < len(nodes) else None
        if isinstance(inside, Fenced) and inside.before in "([{":
            arguments, at = [self.line(part) for part in _parts(inside.items)], at + 1
        elif isinstance(inside, Script) and isinstance(inside.base, Fenced) and high is None:
            arguments, high, at = [self._node(inside.base)], inside.high, at + 1
        else:
            value, at = self._argument(nodes, at)
            arguments = [value]
        if low is not None and name == "log":
            result = sympy.log(arguments[0], self.line(low))
        elif name in ("log", "lg"):
            base = 10 if name == "lg" else self.log
            result = sympy.log(arguments[0], base) if base else sympy.log(arguments[0])
        elif low is None and name in _FUNCTIONS:
            inverse = high is not None and name in _INVERSES and self.line(high) == -1
            if inverse:
                return _INVERSES[name](*arguments), at
            result = _FUNCTIONS[name](*arguments)
        else:
            raise Unknown
        return (result if high is None else power(result, self.line(high))), at

    def _argument(self, nodes: Sequence[Node], at: int) -> tuple[Any, int]:
        """Read factors side by side, up to the next function or operator."""
        sign, at = self._signs(nodes, at)
        value, at = self._factor(nodes, at)
        while _kind(nodes, at) in ("number", "letter", "fraction", "root", "group") or (
            _kind(nodes, at) == "times"
            and _kind(nodes, at + 1) == "number"
            and _kind(nodes, at - 1) == "number"
        ):
            at += _kind(nodes, at) == "times"
            factor, at = self._factor(nodes, at)
            value = value * factor
        return sign * value, at

    def _node(self, node: Node) -> Any:
        if isinstance(node, Symbol):
            return self._symbol(node)
        if isinstance(node, Group):
            return self.line(node.items)
        if isinstance(node, Fraction):
            if derivative := _derivative(node):
                return derivative
            if _plain(node.top)[:1] in ("d", "∂") and _plain(node.bottom)[:1] == _plain(node.top)[:1]:
                raise Unknown  # of something else
            return self.line(node.top) / self.line(node.bottom)
        if isinstance(node, Root):
            return self._root(node)
        if isinstance(node, Script):
            return self._script(node)
        if isinstance(node, Fenced):
            return self._fenced(node)
        if isinstance(node, Matrix):
            return self._matrix(node)
        if isinstance(node, Overline):
            value = self.line(node.items)
            if value.has(sympy.I):
                return sympy.conjugate(value)
            if value.is_Symbol:
                return sympy.Symbol(f"{value}bar")
        raise Unknown

    def _matrix(self, node: Matrix) -> Any:
        if max(len(node.rows), *map(len, node.rows)) > _LARGEST_MATRIX:
            raise Unknown
        matrix = sympy.ImmutableMatrix([[self.line(cell) for cell in row] for row in node.rows])
        return determinant(matrix) if node.shape == "vmatrix" else matrix

    def _symbol(self, node: Symbol) -> Any:
        if node.kind == "number":
            return number(node.text)
        if node.kind == "mixed":
            whole, part = node.text.split(" ")
            return sympy.Rational(whole) + sympy.Rational(part)
        if node.kind != "letter" or "\u2e80" <= node.text[0] <= "\uffff":
            raise Unknown
        known = {"π": sympy.pi, "∞": sympy.oo, "e": sympy.E, "i": sympy.I}
        return known.get(node.text) if node.text in known else sympy.Symbol(_name(node.text))

    def _root(self, node: Root) -> Any:
        inside = self.line(node.inside)
        if not node.index:
            return sympy.sqrt(inside)
        index = self.line(node.index)
        if inside.is_negative and index.is_Integer and index % 2:
            return -power(-inside, 1 / index)
        return power(inside, 1 / index)

    def _script(self, node: Script) -> Any:
        if node.high is not None and _plain(node.high) == "∘" and node.low is None:
            return self._node(node.base) * sympy.pi / 180
        if node.low is None:
            base = self._node(node.base)
        else:
            if not isinstance(node.base, Symbol) or node.base.kind != "letter":
                raise Unknown
            base = sympy.Symbol(_name(node.base.text) + _plain(node.low))
        if node.high is None:
            return base
        if isinstance(base, sympy.MatrixBase) and _plain(node.high) in ("T", "⊤", "′"):
            return base.T
        mark = _plain(node.high)  # empty for a fraction
        if mark and set(mark) <= set("'′") and base.is_Symbol:
            return sympy.Symbol(f"{base}{mark.replace('′', _PRIME)}")
        if mark and not mark[0].isalnum() and mark[0] not in "-+−(|∞⌊":
            raise Unknown
        return power(base, self.line(node.high))

    def _fenced(self, node: Fenced) -> Any:
        kind = node.before + node.after
        if kind == "C()":
            above, below = _parts(node.items)
            return binomial(self.line(above), self.line(below))
        made = {"||": sympy.Abs, "⌊⌋": sympy.floor, "⌈⌉": sympy.ceiling}.get(kind)
        if made is None and kind not in ("()", "[]", "{}"):
            raise Unknown
        inside = self.line(node.items)
        return made(inside) if made else inside


def derivative(function: str, variable: str, order: int = 1) -> Any:
    """Return the symbol of a derivative: `y'`, but `df/dz` where the letter says which one is meant."""
    usual = variable in ("x", "t")
    return sympy.Symbol(function + (_PRIME * order if usual else f"_d{variable}{order}"))


def _derivative(node: Fraction) -> Any:
    """Return what a fraction such as dy/dx stands for; `None` where it is another."""
    spelled = []
    for items in (node.top, node.bottom):
        letters = [n for n in items if not (isinstance(n, Symbol) and n.kind == "space")]
        if len(letters) != 2:
            return None
        order, names = "1", []
        for letter in letters:
            if isinstance(letter, Script) and letter.low is None and letter.high is not None:
                order, letter = _plain(letter.high), letter.base
            names.append(_text(letter) if _kind([letter], 0) == "letter" else "")
        spelled.append((names, order))
    ((sign, function), top), ((below, variable), bottom) = spelled
    if sign not in ("d", "∂") or below != sign or not (function and variable and top == bottom):
        return None
    return derivative(_name(function), variable, int(top)) if re.fullmatch("[1-9]", top) else None


def _joined(items: Sequence[Node]) -> list[Node]:
    """Return `items` without spaces, and as one number what several nodes write: `10 000`, `2 1/2`, 0.333…"""
    nodes: list[Node] = []
    at = 0
    while at < len(items):
        node = items[at]
        if isinstance(node, Symbol) and node.kind == "number":
            joined, at = _number_from(items, at)
            nodes.append(joined)
        elif isinstance(node, Symbol) and node.kind == "space":
            at += 1
        else:
            nodes.append(node)
            at += 1
    return nodes


def _number_from(items: Sequence[Node], at: int) -> tuple[Symbol, int]:
    text = _text(items[at])
    at += 1
    while len(text) <= 3 or " " in text:
        if _texts(items, at, 1) != " " or not re.fullmatch(
            r"[0-9]{3}(?:\.[0-9]+)?", _texts(items, at + 1, 1)
        ):
            break
        text += " " + _texts(items, at + 1, 1)
        at += 2
    text = text.replace(" ", "")
    repeating = at + ("." in _texts(items, at, 1) and "." not in text)
    if repeating < len(items) and isinstance(items[repeating], Overline) and ("." in text or repeating > at):
        digits = _plain(items[repeating].items)  # type: ignore[union-attr]
        if not digits.isdigit():
            raise Unknown
        places = len(text.partition(".")[2])
        value = sympy.Rational(text) + sympy.Rational(int(digits), (10 ** len(digits) - 1) * 10**places)
        return Symbol(f"0 {value}", "mixed"), repeating + 1
    after = at + (_texts(items, at, 1) == " ")
    part = items[after] if after < len(items) else None
    if isinstance(part, Fraction) and text.isdigit():
        top, bottom = _plain(part.top), _plain(part.bottom)
        if top.isdigit() and bottom.isdigit() and int(top) < int(bottom):
            return Symbol(f"{text} {top}/{bottom}", "mixed"), after + 1
    slashed = re.fullmatch(r" ([0-9]+)/([0-9]+)", _texts(items, at, 4))
    if slashed and text.isdigit() and int(slashed[1]) < int(slashed[2]):
        return Symbol(f"{text}{slashed[0]}", "mixed"), at + 4
    if isinstance(part, Symbol) and part.kind == "number":
        raise Unknown  # two numbers and nothing between them
    return Symbol(text, "number"), at


def _texts(items: Sequence[Node], at: int, count: int) -> str:
    return "".join(n.text if isinstance(n, Symbol) else "?" for n in items[at : at + count])


def _text(node: Node) -> str:
    return node.text if isinstance(node, Symbol) else ""


def _plain(items: Items) -> str:
    """Return the text of nodes that are symbols; empty where others are among them."""
    if not all(isinstance(node, Symbol) for node in items):
        return ""
    return "".join(_text(node) for node in items).replace(" ", "")


def _kind(nodes: Sequence[Node], at: int) -> str:
    if not 0 <= at < len(nodes):
        return ""
    node = nodes[at]
    if isinstance(node, Symbol):
        return {"mixed": "number"}.get(node.kind, node.kind)
    if isinstance(node, Script):
        return "function" if isinstance(node.base, Symbol) and node.base.kind == "function" else "letter"
    named = {Fraction: "fraction", Root: "root", Fenced: "fenced", Group: "group", Matrix: "fenced"}
    return named.get(type(node), "other")


def _is_call(nodes: Sequence[Node], at: int) -> bool:
    node = nodes[at] if at < len(nodes) else None
    return isinstance(node, Fenced) and node.before + node.after == "()"


def _parts(items: Items) -> list[Items]:
    parts: list[list[Node]] = [[]]
    for node in items:
        if isinstance(node, Symbol) and node.kind == "comma" and node.text.strip() == ",":
            parts.append([])
        else:
            parts[-1].append(node)
    return [tuple(part) for part in parts]


def _name(letter: str) -> str:
    """Return a letter as Python would write it: `θ` is `theta`."""
    name = unicodedata.name(letter, "") if len(letter) == 1 else ""
    match = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (?:SCRIPT )?(\w+)|GREEK (\w+) SYMBOL", name)
    if match is None:
        return letter
    called = (match[2] or match[3]).lower().replace("lamda", "lambda")
    return called.capitalize() if match[1] == "CAPITAL" else called
