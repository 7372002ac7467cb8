r"""The readings of an answer that is written in LaTeX or in words: what stands in `\boxed{}`, or is expected.

Runs in the sandbox (see `answer.Judge`): an answer such as `9^{9^{9^9}}` is cheap to read, dear to compute.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import sympy

from qwen_cli.tasks.math import units, words
from qwen_cli.tasks.math.expression import Unreadable, evaluate
from qwen_cli.tasks.math.units import LABEL, NUMBERS
from qwen_cli.tasks.math.values import (
    Assigned,
    Choice,
    Grid,
    Many,
    Pieces,
    Quantity,
    Readings,
    Relation,
    Value,
    Words,
)

_LONGEST = 2_000  # characters of an answer
_DEEPEST = 6  # answers within answers
_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"), ('"', '"'))
_LEAD = re.compile(
    r"(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*:?\s*|答案?\s*[是为：:]\s*[:：]?\s*|(?:=|\\approx|≈)\s*",
    re.IGNORECASE,
)
_UNWRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname|textnormal)\s*\{([^{}]*)\}"
)
_PLAIN_SIGNS = {
    "−": "-", "–": "-", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ",
    "∞": r"\infty ", "π": r"\pi ", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "±": r"\pm ",
    "∅": r"\emptyset ", "≈": r"\approx ", "ℝ": r"\mathbb{R}", "￥": "¥", "￡": "£",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_GREEK = "alpha beta gamma delta epsilon theta lambda mu phi omega rho sigma tau"
_PLAIN_NAMES = re.compile(
    rf"(?<![\\A-Za-z])(sqrt|pi|infinity|infty|inf|oo|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh"
    rf"|log|ln|exp|{_GREEK.replace(' ', '|')})(?![A-Za-z])"
)
_GROUPED = r"[1-9][0-9]{0,2}"
_DOTTED, _SPACED = rf"{_GROUPED}(?:\.[0-9]{{3}}){{2,}}", rf"{_GROUPED}(?:[ '’][0-9]{{3}})+"
_NUMERALS = (
    (re.compile(rf"{_GROUPED}(?:,[0-9]{{3}})+(?:\.[0-9]+)?"), ",", "."),
    (re.compile(r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?"), ",", "."),  # lakhs and crores
    (re.compile(rf"(?:{_DOTTED}|{_GROUPED}(?:\.[0-9]{{3}})+(?=,))(?:,[0-9]+)?"), ".", ","),
    (re.compile(rf"{_SPACED}(?:\.[0-9]+)?"), " '’", "."),
    (re.compile(rf"{_SPACED},[0-9]+"), " '’", ","),
    (re.compile(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|0,[0-9]+"), "", ","),
    (re.compile(r"[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]{1,4})?|[0-9]+\.?(?:[eE][-+]?[0-9]{1,4})?"), "", "."),
)
_FLOAT_DIGITS = 10  # significant digits from which a decimal is the rounded value of something
_AND = re.compile(
    r"\s*(?:,?\s+(?:and|or)\s+|,?\s*\\text\{\s*(?:,\s*)?(?:and|or|和|或)\s*\}\s*|和|或者?|、|；|;)\s*"
)
_RELATIONS = re.compile(
    r"\\(?:leqslant|geqslant|leq|geq|le|ge|neq|ne|lt|gt|in|approx|equiv)(?![A-Za-z])|<=|>=|!=|[=<>]"
)
_SIGNS = {
    "leqslant": "<=",
    "leq": "<=",
    "le": "<=",
    "geqslant": ">=",
    "geq": ">=",
    "ge": ">=",
    "neq": "!=",
    "ne": "!=",
}
_SIGNS |= {"lt": "<", "gt": ">", "approx": "=", "equiv": "≡", "in": "in"}
_NAME = re.compile(
    r"\s*(?:\\(?!frac|sqrt|sin|cos|tan|log|ln)[A-Za-z]+|[A-Za-z])(?:_\{?\w+\}?)?'*\s*(?:\([^()=]*\))?\s*"
    r"|[A-Za-z][A-Za-z ]{2,}|\\(?:angle|triangle)\s*[A-Z]+|\([A-Za-z](?:,\s*[A-Za-z])+\)|\|[A-Z]+\|"
    r"|[A-Z]{2,3}"
)
_WORD = re.compile(r"[A-Za-z]{3,}")
_VOWELS = frozenset("eiou")
_MATH_WORDS = {
    "pi",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "exp",
    "inf",
    "and",
    "or",
    "to",
    "if",
    "then",
    "mod",
}
_SCALES = "|".join(sorted(NUMBERS, key=len, reverse=True))
_SCALED = re.compile(rf"(?P<number>.*[0-9)\}}])\s*(?P<scale>(?:{_SCALES})+)(?P<rest>.*)", re.DOTALL)
_CURRENCY = re.compile(
    r"\s*(?P<sign>[-+]?)\s*\\?(?P<unit>US\$|[$€£¥₹])\s*(?P<value>[-+]?\s*[0-9.\\].*)", re.DOTALL
)
_COMPOUND = re.compile(r"\s*(?:and|,)?\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+|[\u4e00-\u9fff]+?(?=[0-9]|$))\.?")
_BASED = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{?\s*([0-9]{1,2})\s*\}?")
_BASES = {"two": "2", "three": "3", "five": "5", "eight": "8", "ten": "10", "twelve": "12", "sixteen": "16"}
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*?)(?:([0-9])\3{2,}|([0-9]{2,}?)\4+)(?:\.\.\.|…|\\l?dots)")
_RATIO = re.compile(r"[^:]+(?::[^:]+)+")


def read(text: str, depth: int = 0) -> Readings:
    """Return every way to read an answer; none where there is no way."""
    if len(text) > _LONGEST or depth > _DEEPEST:
        return ()
    source = _cleaned(text)
    bare = _unwrapped(source)
    if re.fullmatch(r"\\text\s*\{[^{}]*\}", source) or (bare != source and _LEAD.match(bare)):
        return read(bare, depth + 1)
    special: Readings = (*words.read(bare), *_choice(bare, depth), *_based(bare))
    if special and not any(isinstance(value, Choice) for value in special):
        return special
    readers: tuple[Callable[[str, int], Sequence[Value]], ...]
    readers = (_many, _ratio, _fenced, _union, _related, _numeral, _measured, _grid, _expression)
    found: list[Value] = list(special)
    for reader in readers:
        for value in reader(source, depth):
            if value not in found:
                found.append(value)
    if (not found and any(c.isalpha() for c in bare)) or _WORD.search(_unmarked(bare)):
        found.append(Words("".join(source.split()) if "\\" in bare else words.normal(bare)))
    return tuple(found)


# --- source ---------------------------------------------------------------------------------------------


def _cleaned(text: str) -> str:
    """Return `text` without what is round the answer, its characters those of LaTeX."""
    text = "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text).strip()
    for _ in range(4):
        before = text
        for opening, closing in _WRAPPERS:
            inside = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
                text = text if opening in inside.replace("\\" + opening, "") else inside.strip()
        if boxed := re.fullmatch(r"\\(?:boxed|fbox)\s*\{(.*)\}", text, re.DOTALL):
            text = boxed[1].strip() if _balanced(boxed[1]) else text
        text = re.sub(r"^\*\*([^*]+)\*\*", r"\1", text)
        if lead := _LEAD.match(text):
            text = text[lead.end() :]
        text = re.sub(r"(?<!\.)[.。]$|\\[.。]$|[,，]$", "", text.strip()).strip().removesuffix("\\").strip()
        if text == before:
            break
    if text.startswith("\\$") and text.endswith("\\$") and len(text) > 4:
        text = text[2:-2]
    text = re.sub(r"\\(?:underline|color\s*\{\w+\}|textcolor\s*\{\w+\})\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"(?<=[0-9])\s*\^?\s*\{?\s*(?:\\(?:text|mathrm)\s*\{)?(?:st|nd|rd|th)\}{0,2}$", "", text)
    text = re.sub(
        r"(?<=[0-9.])\\dot\s*\{?([0-9])\}?(?:([0-9]*)\\dot\s*\{?([0-9])\}?)?", r"\\overline{\1\2\3}", text
    )
    text = re.sub(r"([0-9]?)\s*([¼-¾⅐-⅞])", _vulgar, text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"√\s*\(", r"\\sqrt(", text)
    text = re.sub(r"√\s*([0-9]+|[A-Za-z])", r"\\sqrt{\1}", text)
    for sign, latex in _PLAIN_SIGNS.items():
        text = text.replace(sign, latex)
    text = re.sub(
        r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?|displaystyle|,|;|!|:)(?![A-Za-z])", _spacing, text
    )
    text = text.replace("\\ ", " ").replace("~", " ").replace("{,}", ",").replace("\\lbrace", "\\{")
    return text.replace("\\rbrace", "\\}").replace("\\degree", "^\\circ").strip()


def _vulgar(found: re.Match[str]) -> str:
    top, bottom = unicodedata.normalize("NFKC", found[2]).split("⁄")
    return rf"{found[1]}\frac{{{top}}}{{{bottom}}}"


def _spacing(found: re.Match[str]) -> str:
    return " " if found[0][1] in ",;:" else ""


def _unwrapped(source: str) -> str:
    """Return the answer as words: \text{} opened, signs as they are written without LaTeX."""
    bare = re.sub(r"([0-9}])\s*(?=\\(?:text|mathrm|mbox)\s*\{)", r"\1 ", source)
    bare = _UNWRAPPED.sub(r"\1", _UNWRAPPED.sub(r"\1", bare))
    bare = re.sub(r"\s*\^\s*\{?\s*\\circ\s*\}?\s*", "°", bare)
    for latex, sign in (("\\%", "%"), ("\\$", "$"), ("\\ldots", "…"), ("\\dots", "…"), ("\\quad", " ")):
        bare = bare.replace(latex, sign)
    return re.sub(r"\s+", " ", bare).strip()


def _balanced(text: str) -> bool:
    depth = 0
    for mark in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        if depth < 0:
            return False
    return not depth


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split `text` where `separator` stands outside all brackets."""
    parts, start, depth, at = [], 0, 0, 0
    while at < len(text):
        found = None if depth else separator.match(text, at)
        if found and found.end() > at:
            parts.append(text[start:at])
            start = at = found.end()
            continue
        if text.startswith(("\\begin", "\\end"), at):
            depth += 1 if text.startswith("\\begin", at) else -1
        step = 2 if text[at] == "\\" and at + 1 < len(text) else 1
        mark = text[at : at + step]
        depth += (mark in ("(", "[", "{", "\\{")) - (mark in (")", "]", "}", "\\}"))
        depth = max(depth, 0)
        at += step
    return [*parts, text[start:]]


_COMMAS = re.compile(r"\s*,\s*")
_WIDE_COMMAS = re.compile(r"\s*,\s+|\s*,(?=\\)")


def _elements(text: str) -> list[list[str]]:
    """Return the lists that `text` can be: parts of several answers."""
    both = re.compile(rf"{_AND.pattern}|\s*,\s*(?!\s*(?:and|or)\b|\s*\\text\{{\s*(?:and|or))")
    found = []
    for separator in (both, re.compile(rf"{_AND.pattern}|{_WIDE_COMMAS.pattern}")):
        parts = [part.strip() for part in _split(text, separator)]
        if len(parts) > 1 and all(parts) and parts not in found:
            found.append(parts)
    return found


# --- readers --------------------------------------------------------------------------------------------


def _choice(bare: str, depth: int) -> Readings:
    letter = r"(?P<letter>[A-J])"
    for pattern in (
        rf"\(?{letter}\)?",
        rf"选项?\s*{letter}",
        rf"{letter}\s*选项",
        rf"(?:[Oo]ption|[Cc]hoice)\s*\(?{letter}\)?",
    ):
        if found := re.fullmatch(pattern, bare):
            return (Choice(frozenset(found["letter"])),)
    if found := re.fullmatch(rf"\(?{letter}(?:\)|[.:：、])\s*(?P<value>\S.*)", bare):
        return (Choice(frozenset(found["letter"]), read(found["value"], depth + 1)),)
    several = re.fullmatch(r"[A-J](?:\s*(?:,|、|and|和|&)?\s*[A-J])+", bare)
    letters = re.findall("[A-J]", bare)
    if (
        several
        and len(set(letters)) == len(letters)
        and (len(letters) == len(bare)) <= (letters == sorted(letters))
    ):
        return (Choice(frozenset(letters)),)
    return ()


def _based(bare: str) -> Readings:
    for name, value in _BASES.items():
        bare = re.sub(rf"(?<=_)\{{?\s*{name}\s*\}}?$", value, bare)
    found = _BASED.fullmatch(bare)
    if found is None or not 2 <= (base := int(found[2])) <= 36 or len(found[1]) > 200:
        return ()
    if not found[1][0].isdigit() and (base <= 10 or len(found[1]) < 2):
        return ()  # a variable and its index
    try:
        return (Quantity(sympy.Integer(int(found[1], base))),)
    except ValueError:
        return ()


def _many(source: str, depth: int) -> Readings:
    found: list[Value] = []
    for parts in _elements(source):
        items: list[Readings] = []
        for part in parts:
            readings = read(part, depth + 1)
            both = next((r for r in readings if isinstance(r, Many) and r.kind == "bare"), None)
            items += both.items if both else [readings]  # ± is two of them
        if all(items):
            found.append(Many(tuple(items), "bare"))
            found += _joined(items)
    return tuple(found)


def _joined(items: Sequence[Readings]) -> Readings:
    """Return inequalities with `or` between them as what they allow together."""
    pieces = [next((r for r in item if isinstance(r, Pieces)), None) for item in items]
    known = [piece for piece in pieces if piece is not None]
    names = {piece.name for piece in known}
    if len(known) < len(pieces) or len(names) != 1 or names == {""}:
        return ()
    return (union([part for piece in known for part in piece.parts], names.pop()),)


def _ratio(source: str, depth: int) -> Readings:
    bare = re.sub(r"(?<=[0-9])\s+to\s+(?=[0-9])", ":", source)
    if not _RATIO.fullmatch(bare) or "://" in bare or words.clock(bare):
        return ()
    parts = [read(part, depth + 1) for part in bare.split(":")]
    if not all(any(isinstance(r, Quantity) for r in part) for part in parts):
        return ()
    found: list[Value] = [Many(tuple(parts), "ratio")]
    if len(parts) == 2:
        one, other = (next(r.value for r in part if isinstance(r, Quantity)) for part in parts)
        if other != 0:
            found.append(Quantity(one / other))
    return tuple(found)


def _fenced(source: str, depth: int) -> Readings:
    """Read what stands between brackets: a point, an interval, a set."""
    text = source.replace("\\langle", "(").replace("\\rangle", ")").strip()
    opening = "\\{" if text.startswith("\\{") else text[:1]
    closing = "\\}" if text.endswith("\\}") else text[-1:]
    if opening not in ("(", "[", "{", "\\{") or closing not in (")", "]", "}", "\\}") or not _encloses(text):
        return ()
    inside = text[len(opening) : -len(closing)].strip()
    if "{" in opening:
        return () if "}" not in closing else _set(inside, opening, depth)
    parts = [part.strip() for part in _split(inside, _COMMAS)]
    if len(parts) < 2 or not all(parts) or "}" in closing:
        return ()
    items = tuple(read(part, depth + 1) for part in parts)
    if not all(items):
        return ()
    found: list[Value] = []
    if opening + closing in ("()", "[]"):
        found.append(Many(items, "tuple" if opening == "(" else "brackets"))
    ends = [
        next((r.value for r in item if isinstance(r, Quantity) and r.unit is None), None) for item in items
    ]
    if len(ends) == 2 and None not in ends and _ascending(*ends):
        found.append(Pieces(((ends[0], opening == "[", ends[1], closing == "]"),)))
    return tuple(found)


def _set(inside: str, opening: str, depth: int) -> Readings:
    if not inside:
        return (Many((), "set"),) if opening == "\\{" else ()
    if re.search(r"\\mid|\||:", inside):
        return ()
    parts = [part.strip() for part in _split(inside, _COMMAS)]
    if opening == "{" and len(parts) < 2:
        return ()
    items: list[Readings] = []
    for part in parts:
        readings = read(part, depth + 1)
        both = next((r for r in readings if isinstance(r, Many) and r.kind == "bare"), None)
        items += both.items if both else [readings]
    return (Many(tuple(items), "set"),) if all(items) else ()


def _encloses(text: str) -> bool:
    """Return whether the bracket that `text` begins with is closed by its last."""
    depth, marks = 0, re.findall(r"\\[A-Za-z]+|\\.|.", text, re.DOTALL)
    for number, mark in enumerate(marks):
        depth += (mark in ("(", "[", "{", "\\{")) - (mark in (")", "]", "}", "\\}"))
        if depth == 0:
            return number == len(marks) - 1
    return False


_CUP = re.compile(r"\s*\\cup\s*")


def _union(source: str, depth: int) -> Readings:
    if re.fullmatch(r"\\(?:emptyset|varnothing)|\\text\{\s*empty set\s*\}|empty set", source):
        return (Many((), "set"),)
    if re.fullmatch(r"\\mathbb\s*\{?R\}?|all real numbers|\\text\{\s*all real numbers\s*\}", source):
        return (Pieces(((-sympy.oo, False, sympy.oo, False),)),)
    if removed := re.fullmatch(r"\\mathbb\s*\{?R\}?\s*(?:\\setminus|\\backslash|-)\s*(\\\{.*\\\})", source):
        return tuple(_without(r) for r in read(removed[1], depth + 1) if isinstance(r, Many))
    parts = _split(source, _CUP)
    if len(parts) < 2:
        return ()
    readings = [read(part.strip(), depth + 1) for part in parts]
    sets = [next((r for r in item if isinstance(r, Many) and r.kind == "set"), None) for item in readings]
    if all(one is not None for one in sets):
        return (Many(tuple(item for one in sets if one for item in one.items), "set"),)
    lines = [next((r for r in item if isinstance(r, Pieces)), None) for item in readings]
    pieces = [part for line in lines if line for part in line.parts]
    for line, one in zip(lines, sets, strict=True):
        values = [] if one is None else [r.value for i in one.items for r in i if isinstance(r, Quantity)]
        if line is None and not values:
            return ()
        pieces += [(value, True, value, True) for value in values]
    return (union(pieces, ""),)


def _without(points: Many) -> Pieces:
    values = [next((r.value for r in item if isinstance(r, Quantity)), None) for item in points.items]
    ends = [-sympy.oo, *sorted((v for v in values if v is not None), key=lambda v: float(v)), sympy.oo]
    return Pieces(tuple((one, False, other, False) for one, other in pairwise(ends)))


def union(pieces: Sequence[tuple[Any, bool, Any, bool]], name: str) -> Pieces:
    """Join pieces of a line: in order, those that touch as one."""
    joined: list[tuple[Any, bool, Any, bool]] = []
    for low, low_in, high, high_in in sorted(pieces, key=lambda p: (float(p[0]), not p[1])):
        if joined:
            start, start_in, end, end_in = joined[-1]
            if float(low) < float(end) or (low == end and (low_in or end_in)):
                if float(high) > float(end) or (high == end and high_in):
                    joined[-1] = (start, start_in, high, high_in)
                continue
        joined.append((low, low_in, high, high_in))
    return Pieces(tuple(joined), name)


def _ascending(low: Any, high: Any) -> bool:
    try:
        return bool(float(low) < float(high))
    except (TypeError, ValueError, OverflowError):
        return False


def _related(source: str, depth: int) -> Readings:
    """Read equations and inequalities."""
    parts = [part.strip() for part in _split(source, _RELATIONS)]
    if len(parts) < 2 or not all(parts):
        return ()
    signs = [_SIGNS.get(sign.lstrip("\\"), sign) for sign in _signs(source)]
    if len(signs) != len(parts) - 1:
        return ()
    if signs == ["in"]:
        name = parts[0]
        return tuple(
            Pieces(r.parts, name) if isinstance(r, Pieces) else r
            for r in read(parts[1], depth + 1)
            if isinstance(r, (Pieces, Many))
        )
    if set(signs) == {"="}:
        return _equation(parts, depth)
    if "=" in signs or "≡" in signs or "in" in signs:
        return ()
    return inequality([_value(part) for part in parts], signs)


def _signs(source: str) -> list[str]:
    """Return the relations of `source` that stand outside brackets."""
    inner = source
    for _ in range(_DEEPEST):
        inner = re.sub(r"\\[{}]", "", inner)
        inner = re.sub(r"\([^()]*\)|\[[^\[\]()]*\]|\{[^{}]*\}|\[[^\[\]()]*\)|\([^()\[\]]*\]", "#", inner)
    return _RELATIONS.findall(inner)


def _equation(parts: Sequence[str], depth: int) -> Readings:
    found: list[Value] = []
    if len(parts) == 2:
        values = [_value(part) for part in parts]
        if values[0] is not None and values[1] is not None:
            found.append(Relation(values[0] - values[1], "="))
    for name, value in ((parts[0], parts[-1]), (parts[-1], parts[0])):
        bare = re.sub(r"[\s{}_\\]", "", _unwrapped(name))
        if _NAME.fullmatch(_unwrapped(name)) and not (
            value is parts[0] and _NAME.fullmatch(_unwrapped(value))
        ):
            readings = tuple(r for r in read(value, depth + 1) if not isinstance(r, (Relation, Assigned)))
            if readings:
                found.append(Assigned(bare, readings))
                break
    return tuple(found)


def inequality(values: Sequence[Any], signs: Sequence[str]) -> Readings:
    """Read `values` with < <= > >= != between them: a part of the line where a variable stands alone or can,
    else what is said of a difference."""
    if any(value is None for value in values):
        return ()
    if len(values) == 3 and len({sign[0] for sign in signs}) == 1 and signs[0][0] in "<>":
        low, middle, high = values if signs[0][0] == "<" else values[::-1]
        marks = signs if signs[0][0] == "<" else signs[::-1]
        if middle.is_Symbol and not (low.free_symbols or high.free_symbols) and _ascending(low, high):
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
    found: list[Value] = [Relation(difference, sign)]
    symbols = sorted(difference.free_symbols, key=str)
    if len(symbols) == 1 and difference.is_polynomial(*symbols) and sympy.degree(difference, symbols[0]) == 1:
        slope = difference.coeff(symbols[0]) if difference.is_Add or difference.is_Mul else sympy.Integer(1)
        slope = sympy.Poly(difference, symbols[0]).LC() if slope == 0 else slope
        end = sympy.solve(difference, symbols[0])[0]
        if not slope.is_real:
            return tuple(found)
        below, above = (-sympy.oo, False, end, "=" in sign), (end, "=" in sign, sympy.oo, False)
        if sign == "!=":
            found.append(
                Pieces(((-sympy.oo, False, end, False), (end, False, sympy.oo, False)), str(symbols[0]))
            )
        else:
            found.append(Pieces((above if slope > 0 else below,), str(symbols[0])))
    elif len(symbols) == 1 and difference.count_ops() < 40:
        found += _solved(difference, sign, symbols[0])
    return tuple(found)


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


def numbers(text: str) -> list[Any]:
    """Return the values of a numeral as some country writes it: `1,234.5`, `1.234,5`, `1 234`, `1'234`."""
    found = re.fullmatch(r"\s*([-+]?)\s*(.+?)\s*", text)
    if found is None or len(text) > 1_000:
        return []
    values = []
    for pattern, grouping, point in _NUMERALS:
        if pattern.fullmatch(found[2]):
            plain = "".join(c for c in found[2] if c not in grouping).replace(point, ".")
            values.append(decimal(found[1] + plain))
    return values[:1]


def decimal(text: str) -> Any:
    """Return a decimal exactly; as a `Float` where it has all the digits of one, for then it was rounded."""
    digits = re.sub(r"[eE].*|[-+.]", "", text).lstrip("0")
    rounded = len(digits) >= _FLOAT_DIGITS and re.search(r"[.eE]", text)
    return sympy.Float(text, 30) if rounded else sympy.Rational(text)


def _numeral(source: str, depth: int) -> Readings:
    if (found := _REPEATING.fullmatch(source)) and len(source) < 100:
        digits, places = found[3] or found[4], len(found[2])
        value = sympy.Rational(f"{found[1] or 0}.{found[2]}0")
        return (Quantity(value + sympy.Rational(int(digits), (10 ** len(digits) - 1) * 10**places)),)
    return tuple(Quantity(value) for value in numbers(source))


def _measured(source: str, depth: int) -> Readings:
    """Read a number and its unit."""
    bare = _unwrapped(source)
    bare = re.sub(r"(?<=[0-9])\s*\(([A-Za-z][A-Za-z ]+)\)$", r" \1", bare)
    if found := _CURRENCY.fullmatch(bare):
        amounts = [r for r in read(found["sign"] + found["value"], depth + 1) if isinstance(r, Quantity)]
        money = units.units(found["unit"])
        return tuple(Quantity(r.value, unit) for r in amounts for unit in money if r.unit is None)
    if percent := re.fullmatch(r"百分之(.+)", bare):
        known = [r for r in read(percent[1], depth + 1) if isinstance(r, Quantity)]
        return tuple(Quantity(r.value, units.units("%")[0]) for r in known)
    if compound := _compound(bare):
        return compound
    for start in _unit_starts(bare):
        value, unit = bare[:start].rstrip(" -"), bare[start:]
        scale = 1
        if scaled := _SCALED.fullmatch(bare[:start] + unit):
            value, unit = scaled["number"], scaled["rest"].strip()
            for word in re.findall(_SCALES, scaled["scale"]):
                scale *= NUMBERS[word]
        named = units.units(unit) if unit else []
        if not named and unit and _is_label(unit):
            named = [LABEL]
        if unit and not named:
            continue
        read_so: Readings = (*(Quantity(n) for n in numbers(value)), *_expression(value, depth))
        known = [r for r in read_so if isinstance(r, Quantity) and not r.value.free_symbols]
        if known and named:
            return tuple(Quantity(known[0].value * scale, one) for one in named)
        if known:
            return (Quantity(known[0].value * scale),)
    return ()


def _unit_starts(bare: str) -> list[int]:
    """Return where a unit can begin: a letter after something else, right behind a digit only if it is not
    alone."""
    starts = []
    for at in range(1, len(bare)):
        letter, before = bare[at], bare[at - 1]
        if letter in "%°€£$¥₹¢µΩ" or "\u4e00" <= letter <= "\u9fff" or letter == "円":
            starts.append(at)
        elif letter.isalpha() and not before.isalpha() and before not in "\\{_^":
            alone = re.fullmatch(r"[A-Za-z]", bare[at:]) is not None
            if before == " " or not alone:
                starts.append(at)
    return starts


def _is_label(unit: str) -> bool:
    """Return whether `unit` are words for what was counted."""
    if re.fullmatch(r"[\u4e00-\u9fff]{1,6}", unit):
        return True
    words = re.sub(r"[()]", "", unit).rstrip(".").split()
    plain = all(re.fullmatch(r"[A-Za-z][a-z'\-]+", word) for word in words)
    return plain and 0 < len(words) <= 6 and not _MATH_WORDS & {word.lower() for word in words}


def _compound(bare: str) -> Readings:
    """Read `2 hours 30 minutes` and `5元5角`."""
    parts = list(_COMPOUND.finditer(bare))
    if len(parts) < 2 or "".join(part[0] for part in parts) != bare:
        return ()
    choices = [units.units(part[2]) for part in parts]
    for first in choices[0]:
        same = [
            next((u for u in units if u.measures == first.measures and u.factor <= first.factor), None)
            for units in choices
        ]
        if all(same):
            total = sum(
                decimal(part[1]) * unit.factor for part, unit in zip(parts, same, strict=True) if unit
            )
            return (Quantity(total / first.factor, first),)
    return ()


def _grid(source: str, depth: int) -> Readings:
    found = re.fullmatch(
        r"[(\[]?\s*\\begin\{(matrix|[pbB]matrix|smallmatrix|array)\}(.*)\\end\{\1\}\s*[)\]]?",
        source,
        re.DOTALL,
    )
    if found is None:
        return ()
    body = re.sub(r"^\s*\{[clr|]*\}", "", found[2]) if found[1] == "array" else found[2]
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", body) if row.strip()]
    cells = [[_value(cell) for cell in row.split("&")] for row in rows]
    if (
        not cells
        or any(cell is None for row in cells for cell in row)
        or len({len(row) for row in cells}) > 1
    ):
        return ()
    return (Grid(tuple(tuple(row) for row in cells)),)


def _value(text: str) -> Any:
    """Return one expression; `None` where it is none, or several."""
    plain = numbers(text)
    if plain:
        return plain[0]
    found = [r.value for r in _expression(text, 0) if isinstance(r, Quantity)]
    return found[0] if found else None


def _unmarked(text: str) -> str:
    """Return `text` without commands, and without names that are mathematics as they stand."""
    return _PLAIN_NAMES.sub(" ", re.sub(r"\\(?:begin|end)\{\w+\*?\}|\\[A-Za-z]+", " ", text))


def _expression(source: str, depth: int) -> Readings:
    if any(_VOWELS & set(word) and len(word) > 3 for word in _WORD.findall(_unmarked(source).lower())):
        return ()  # words, not a product of letters
    try:
        values = evaluate(_latex(source))
    except Unreadable:
        return ()
    if len(values) > 1 and "\\pm" in source:
        return (Many(tuple((Quantity(value),) for value in values), "bare"),)
    return tuple(Quantity(value) for value in values)


def _latex(source: str) -> str:
    """Return what is written as on a keyboard (`sqrt(2)`, `x^(1/2)`, `2**3`) as LaTeX."""
    text = source.replace("**", "^")
    names = {"infinity": "infty", "inf": "infty", "oo": "infty"}
    text = _PLAIN_NAMES.sub(lambda m: f"\\{names.get(m[1], m[1])} ", text)
    text = re.sub(r"(?<=[0-9])\s+x\s+(?=10\s*\^)", r"\\times ", text)
    text = re.sub(r"(?<=[0-9])[eE]([-+]?[0-9]{1,4})(?![0-9A-Za-z])", r"\\cdot 10^{\1}", text)
    for _ in range(_DEEPEST):
        before = text
        text = re.sub(r"(\\sqrt\s*|\^\s*)\(([^()]*)\)", r"\1{\2}", text)
        if text == before:
            break
    return text
