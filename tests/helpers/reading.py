"""Reads formulas written as Unicode text back, strictly: what could be read in two ways is refused."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import sympy

SEPARATORS = "=≠<>≤≥≡≈∼≅→⇒⇔∈∉⊂⊆∪∩∖,;…∥⟂∝"
FUNCTIONS = ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh")
FUNCTIONS += ("ln", "log", "exp", "max", "min", "gcd", "lcm", "det", "lim")
_TOKEN = re.compile(
    r"\s+|[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+|(?:"
    + "|".join(FUNCTIONS)
    + r")(?![a-z])|mod(?![a-z])|."
)
_HIGH = dict(
    zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ", "0123456789+-=()abcdefghijklmnoprstuvwxyzT", strict=True)
)
_LOW = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789+-=()aehijklmnoprstuvx", strict=True))
NAMES = {"π": sympy.pi, "∞": sympy.oo}


class Unclear(ValueError):
    """The text is not one formula."""


def call(name: str, *arguments: Any) -> Any:
    """What is not computed, only compared: a sum, a limit, a matrix."""
    return sympy.Function(name)(*arguments)


def read(text: str) -> list[Any]:
    """The expressions of `text` and the relations between them."""
    reader = _Reader(text)
    parts = reader.parts("")
    if reader.left:
        raise Unclear(f"{text!r}: {reader.left!r} is left over")
    return parts


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.bars = ""
        self.tokens = _TOKEN.findall(unicodedata.normalize("NFC", text.strip()))
        self.at = 0

    @property
    def left(self) -> str:
        return "".join(self.tokens[self.at :])

    def next(self, *, spaces: bool = False) -> str:
        at = self.at
        while not spaces and at < len(self.tokens) and self.tokens[at].isspace():
            at += 1
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self, *, spaces: bool = False) -> str:
        while not spaces and self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        self.at += 1
        return self.tokens[self.at - 1]

    def unclear(self, why: str) -> Unclear:
        return Unclear(f"{self.text!r}: {why} before {self.left!r}")

    def parts(self, ends: str) -> list[Any]:
        found: list[Any] = []
        while self.next() and self.next() not in ends:
            mark = self.next()
            if mark in SEPARATORS or mark == "mod":
                found.append(self.take())
            else:
                found.append(self.sum(ends))
        return found

    def inside(self, closing: str) -> Any:
        """What stands up to a closing bracket: an expression, or a list as a whole."""
        parts = self.parts(closing)
        if self.next() not in closing or not self.next():
            raise self.unclear("a bracket is open")
        end = self.take()
        if len(parts) == 1 and end in ")]":
            return parts[0]
        return call("list" + end, *(sympy.Symbol(p) if isinstance(p, str) else p for p in parts))

    def sum(self, ends: str) -> Any:
        total, sign = sympy.Integer(0), self.sign() or 1
        total += sign * self.product()
        while self.next() in ("+", "-", "±", "∓"):
            sign = self.sign()
            total += sign * (self.sign() or 1) * self.product()
        return total

    def sign(self) -> Any:
        signs = {"+": 1, "-": -1, "±": sympy.Symbol("pm"), "∓": -sympy.Symbol("pm")}
        return signs[self.take()] if self.next() in signs else None

    def product(self) -> Any:
        value, single, function = self.run()
        while (mark := self.next()) in ("·", "×", "*", "/", "÷") and mark:
            self.take()
            if function and mark in "/÷":
                raise self.unclear("what is divided, the argument or the value?")
            sign = self.sign() or 1
            factor, single, function = self.run()
            if mark in "/÷":
                if not single:
                    raise self.unclear("what is it divided by?")
                value = value / (sign * factor)
            else:
                value = value * sign * factor
        return value

    def run(self) -> tuple[Any, bool, bool]:
        """Factors side by side: their product, whether it is one, whether the last is a function's value."""
        mixed = re.match(r"(\d+) (\d+)/(\d+)(?![\d])", self.left.lstrip())
        if mixed:
            whole, top, bottom = map(int, mixed.groups())
            for _ in range(5):
                self.take(spaces=self.tokens[self.at].isspace())
            if self.next() and self.next() not in SEPARATORS + "+-±)]}|":
                raise self.unclear("a mixed number beside a factor")
            return whole + sympy.Rational(top, bottom), True, False
        value, count, function = sympy.Integer(1), 0, False
        while mark := self.next():
            if mark in FUNCTIONS:
                value, function = value * self.function(), True
            elif mark in "∑∏∫":
                value, function = value * self.big(), True
            elif self.begins(mark):
                if function and mark[0].isdigit():
                    raise self.unclear("a number after a function")
                value = value * self.power()
            else:
                break
            count += 1
        if not count:
            raise self.unclear("no factor")
        return value, count == 1 and not function, function

    def begins(self, mark: str) -> bool:
        if mark == "|" or mark == "‖":
            return mark not in self.bars
        return (
            mark[0].isdigit()
            or mark[0] == "."
            or (mark[0].isalpha() and mark != "mod")
            or mark in "([{⌊⌈√∛∜∞∂"
        )

    def power(self) -> Any:
        mark = self.take()
        if mark in ("√", "∛", "∜"):
            if self.next(spaces=True) not in "([" and not re.fullmatch(
                r"[\d,.]+|[^\W\d]", self.next(spaces=True)
            ):
                raise self.unclear("a root of what?")
            bare = self.next(spaces=True) != "("
            inside = self.primary(self.take(spaces=True))
            if self.next() in _HIGH or self.next() == "^":
                raise self.unclear("a power of the root, or of what is in it?")
            if bare and self.begins(self.next() or ")") and self.next() not in "√":
                raise self.unclear("is what follows under the root?")
            return (
                sympy.real_root(inside, 3)
                if mark == "∛"
                else inside ** sympy.Rational(1, 2 if mark == "√" else 4)
            )
        base = self.primary(mark)
        return self.raised(base)

    def raised(self, base: Any) -> Any:
        while True:
            mark = self.next(spaces=True)
            if mark in ("!", "%", "°"):
                self.take(spaces=True)
                base = {"!": sympy.factorial, "%": lambda x: x / 100, "°": lambda x: x * sympy.Symbol("deg")}[
                    mark
                ](base)
            elif mark in _HIGH or mark == "^":
                if (
                    self.next(spaces=True)
                    and self.left[:1] in _HIGH
                    and re.match(r"[⁰-⁹¹²³ᵃ-ᶻ]+[√∛∜]", self.left)
                ):
                    raise self.unclear("an exponent, or an index of the root?")
                base = base ** self.high()
            elif mark and mark in "′'":
                self.take(spaces=True)
                base = call("prime", base)
            else:
                return base

    def high(self) -> Any:
        if self.next(spaces=True) == "^":
            self.take(spaces=True)
            mark = self.take(spaces=True)
            return self.inside(")") if mark == "(" else self.primary(mark)
        run = ""
        while self.next(spaces=True) in _HIGH and self.next(spaces=True):
            run += _HIGH[self.take(spaces=True)]
        (value,) = read(run)
        return value

    def low(self) -> list[Any]:
        if self.next(spaces=True) == "_":
            self.take(spaces=True)
            mark = self.take(spaces=True)
            if mark != "(":
                return [self.primary(mark)]
            parts = self.parts(")")
            self.take()
            return parts
        run = ""
        while self.next(spaces=True) in _LOW and self.next(spaces=True):
            run += _LOW[self.take(spaces=True)]
        if run.isalpha():
            return [sympy.Symbol(run)]
        return read(run) if run else []

    def function(self) -> Any:
        name = self.take()
        low = self.low()
        high = self.high() if self.next(spaces=True) in _HIGH or self.next(spaces=True) == "^" else None
        if self.next() in ("(", "⌊", "|"):
            argument = self.primary(self.take())
            if self.next(spaces=True) in _HIGH or self.next(spaces=True) == "^":
                raise self.unclear("a power of the argument, or of the value?")
        else:
            argument = sympy.Integer(1)
            while self.next() and self.next() not in FUNCTIONS and self.begins(self.next()):
                argument = argument * self.power()
            if argument == 1 and self.next() not in ("1",):
                raise self.unclear("a function of what?")
        made = {"ln": sympy.log, "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan}.get(name)
        if name == "log":
            value = sympy.log(argument, *low) if low else sympy.log(argument, 10)
        elif name in ("lim", "max", "min", "gcd", "lcm", "det"):
            value = call(name, *(sympy.Symbol(p) if isinstance(p, str) else p for p in low), argument)
        else:
            value = (made or getattr(sympy, name))(argument)
        return value if high is None else value**high

    def big(self) -> Any:
        name = self.take()
        low = [sympy.Symbol(p) if isinstance(p, str) else p for p in self.low()]
        high = [self.high()] if self.next(spaces=True) in _HIGH or self.next(spaces=True) == "^" else []
        return call({"∑": "Sum", "∏": "Product", "∫": "Integral"}[name], *low, *high, self.product())

    def primary(self, mark: str) -> Any:
        pairs = {"(": ")]", "[": ")]", "{": "}", "⌊": "⌋", "⌈": "⌉"}
        if mark in pairs:
            inside = self.inside(pairs[mark])
            if mark in "⌊⌈":
                return (sympy.floor if mark == "⌊" else sympy.ceiling)(inside.args[0])
            return inside
        if mark in "|‖":
            bars, self.bars = self.bars, mark
            inside = self.sum(mark)
            self.bars = bars
            if self.take() != mark:
                raise self.unclear("a bar is open")
            return sympy.Abs(inside)
        if mark[0].isdigit() or mark[0] == ".":
            return sympy.Rational(mark.replace(",", ""))
        if mark == "C" and self.next(spaces=True) == "(":
            self.take()
            upper = self.sum(",")
            self.take()
            lower = self.sum(")")
            self.take()
            return sympy.binomial(upper, lower)
        if not (mark[0].isalpha() or mark in "∞∂"):
            raise self.unclear("not an expression")
        while self.next(spaces=True) and unicodedata.category(self.next(spaces=True)[0]) == "Mn":
            mark += self.take(spaces=True)
        low = self.low() if self.next(spaces=True) in _LOW or self.next(spaces=True) == "_" else []
        if low:
            return sympy.Symbol(mark + "_" + "".join(str(p).replace("*", "").replace(" ", "") for p in low))
        return NAMES.get(mark) or sympy.Symbol(mark)
