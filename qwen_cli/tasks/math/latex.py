r"""The readings of an answer that is written in LaTeX or in words: what stands in `\boxed{}`, or is expected.

Runs in the sandbox (see `answer.Judge`): an answer such as `9^{9^{9^9}}` is cheap to read, dear to compute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sympy

from qwen_cli.tasks.math import chemistry, sentences, statements, units, words
from qwen_cli.tasks.math.cleaning import LEAD, cleaned, unwrapped, whole_letter
from qwen_cli.tasks.math.expression import Unreadable, evaluate
from qwen_cli.tasks.math.intervals import (
    ascending,
    common_elements,
    inequality,
    intersection,
    line_without,
    union,
    without,
)
from qwen_cli.tasks.math.units import LABEL, NUMBERS
from qwen_cli.tasks.math.values import (
    ANY_WHOLE,
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
    replaced,
)

_LONGEST = 2_000  # characters of an answer
_MOST_ELEMENTS = 200  # of a set whose middle is left out
_DEEPEST = 6  # answers within answers
_LONGEST_UNIT = 80  # characters, with words such as million before it
_GREEK = "alpha beta gamma delta epsilon theta lambda mu phi omega rho sigma tau"
_PLAIN_NAMES = re.compile(
    rf"(?<![\\A-Za-z])(sqrt|pi|infinity|infty|inf|oo|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh"
    rf"|log|ln|exp|floor|ceil|ceiling|abs|{_GREEK.replace(' ', '|')})(?![A-Za-z])"
)
_GROUPED = r"[1-9][0-9]{0,2}"
_DOTTED, _SPACED = rf"{_GROUPED}(?:\.[0-9]{{3}}){{2,}}", rf"{_GROUPED}(?:[ '’][0-9]{{3}})+"
_NUMERALS = (
    (re.compile(rf"{_GROUPED}(?:,[0-9]{{3}})+(?:\.[0-9]+)?"), ",", "."),
    (re.compile(r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?"), ",", "."),  # lakhs and crores
    (re.compile(rf"(?:{_DOTTED}|{_GROUPED}(?:\.[0-9]{{3}})+(?=,))(?:,[0-9]+)?"), ".", ","),
    (re.compile(rf"{_SPACED}(?:\.[0-9]+)?"), " '’", "."),
    (re.compile(rf"{_SPACED},[0-9]+"), " '’", ","),
    (re.compile(rf"{_GROUPED}(?:_[0-9]{{3}})+(?:\.[0-9]+)?"), "_", "."),
    (re.compile(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|0,[0-9]+"), "", ","),
    (re.compile(r"[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]{1,4})?|[0-9]+\.?(?:[eE][-+]?[0-9]{1,4})?"), "", "."),
)
_FLOAT_DIGITS = 10  # significant digits from which a decimal is the rounded value of something
_AND = re.compile(
    r"\s*(?:\\(?:lor|land|vee|wedge)(?![A-Za-z])|,?\s+(?:and|or)\s+|,?\s*\\text\{\s*(?:,\s*)?(?:and|or|和|或)\s*\}\s*|和|或者?|且|、|；|;"
    r"|(?<=[)\]}0-9])(?:or|and)(?=[-(\[{\\A-Z0-9]|[a-z]\s*=)|\s\\?&\s)\s*"
)
_SEMICOLON = re.compile(r"\s*[;；]\s*")
_ALSO = re.compile(
    r"\s*(?:,?\s+and\s+|,?\s*\\text\{\s*(?:,\s*)?(?:and|且)\s*\}\s*|且|\\land(?![A-Za-z])|,|;)\s*"
)
_APPROXIMATELY = re.compile(r"\s*\\approx(?![A-Za-z])\s*")
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
_PRIME = "'"
_ORDER = r"(?:\^\s*\{?[1-9]\}?)?"
_D = rf"(?:d|\\partial)\s*{_ORDER}"  # before what is derived
_NAME = re.compile(
    r"\s*(?:\\Delta\s*)?(?:\\(?!frac|sqrt|sin|cos|tan|log|ln)[A-Za-z]+|[A-Za-z])(?:_(?:\w|\\[A-Za-z]+|\{[^{}]*\}))?"
    r"(?:'|\^\\prime|\^-1(?=\s*\()|\^\{-1\}(?=\s*\())*\s*(?:\([^()=]*\))?\s*"
    r"|\\(?:vec|overrightarrow|hat|boldsymbol|mathbf)\s*\{?\s*[A-Za-z]{1,2}\s*\}?"
    r"|(?:\\(?:mathbb|mathrm|operatorname)\s*\{?\s*)?(?:Var|Cov|E|P|D|Pr)\s*\}?\s*[\[(][^()\[\]]*[\])]"
    r"|[A-Za-z][A-Za-z ]{2,}|m?\s*\\(?:angle|triangle)\s*[A-Z]+|\([A-Za-z](?:,\s*[A-Za-z])+\)|\|[A-Z]+\|"
    rf"|\\[dt]?frac\s*\{{\s*{_D}\s*[A-Za-z]\s*\}}\s*\{{\s*(?:d|\\partial)\s*[A-Za-z]\s*{_ORDER}\s*\}}"
    r"|[A-Za-z][0-9]|p(?:O?H|K_?\{?[ab]\}?)|[A-Z]{2,3}|\\overline\s*\{?[A-Za-z]+\}?|(?:\\sigma|\\chi|s|R)\s*\^\s*\{?\s*2\s*\}?|[PED]\s*\([^()]*\)"
    r"|\\(?:sin|cos|tan|cot)\s*(?:\\(?:alpha|beta|gamma|theta|angle\s*[A-Z]+)|[A-D])\s*"
)
_DERIVATIVE = re.compile(
    r"\\[dt]?frac(?:d|\\partial)(?:\^([1-9]))?([A-Za-z])(?:d|\\partial)([A-Za-z])(?:\^[1-9])?"
)
_POINT = r"(?:[A-Za-z](?:_(?:\w|\{\w+\}))?'?|[A-Z]{2,4}'?|S_\{[A-Z]+\})"
_QUOTIENT = re.compile(rf"{_POINT}(?:\s*[:/]\s*{_POINT})+|\\[dt]?frac\s*\{{{_POINT}\}}\s*\{{{_POINT}\}}")
_CALLED = frozenset(("floor", "ceil", "ceiling", "abs"))
_WORD = re.compile(r"[A-Za-z]{3,}")
_CONNECTED = re.compile(r"(?<![\\A-Za-z])(?:and|or|the|of|is|are|per|for|not?|all|if)(?![A-Za-z])")
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
    r"\s*(?P<sign>[-+]?)\s*\\?(?P<unit>(?:US|HK|NT|[RACS])\$|[$€£¥₹]|USD|EUR|GBP|CNY|RMB|JPY|Rs\.?)\s*"
    r"(?P<value>[-+]?\s*[0-9.\\].*?)(?P<label>\s+[a-z][a-z ]*|/[a-z]+)?",
    re.DOTALL,
)
_COMPOUND = re.compile(r"\s*(?:and|,)?\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+|[\u4e00-\u9fff]+?(?=[0-9]|$))\.?")
_CHANGE = re.compile(
    r"(?:an? )?(?P<share>[^ ].*(?:%| percent))"
    r" (?P<what>increase|decrease|discount|off|profit|loss|more|less|faster|slower|chance)"
    r"|(?:an? )?(?P<whose>increase|decrease|discount|profit|loss) (?:of|by) (?P<of>.*(?:%| percent))"
)
_BASED = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{?\s*([0-9]{1,2})\s*\}?")
_PREFIXED = re.compile(r"0(?:x[0-9A-Fa-f]{1,50}|b[01]{1,200}|o[0-7]{1,60})")
_CLOCKED = re.compile(r"(?:([0-9]+)\s*h)?\s*(?:([0-9]+)\s*m)?\s*(?:([0-9]+)\s*s)?")
_PRIMED = re.compile(
    r"([0-9]+)\s*([°']|\^\\circ)\s*([0-9]+(?:\.[0-9]+)?)\s*('{1,2}|\")\s*(?:([0-9]+(?:\.[0-9]+)?)\s*(?:''|\"))?"
)
_CHINESE_NUMBER = re.compile(
    r"(?:([0-9.]+)亿)?(?:([0-9.]+)万)?(?:([0-9.]+)千)?(?:([0-9.]+)百)?([0-9.]+)?([^0-9]*)"
)
_INDEX = r"(?:\{(\w+)\}|(\w))"  # of one sign, or in braces
_PRINTED_C = r"(?:C|\\mathrm\s*\{C\})"
_COMBINATIONS = re.compile(
    rf"(?:\{{\s*\}})?\^{_INDEX}\s*{_PRINTED_C}_{_INDEX}|(?:\{{\s*\}})?_{_INDEX}\s*{_PRINTED_C}_{_INDEX}"
    rf"|{_PRINTED_C}_{_INDEX}\^{_INDEX}|(?<![A-Za-z\\])C\(([0-9]+),\s*([0-9]+)\)"
)
_PRINTED_P = r"(?:[AP]|\\mathrm\s*\{[AP]\})"
_COUNT = r"(?:\{([0-9]+)\}|([0-9]))"
_ORDERED = re.compile(
    rf"(?:\{{\s*\}})?\^{_COUNT}\s*{_PRINTED_P}_{_COUNT}|(?:\{{\s*\}})?_{_COUNT}\s*{_PRINTED_P}_{_COUNT}"
    rf"|(?<![A-Za-z\\]){_PRINTED_P}_{_COUNT}\^{_COUNT}"
)
_BASES = {"two": "2", "three": "3", "five": "5", "eight": "8", "ten": "10", "twelve": "12", "sixteen": "16"}
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*?)(?:([0-9])\3{2,}|([0-9]{2,}?)\4+)(?:\.\.\.|…|\\l?dots)")
_BRACKETED = re.compile(r"([0-9]*)\.([0-9]*)\(([0-9]+)\)")
_RATIO = re.compile(r"[^:]+(?::[^:]+)+")


@lru_cache(maxsize=512)
def read(text: str, depth: int = 0) -> Readings:
    """Return every way to read an answer; none where there is no way."""
    if len(text) > _LONGEST or depth > _DEEPEST:
        return ()
    source = cleaned(text)
    bare = unwrapped(source)
    if re.fullmatch(r"\\text\s*\{[^{}]*\}", source) or (bare != source and LEAD.match(bare)):
        return read(bare, depth + 1)
    if cases := statements.cases(source):
        both = [(read(value, depth + 1), read(said, depth + 1)) for value, said in cases]
        return (Many(tuple((Many(pair, "tuple"),) for pair in both), "set"),) if all(map(all, both)) else ()
    if rows := statements.rows(source):
        return read(", ".join(rows), depth + 1) if len(rows) > 1 else read(rows[0], depth + 1)
    if said := statements.statement(source):
        return (Words(said),)
    special: Readings = (*words.read(bare), *_choice(bare, depth), *_based(bare), *_residue(bare, depth))
    if special and not any(isinstance(value, Choice) for value in special):
        return special
    readers: tuple[Callable[[str, int], Sequence[Value]], ...]
    readers = (
        *(_many, _ratio, _fenced, _union, _conjoined, _named, _bounded, _related, _about, _said, _numeral),
        *(_measured, _grid, _expression, _vector),
    )
    readings: list[Value] = [*special, *_roman(bare)]
    for reader in readers:
        for value in reader(source, depth):
            if value not in readings:
                readings.append(value)
    if any(
        isinstance(r, Quantity) and r.unit is not None and r.unit.measures and not r.unit.free
        for r in readings
    ):
        # 0 m is no bare 0, whatever letters stand for.
        readings = [
            r
            for r in readings
            if not (isinstance(r, Quantity) and r.unit is None and not r.value.free_symbols)
        ]
    if formula := chemistry.chemical(source):
        if re.search(r"[A-Za-z][0-9]|\\(?:ce|mathrm|text)(?![A-Za-z])", source):
            # No product of letters, which has them in any order.
            readings = [r for r in readings if not (isinstance(r, Quantity) and r.value.free_symbols)]
        readings.append(Words(formula))
    if (not readings and any(c.isalpha() for c in bare)) or _WORD.search(_unmarked(bare)):
        joined = "\\" in bare or any(sign in bare for sign in "<>=")
        readings.append(Words(re.sub(r"[\s{}]", "", bare) if joined else words.normal(bare)))
    if letter := whole_letter(text):
        every = {sympy.Symbol(letter): ANY_WHOLE}
        readings += [other for r in readings if (other := replaced(r, every)) != r]
    return tuple(readings)


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split `text` where `separator` stands outside all brackets."""
    parts, start, depth, at = [], 0, 0, 0
    while at < len(text):
        match = None if depth else separator.match(text, at)
        if match and match.end() > at:
            parts.append(text[start:at])
            start = at = match.end()
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
_LISTED = re.compile(rf"{_AND.pattern}|{_COMMAS.pattern}")
_WIDE_COMMAS = re.compile(r"\s*,\s+|\s*,(?=\\)")


def _elements(text: str) -> list[list[str]]:
    """Return the lists that `text` can be: parts of several answers."""
    both = re.compile(rf"{_AND.pattern}|\s*,\s*(?!\s*(?:and|or)\b|\s*\\text\{{\s*(?:and|or))")
    elements = []
    if re.fullmatch(r"-?[0-9.]+(?:/[0-9]+)?(?:\s+-?[0-9.]+(?:/[0-9]+)?)+", text) and not numbers(text):
        elements.append(text.split())
    for separator in (both, re.compile(rf"{_AND.pattern}|{_WIDE_COMMAS.pattern}"), _SEMICOLON):
        parts = [part.strip() for part in _split(text, separator)]
        if len(parts) > 1 and all(parts) and parts not in elements:
            elements.append(parts)
    return elements


# --- readers --------------------------------------------------------------------------------------------


_NUMERAL = r"\b(?:I{1,3}|IV|VI{0,3})\b"


def _choice(bare: str, depth: int) -> Readings:
    letter = r"(?P<letter>[A-J])"
    for pattern in (
        rf"\(?{letter}\)?",
        rf"选项?\s*{letter}\s*(?:正确)?",
        rf"{letter}\s*选项",
        rf"(?:[Oo]ption|[Cc]hoice)\s*\(?{letter}\)?",
    ):
        if match := re.fullmatch(pattern, bare):
            return (Choice(frozenset(match["letter"])),)
    if match := re.fullmatch(rf"{letter}\s+\((?P<value>[^()]+)\)", bare):
        return (Choice(frozenset(match["letter"]), read(match["value"], depth + 1)),)
    if match := re.fullmatch(
        rf"\(?{letter}(?:\)|[.:：、])\s*(?![A-J](?:\s*[、,]?\s*[A-J])*$)(?P<value>\S.*)", bare
    ):
        return (Choice(frozenset(match["letter"]), read(match["value"], depth + 1)),)
    if small := re.fullmatch(r"\(?(?P<letter>[a-e])\)?", bare):
        return (Choice(frozenset(small["letter"].upper())),)
    if re.fullmatch(r"[①-⑳](?:\s*[,、和]?\s*[①-⑳])*", bare):
        return (Choice(frozenset(re.findall("[①-⑳]", bare))),)
    if (
        re.fullmatch(
            rf"(?:Statements? )?{_NUMERAL}(?:\s*(?:,|and|&|、|和|,\s*and)\s*{_NUMERAL})*(?: only)?", bare
        )
        and len(bare) > 1
    ):
        return (Choice(frozenset(re.findall(_NUMERAL, re.sub("[A-Za-z]{4,}", "", bare)))),)
    several = re.fullmatch(r"[A-J](?:\s*(?:,|、|and|和|&)?\s*[A-J])+", bare)
    letters = re.findall("[A-J]", bare)
    if (
        several
        and len(set(letters)) == len(letters)
        and (len(letters) == len(bare)) <= (letters == sorted(letters))
    ):
        return (Choice(frozenset(letters)),)
    return ()


def _roman(bare: str) -> Readings:
    value = words.roman(bare)
    return () if value is None else (Quantity(value),)


def _based(bare: str) -> Readings:
    for name, value in _BASES.items():
        bare = re.sub(rf"(?<=_)\{{?\s*{name}\s*\}}?$", value, bare)
    if prefixed := _PREFIXED.fullmatch(bare):
        return (Quantity(sympy.Integer(int(prefixed[0], 0))),)
    match = _BASED.fullmatch(bare)
    if match is None or not 2 <= (base := int(match[2])) <= 36 or len(match[1]) > 200:
        return ()
    if not match[1][0].isdigit() and (base <= 10 or (len(match[1]) < 2 and base not in (12, 16))):
        return ()  # a variable and its index
    try:
        number = Quantity(sympy.Integer(int(match[1], base)))
    except ValueError:
        return ()
    return (
        (number,)
        if len(match[1]) > 1 or match[1].isdigit()
        else (number, Quantity(sympy.Symbol(match[1] + match[2])))
    )


def _residue(bare: str, depth: int) -> Readings:
    """Read a remainder: `n \\equiv 3 \\pmod 5`, `3 (mod 5)`."""
    match = re.fullmatch(
        r"(?:(?P<equal>[A-Za-z]\s*(?:\\equiv|≡))\s*)?(-?[0-9]{1,20})\s*"
        r"(?:(?:\\pmod|(?(equal)(?:\\b?mod|mod)|(?!)))(?![A-Za-z])\s*\{?\s*([0-9]{1,20})\s*\}?"
        r"|\(\s*(?:\\bmod|\\mod|mod)\s*\{?\s*([0-9]{1,20})\s*\}?\s*\))",
        bare,
    )
    modulus = int(match[3] or match[4]) if match else 0
    if match is None or not modulus:
        return ()
    rest = int(match[2]) % modulus
    return (Words(f"{rest} mod {modulus}"), Quantity(rest + modulus * ANY_WHOLE))


def _many(source: str, depth: int) -> Readings:
    values: list[Value] = []
    for parts in _elements(source):
        items: list[Readings] = []
        for part in parts:
            readings = read(part, depth + 1)
            both = next((r for r in readings if isinstance(r, Many) and r.kind == "bare"), None)
            alike = both and not _elements(part) and r"\begin" not in part  # ± is two of them
            items += both.items if both and alike else [readings]
        if all(items):
            values.append(Many(tuple(items), "bare"))
            if re.search(r"\bor\b|或|\\lor|\\text\{\s*or", source) or not _conjoined(source, depth):
                values += _joined(items)
    return tuple(values)


def _joined(items: Sequence[Readings]) -> Readings:
    """Return inequalities with `or` between them as what they allow together."""
    pieces = [next((r for r in item if isinstance(r, Pieces)), None) for item in items]
    known = [piece for piece in pieces if piece is not None]
    names = {piece.name for piece in known}
    if len(known) < len(pieces) or len(names) != 1 or names == {""}:
        return ()
    return (union([part for piece in known for part in piece.parts], names.pop()),)


def _ratio(source: str, depth: int) -> Readings:
    bare = re.sub(r"(?<=[0-9])(?:\s+(?:to|out of|in)\s+|-to-)(?=[0-9])", ":", unwrapped(source))
    if not _RATIO.fullmatch(bare) or "://" in bare or words.clock(bare):
        return ()
    parts = [read(part, depth + 1) for part in bare.split(":")]
    if not all(any(isinstance(r, Quantity) for r in part) for part in parts):
        return ()
    readings: list[Value] = [Many(tuple(parts), "ratio")]
    if len(parts) == 2:
        one, other = (next(r.value for r in part if isinstance(r, Quantity)) for part in parts)
        if other != 0:
            readings.append(Quantity(one / other))
    return tuple(readings)


def _fenced(source: str, depth: int) -> Readings:
    """Read what stands between brackets: a point, an interval, a set."""
    if source.startswith("(") and source.endswith(")") and "\\pm" in source and _encloses(source):
        both = [read(source.replace("\\pm", sign), depth + 1) for sign in "+-"]
        return (Many(tuple(both), "bare"),) if all(both) else ()
    source = re.sub(
        r"(?<=[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\(?:mathrm|text|mathsf)\s*\{T\})\s*\}?$", "", source
    )
    if row := re.fullmatch(r"([\[(])\s*((?:-?[0-9./]+\s+)+-?[0-9./]+)\s*([\])])", source):
        source = row[1] + ",".join(row[2].split()) + row[3]
    text = source.replace("\\langle", "(").replace("\\rangle", ")").strip()
    if named := re.fullmatch(
        r"(?:[A-Z]'?|(?:\\text\s*\{)?\s*(?:[Tt]he\s+)?[Pp]oint\s*\}?|点)\s*(\(.*\))", text
    ):
        return tuple(r for r in _fenced(named[1], depth) if isinstance(r, Many))
    if turned := _TURNED.fullmatch(text):
        text = f"{'[' if turned[1] == '[' else '('}{turned[2]}{']' if turned[3] == ']' else ')'}"
    opening = "\\{" if text.startswith("\\{") else text[:1]
    closing = "\\}" if text.endswith("\\}") else text[-1:]
    if opening not in ("(", "[", "{", "\\{") or closing not in (")", "]", "}", "\\}") or not _encloses(text):
        return ()
    inside = text[len(opening) : -len(closing)].strip()
    if "{" in opening:
        return () if "}" not in closing else _set(inside, opening, depth)
    parts = [part.strip() for part in _split(inside, _SEMICOLON if ";" in inside else _COMMAS)]
    if len(parts) < 2 or not all(parts) or "}" in closing:
        return ()
    items = tuple(read(part, depth + 1) for part in parts)
    if not all(items):
        return ()
    readings: list[Value] = []
    if opening + closing in ("()", "[]"):
        readings.append(Many(items, "tuple" if opening == "(" else "brackets"))
    ends = [
        next((r.value for r in item if isinstance(r, Quantity) and r.unit is None), None) for item in items
    ]
    if len(ends) == 2 and None not in ends and ascending(*ends):
        readings.append(Pieces(((ends[0], opening == "[", ends[1], closing == "]"),)))
    return tuple(readings)


def _set(inside: str, opening: str, depth: int) -> Readings:
    if not inside:
        return (Many((), "set"),) if opening == "\\{" else ()
    if builder := re.fullmatch(
        r"([A-Za-z])(?:\s*\\in\s*\\mathbb\s*\{?R\}?)?\s*(?:\\mid(?![A-Za-z])|\||:)\s*(.*)", inside, re.DOTALL
    ):
        return tuple(_collected(r) for r in read(builder[2], depth + 1) if isinstance(r, (Pieces, Many)))
    if re.search(r"\\mid|\||:", inside):
        return ()
    parts = _continued([part.strip() for part in _split(inside, _COMMAS)])
    if opening == "{" and len(parts) < 2:
        return ()
    items: list[Readings] = []
    for part in parts:
        readings = read(part, depth + 1)
        both = next((r for r in readings if isinstance(r, Many) and r.kind == "bare"), None)
        items += both.items if both else [readings]
    return (Many(tuple(items), "set"),) if all(items) else ()


def _continued(parts: list[str]) -> list[str]:
    """Return the elements of `1, 2, \\ldots, 5`, all of them, where they go on in equal steps."""
    dots = [n for n, part in enumerate(parts) if re.fullmatch(r"\\l?dots|\\cdots|\.\.\.|…", part)]
    whole = [part for n, part in enumerate(parts) if n not in dots]
    if len(dots) != 1 or dots[0] < 2 or dots[0] == len(parts) - 1:
        return parts
    if not all(re.fullmatch("-?[0-9]{1,9}", part) for part in whole):
        return parts
    numbers, last = [int(part) for part in parts[: dots[0]]], int(parts[-1])
    step = numbers[1] - numbers[0]
    full = list(range(numbers[0], last + (1 if step > 0 else -1), step)) if step else []
    ends = numbers + [int(part) for part in parts[dots[0] + 1 :]]
    fits = len(full) <= _MOST_ELEMENTS and set(ends) <= set(full) and full[: len(numbers)] == numbers
    return [str(number) for number in full] if fits else parts


def _collected(reading: Pieces | Many) -> Value:
    """Return what is said of the elements of a set as the set."""
    if isinstance(reading, Pieces):
        return Pieces(reading.parts)
    items = [next((r.value for r in item if isinstance(r, Assigned)), item) for item in reading.items]
    return Many(tuple(items), "set")


def _encloses(text: str) -> bool:
    """Return whether the bracket that `text` begins with is closed by its last."""
    depth, marks = 0, re.findall(r"\\[A-Za-z]+|\\.|.", text, re.DOTALL)
    for number, mark in enumerate(marks):
        depth += (mark in ("(", "[", "{", "\\{")) - (mark in (")", "]", "}", "\\}"))
        if depth == 0:
            return number == len(marks) - 1
    return False


_NAMED_SETS = {
    **dict.fromkeys((r"\mathbbZ", "allintegers", r"\textallintegers"), "the integers"),
    **dict.fromkeys(
        (
            r"\mathbbZ^+",
            r"\mathbbZ_+",
            r"\mathbbZ_{>0}",
            r"\mathbbN^*",
            r"\mathbbN^+",
            r"\mathbbN_+",
            "allpositiveintegers",
            r"\textallpositiveintegers",
            "positiveintegers",
            r"\textpositiveintegers",
        ),
        "the positive integers",
    ),
    **dict.fromkeys((r"\mathbbN", r"\textallnaturalnumbers", "allnaturalnumbers"), "the natural numbers"),
}
_TURNED = re.compile(r"\s*([\[\]])([^\[\]]*)([\[\]])\s*")  # ]0, 1[
_SPARED = re.compile(r"all real (?:numbers|values)(?: of [a-z])?,? (?:except|excluding|but)(?: for)? (.+)")
_CUP, _CAP = re.compile(r"\s*\\cup\s*"), re.compile(r"\s*\\cap\s*")


def _union(source: str, depth: int) -> Readings:
    if re.fullmatch(r"\\(?:emptyset|varnothing)|\\text\{\s*empty set\s*\}|empty set", source):
        return (Many((), "set"),)
    if re.fullmatch(r"\\mathbb\s*\{?R\}?|all real numbers|\\text\{\s*all real numbers\s*\}", source):
        return (Pieces(((-sympy.oo, False, sympy.oo, False),)),)
    if spared := _SPARED.fullmatch(source):
        left = [line_without((r,)) for r in read(spared[1], depth + 1) if isinstance(r, (Quantity, Many))]
        return tuple(left[:1])
    if len(both := _split(source, _CAP)) > 1:
        read_both = [read(part.strip(), depth + 1) for part in both]
        return intersection(read_both) or common_elements(read_both)
    if (names := re.sub(r"[\s{}]", "", source)) in _NAMED_SETS:
        return (Words(_NAMED_SETS[names]),)
    if removed := re.fullmatch(r"\\mathbb\s*\{?R\}?\s*(?:\\setminus|\\backslash|-)\s*(\\\{.*\\\})", source):
        return tuple(without(r) for r in read(removed[1], depth + 1) if isinstance(r, Many))
    parts = _split(source, _CUP)
    if len(turned := _CUP.split(source)) > 1 and all(map(_TURNED.fullmatch, turned)):
        parts = turned
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


def _conjoined(source: str, depth: int) -> Readings:
    """Read conditions that all hold: `x > 1 and x < 2`."""
    parts = [part.strip() for part in _split(source, _ALSO)]
    if not 1 < len(parts) <= 4 or not all(_signs(part) for part in parts):
        return ()
    return intersection([read(part, depth + 1) for part in parts])


def _about(source: str, depth: int) -> Readings:
    """Read a value and about how much that is: `\\frac{22}{7} \\approx 3.14`."""
    parts = _split(source, _APPROXIMATELY)
    if len(parts) != 2 or not all(part.strip() for part in parts):
        return ()
    exact = [r for r in read(parts[0], depth + 1) if isinstance(r, Assigned)] or _constants(parts[0])
    return (*exact, *_constants(parts[1])) if exact else ()


def _constants(text: str) -> list[Value]:
    """Return `text` as a number, where it is one."""
    value = _value(text)
    if value is None or value.free_symbols or value.atoms(sympy.core.function.AppliedUndef):
        return []  # f(2) is not known either
    return [Quantity(value)]


def _said(source: str, depth: int) -> Readings:
    """Read a value behind Chinese words: 最小值为-3, 第3天."""
    match = re.fullmatch(
        r"[\u4e00-\u9fff]{1,10}?(?:[是为有选]|等于|：|:)\s*(?=[-0-9\\(A-J$])(.+)|第\s*(?=[0-9一二三四五六七八九十百])(.+)",
        source,
    )
    if match and any(map(sentences.names_its_value, _split(match[1] or "", _LISTED)[1:])):
        return ()  # several such
    if match:
        return read(match[1] or match[2], depth + 1)
    if changed := re.fullmatch(
        r"(?:(增加|增长|上升|提高|增|涨)|减少|下降|降低|减|跌)了?\s*(?=[0-9])(.+)", source
    ):
        return read(changed[2] if changed[1] else f"-{changed[2]}", depth + 1)
    each = re.fullmatch(r"每(小时|分钟|分|秒|天|时)\s*(?=[0-9])(.+)", source)
    return read(f"{each[2]}/{each[1]}", depth + 1) if each else ()


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
        two = len(parts) > 2 and any(len(_split(part, _LISTED)) > 1 for part in parts)
        return () if two else _equation(parts, depth)  # x=1, y=2 are two
    if signs == ["!="] and (
        several := next((r for r in read(parts[1], depth + 1) if isinstance(r, Many)), None)
    ):
        return (Pieces(line_without((several,)).parts, parts[0]),) if several.kind == "bare" else ()
    if "=" in signs or "≡" in signs or "in" in signs:
        return ()
    return inequality([_value(part) for part in parts], signs)


def _named(source: str, depth: int) -> Readings:
    """Read a value with what it is of before it, or a sentence that ends in one: `Bob: 5`."""
    bare = unwrapped(source)
    name, values = ("", []) if words.clock(bare) else sentences.named(source, bare)
    if re.fullmatch("[A-J]", name):
        return ()  # a choice
    for value in values:
        if any(map(sentences.names_its_value, _split(value, _LISTED)[1:])):
            return ()  # several such
        if inner := tuple(
            r for r in read(value, depth + 1) if not isinstance(r, Words) or value == values[-1]
        ):
            return (Assigned(name, inner),)
    return ()


def _bounded(source: str, depth: int) -> Readings:
    """Read an inequality in words, `at least 5`, or one that leaves its variable out, `≥ 5`."""
    said = sentences.bound(unwrapped(source)) or _sign_alone(source)
    value = _value(said[2]) if said else None
    if said is None or value is None or value.free_symbols:
        return ()
    readings = inequality([sympy.Symbol("x"), value], [said[1]])
    return tuple(replace(r, name=said[0]) for r in readings if isinstance(r, Pieces))


def _sign_alone(source: str) -> tuple[str, str, str] | None:
    """Return what `sentences.bound` does of an inequality that begins with its sign."""
    parts = [part.strip() for part in _split(source, _RELATIONS)]
    if len(parts) != 2 or parts[0] or not parts[1]:
        return None
    sign = _signs(source)[0]
    sign = _SIGNS.get(sign.lstrip("\\"), sign)
    return ("", sign, parts[1]) if sign in ("<", "<=", ">", ">=", "!=") else None


def _signs(source: str) -> list[str]:
    """Return the relations of `source` that stand outside brackets."""
    inner = re.sub(r"\\[{}]", "", source)
    inner = re.sub(r"\\begin\{(\w+\*?)\}.*\\end\{\1\}", "#", inner, flags=re.DOTALL)
    for _ in range(_DEEPEST):
        inner = re.sub(r"\([^()]*\)|\[[^\[\]()]*\]|\{[^{}]*\}|\[[^\[\]()]*\)|\([^()\[\]]*\]", "#", inner)
    return _RELATIONS.findall(inner)


def _equation(parts: Sequence[str], depth: int) -> Readings:
    collected: list[Value] = []
    if len(parts) == 2:
        values = [_value(part) for part in parts]
        if values[0] is not None and values[1] is not None:
            collected.append(Relation(values[0] - values[1], "="))
    constants = [_constants(part) for part in parts]
    if all(constants):
        return tuple(constants[-1])  # 5·4 = 20
    if _QUOTIENT.fullmatch(unwrapped(parts[0]).replace("\\ ", "")):
        collected += [r for r in read(parts[-1], depth + 1) if not isinstance(r, (Relation, Assigned))]
    for name, value in ((parts[0], parts[-1]), (parts[-1], parts[0])):
        bare = re.sub(r"[\s{}]", "", unwrapped(name))
        if _NAME.fullmatch(unwrapped(name)) and not (value is parts[0] and _NAME.fullmatch(unwrapped(value))):
            # (x, y) = (1, 2) is a point and no interval.
            no = (Relation, Assigned, Pieces) if name.startswith("(") else (Relation, Assigned)
            readings = tuple(r for r in read(value, depth + 1) if not isinstance(r, no))
            if readings:
                bare = _DERIVATIVE.sub(_primed, bare)
                collected.append(Assigned(bare, readings))
                break
    if not collected and _is_label_of(parts[0]):
        # What stands before the sign cannot be computed, so it says what the value is of: \\det A = 6.
        readings = tuple(r for r in read(parts[-1], depth + 1) if not isinstance(r, (Relation, Words)))
        if readings:
            collected.append(Assigned(re.sub(r"[\s{}]", "", unwrapped(parts[0])), readings))
    return tuple(collected)


def _primed(match: re.Match[str]) -> str:
    """Return the name of a derivative as that of a function: `y''(x)` for d²y/dx²."""
    return f"{match[2]}{_PRIME * int(match[1] or 1)}({match[3]})"


def _is_label_of(label: str) -> bool:
    """Return whether `label` is neither one value nor several."""
    return len(_split(label, _LISTED)) == 1 and not any(
        isinstance(r, (Quantity, Many, Grid, Pieces)) for r in read(label)
    )


def numbers(text: str) -> list[Any]:
    """Return the values of a numeral as some country writes it: `1,234.5`, `1.234,5`, `1 234`, `1'234`."""
    match = re.fullmatch(r"\s*([-+]?)\s*(.+?)\s*", text)
    if match is None or len(text) > 1_000:
        return []
    values = []
    for pattern, grouping, point in _NUMERALS:
        if pattern.fullmatch(match[2]):
            plain = "".join(c for c in match[2] if c not in grouping).replace(point, ".")
            values.append(decimal(match[1] + plain))
    return values[:1]


def decimal(text: str) -> Any:
    """Return a decimal exactly; as a `Float` where it has all the digits of one, for then it was rounded."""
    digits = re.sub(r"[eE].*|[-+.]", "", text).lstrip("0")
    rounded = len(digits) >= _FLOAT_DIGITS and re.search(r"[.eE]", text)
    return sympy.Float(text, 30) if rounded else sympy.Rational(text)


def _numeral(source: str, depth: int) -> Readings:
    if match := re.fullmatch(r"([0-9]{1,9}) and ([0-9]{1,9})/([1-9][0-9]{0,8})", source):
        return (Quantity(sympy.Integer(match[1]) + sympy.Rational(int(match[2]), int(match[3]))),)
    if (match := _BRACKETED.fullmatch(source)) and len(source) < 100:
        value = sympy.Rational(f"{match[1] or 0}.{match[2]}0")
        repeated = sympy.Rational(int(match[3]), (10 ** len(match[3]) - 1) * 10 ** len(match[2]))
        return (Quantity(value + repeated),)
    if (match := _REPEATING.fullmatch(source)) and len(source) < 100:
        digits, places = match[3] or match[4], len(match[2])
        value = sympy.Rational(f"{match[1] or 0}.{match[2]}0")
        return (Quantity(value + sympy.Rational(int(digits), (10 ** len(digits) - 1) * 10**places)),)
    return tuple(Quantity(value) for value in numbers(source))


def _measured(source: str, depth: int) -> Readings:
    """Read a number and its unit."""
    bare = unwrapped(source)
    if re.fullmatch(r"[0-9]+C[0-9]+", bare):
        return ()  # combinations
    bare = re.sub(r"(?<=[0-9])\s*\(([A-Za-z][A-Za-z ]+)\)$", r" \1", bare)
    bare = re.sub(r"(?<=[0-9]) (?:of )?an? (?=[a-z])", " ", bare)  # 1/2 an hour
    if match := _CURRENCY.fullmatch(bare):
        amount = re.sub(r"(?<=[0-9])\s*[kK]$", " thousand", match["sign"] + match["value"])
        amount = re.sub(r"(?<=[0-9])\s*(?:M|m|mn)$", " million", amount)
        amount = re.sub(r"(?<=[0-9])\s*(?:B|bn)$", " billion", amount)
        if match["label"]:
            amount += match["label"] if match["label"].strip(" /").split()[0] in NUMBERS else ""
        amounts = [r for r in read(amount, depth + 1) if isinstance(r, Quantity)]
        money = units.units(match["unit"])
        each = match["label"] if (match["label"] or "").startswith("/") else ""
        money = [replace(unit, name=each) for unit in money]
        return tuple(Quantity(r.value, unit) for r in amounts for unit in money if r.unit is None)
    if change := _CHANGE.fullmatch(bare):
        changed = [r for r in read(change["share"] or change["of"], depth + 1) if isinstance(r, Quantity)]
        name = change["what"] or change["whose"]
        return tuple(Quantity(r.value, replace(r.unit, name=name)) for r in changed if r.unit)
    if percent := re.fullmatch(r"百分之(.+)", bare):
        known = [r for r in read(percent[1], depth + 1) if isinstance(r, Quantity)]
        return tuple(Quantity(r.value, units.units("%")[0]) for r in known)
    if compound := _compound(bare) or _clocked(bare) or _chinese_number(bare):
        return compound
    if tenths := re.fullmatch(r"(.+)[成折]", bare):
        share = [words.chinese(tenths[1]), *(numbers(tenths[1]))]
        known_share = [value if value < 10 else value / 10 for value in share if value is not None]  # 八五折
        return tuple(Quantity(value * 10, units.units("%")[0]) for value in known_share)
    if spelled := re.fullmatch(r"([a-z-]+(?: [a-z-]+){0,5}?)(?: (?:of )?an?)? ([a-z]+)", bare.lower()):
        value, named = words.english(words.normal(spelled[1])), units.units(spelled[2])
        if value is not None and named:
            return tuple(Quantity(value, one) for one in named)
    for start in _unit_starts(bare):
        value, unit = bare[:start].rstrip(" -"), bare[start:]
        scale = 1
        if scaled := _SCALED.fullmatch(bare[:start] + unit):
            value, unit = scaled["number"], scaled["rest"].strip()
            for word in re.findall(_SCALES, scaled["scale"]):
                scale *= NUMBERS[word]
        named = units.units(unit) if unit else []
        if len(unit) == 1 and unit.isalpha() and unit.isascii() and bare[start - 1] != " ":
            named = [replace(one, glued=True) for one in named]
        if not named and unit and _is_label(unit):
            named = [replace(LABEL, name=unit)]
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
    """Return where a unit can begin, near the end: at a letter after something else."""
    starts = []
    for at in range(max(1, len(bare) - _LONGEST_UNIT), len(bare)):
        letter, before = bare[at], bare[at - 1]
        if (
            letter in "%‰°€£$¥₹¢µΩ"
            or "\u4e00" <= letter <= "\u9fff"
            or letter == "円"
            or (letter.isalpha() and not before.isalpha() and before not in "\\{_^")
        ):
            starts.append(at)
    return starts


def _is_label(unit: str) -> bool:
    """Return whether `unit` are words for what was counted."""
    if re.fullmatch(r"[\u4e00-\u9fff]{1,6}", unit):
        return True
    words = re.sub(r"[()]", "", unit).rstrip(".").split()
    plain = all(re.fullmatch(r"[A-Za-z][a-z'\-]+", word) for word in words)
    if {"not", "no", "never", "cannot"} & set(words):
        return False
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


def _clocked(bare: str) -> Readings:
    """Read `2m30s`, and `5'3''` as feet and inches, `30°15'` as parts of a degree."""
    if (match := _CLOCKED.fullmatch(bare)) and sum(part is not None for part in match.groups()) > 1:
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return (Quantity(sympy.Integer(3600 * hours + 60 * minutes + seconds), units.units("s")[0]),)
    match = _PRIMED.fullmatch(bare)
    if match is None:
        return ()
    whole, part, rest = sympy.Integer(match[1]), sympy.Rational(match[3]), sympy.Rational(match[5] or 0)
    if match[2] != "'":
        return (Quantity(whole + part / 60 + rest / 3600, units.units("°")[0]),) if match[4] == "'" else ()
    return (Quantity(12 * whole + part, units.units("inch")[0]),) if match[4] != "'" and not rest else ()


def _chinese_number(bare: str) -> Readings:
    """Read `3万5千`."""
    match = _CHINESE_NUMBER.fullmatch(bare)
    if match is None or sum(part is not None for part in match.groups()[:4]) < 2 or match[5]:
        return ()
    amounts = [numbers(part or "0") for part in match.groups()[:4]]
    if not all(amounts) or (match[6] and not _is_label(match[6]) and not units.units(match[6])):
        return ()
    scales = (10**8, 10**4, 10**3, 10**2)
    total = sum(amount[0] * scale for amount, scale in zip(amounts, scales, strict=True))
    named = units.units(match[6]) if match[6] else []
    return tuple(Quantity(total, one) for one in named) or (Quantity(total),)


def _grid(source: str, depth: int) -> Readings:
    match = re.fullmatch(
        r"[(\[]?\s*\\begin\{(matrix|[pbB]matrix|smallmatrix|array)\}(.*)\\end\{\1\}\s*[)\]]?",
        source,
        re.DOTALL,
    )
    if match is None:
        return ()
    body = re.sub(r"^\s*\{[clr|]*\}", "", match[2]) if match[1] == "array" else match[2]
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
    quantities = [r.value for r in _expression(text, 0) if isinstance(r, Quantity)]
    return quantities[0] if quantities else None


def _unmarked(text: str) -> str:
    """Return `text` without commands, and without names that are mathematics as they stand."""
    return _PLAIN_NAMES.sub(" ", re.sub(r"\\(?:begin|end)\{\w+\*?\}|\\[A-Za-z]+", " ", text))


def _expression(source: str, depth: int) -> Readings:
    if re.fullmatch(r".*\\?%\s*", source, re.DOTALL):
        return ()  # a unit
    if _CONNECTED.search(source):
        return ()
    if any(_VOWELS & set(word) and len(word) > 3 for word in _WORD.findall(_unmarked(source).lower())):
        return ()  # words, not a product of letters
    try:
        values = evaluate(_latex(source))
    except Unreadable:
        return ()
    if len(values) > 1 and re.search(r"\\[pm][mp](?![A-Za-z])", source):
        return (Many(tuple((Quantity(value),) for value in values), "bare"),)
    return tuple(
        grid_of(value) if isinstance(value, sympy.MatrixBase) else Quantity(value) for value in values
    )


def grid_of(matrix: Any) -> Grid:
    return Grid(tuple(tuple(row) for row in matrix.tolist()))


_UNIT_VECTOR = re.compile(r"\\(?:mathbf|hat|vec|boldsymbol|bm)\s*\{?\s*\\?([ijk])(?:math)?\s*\}?")


def _vector(source: str, depth: int) -> Readings:
    """Read a sum of unit vectors: `2\\mathbf{i} + 3\\mathbf{j}`."""
    named = set(_UNIT_VECTOR.findall(source))
    if not named:
        return ()
    value = _value(_UNIT_VECTOR.sub(lambda match: f"\\xi_{{{'ijk'.index(match[1])}}}", source))
    units_of = [sympy.Symbol(f"xi{number}") for number in range(3 if "k" in named else 2)]
    if value is None or not value.is_polynomial(*units_of):
        return ()
    parts = [value.diff(unit) for unit in units_of]
    if (
        any(part.free_symbols & set(units_of) for part in parts)
        or value.subs(dict.fromkeys(units_of, 0)) != 0
    ):
        return ()
    return (Many(tuple((Quantity(part),) for part in parts), "tuple"),)


def _chosen(match: re.Match[str]) -> str:
    """Return a number of combinations as a binomial coefficient."""
    both = [group for group in match.groups() if group is not None]
    return rf"\binom{{{both[0]}}}{{{both[1]}}}"


def _arranged(match: re.Match[str]) -> str:
    """Return a number of arrangements as a quotient of factorials."""
    every, some = (int(group) for group in match.groups() if group is not None)
    return rf"\frac{{{every}!}}{{{every - some}!}}" if some <= every else match[0]


def _latex(source: str) -> str:
    """Return what is written as on a keyboard (`sqrt(2)`, `x^(1/2)`, `2**3`) as LaTeX."""
    text = re.sub(r"\^\s*(-\s*[0-9]+)", r"^{\1}", source.replace("**", "^"))
    names = {"infinity": "infty", "inf": "infty", "oo": "infty"}
    text = _COMBINATIONS.sub(_chosen, re.sub(r"^\s*([0-9]+)C([0-9]+)\s*$", r"C_{\1}^{\2}", text))
    text = _ORDERED.sub(_arranged, text)
    text = _PLAIN_NAMES.sub(
        lambda m: f"\\operatorname{{{m[1]}}}" if m[1] in _CALLED else f"\\{names.get(m[1], m[1])} ", text
    )
    text = re.sub(r"(?<=[0-9])\s+x\s+(?=10\s*\^)", r"\\times ", text)
    text = re.sub(r"(?<=[0-9])[eE]([-+]?[0-9]{1,4})(?![0-9A-Za-z])", r"\\cdot 10^{\1}", text)
    for _ in range(_DEEPEST):
        before = text
        text = re.sub(r"(\\sqrt\s*|\^\s*)\(([^()]*)\)", r"\1{\2}", text)
        if text == before:
            break
    return text
