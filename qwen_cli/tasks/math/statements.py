r"""Answers that say something instead of being a number: rows of a system, `A \cup B`, `p \Rightarrow q`.

Runs in the sandbox (see `answer.Judge`).
"""

from __future__ import annotations

import itertools
import re

_ROWS = re.compile(
    r"(?:\\\{)?\s*\\begin\{(cases|[dr]cases|aligned|align\*?|alignedat|gathered|gather\*?|split|array|eqnarray\*?)\}"
    r"(?P<body>.*)\\end\{\1\}\s*\.?",
    re.DOTALL,
)
_COLUMNS = re.compile(r"^\s*(?:\[[a-z]\])?\s*\{[\s@{}clr|0-9]*?\}(?=\s*[^\s}])")
_ROW = re.compile(r"\\\\(?:\[[^\]]*\])?|\\cr(?![A-Za-z])")
_RELATION = re.compile(r"[=<>≡]|\\(?:leq?|geq?|leqslant|geqslant|neq?|lt|gt|in|equiv)(?![A-Za-z])")
_WHEN = re.compile(r"^(?:[,}\s]|\\text\s*\{|\\mbox\s*\{|\b(?:if|for|when|where)\b|[当若])+|[},.;，。；\s]+$")
_OTHERWISE = re.compile(r"otherwise|else|其他|其它")


def rows(source: str) -> list[str]:
    """Return the equations or conditions that stand one below another in `source`; none where it is no system
    of them."""
    parts = [" ".join(cells).strip(" ,;，；") for cells in _cells(source)]
    parts = [part for part in parts if part]
    least = 1 if r"\begin" in source else 2
    return parts if len(parts) >= least and all(map(_RELATION.search, parts)) else []


def cases(source: str) -> list[tuple[str, str]]:
    """Return the values of a function by cases, each with its condition; none where it is none."""
    lines = _cells(source) if r"\begin" in source else []
    if len(lines) < 2 or any(
        len(line) != 2 or _RELATION.search(line[0]) or _RELATION.match(line[1].strip()) for line in lines
    ):
        return []
    return [(value.strip(" ,"), _condition(said)) for value, said in lines]


def _cells(source: str) -> list[list[str]]:
    """Return the cells of each row of an environment, or of lines that end in two backslashes without one."""
    match = _ROWS.fullmatch(source)
    if match is None and (r"\begin" in source or r"\\" not in source):
        return []
    body = _COLUMNS.sub("", match["body"]) if match else source
    return [line.split("&") for line in _ROW.split(body) if line.strip()]


def _condition(said: str) -> str:
    return "otherwise" if _OTHERWISE.search(said) else _WHEN.sub("", _WHEN.sub("", said.strip()))


# What is written between sets, or between statements, in the order in which it binds.
_OPERATORS = {
    "and": r"\\(?:land|wedge)(?![A-Za-z])|∧",
    "or": r"\\(?:lor|vee)(?![A-Za-z])|∨",
    "implies": r"\\(?:implies|Rightarrow|to|rightarrow|Longrightarrow)(?![A-Za-z])|⇒|→",
    "follows": r"\\(?:impliedby|Leftarrow|leftarrow|gets)(?![A-Za-z])|⇐|←",
    "same": r"\\(?:iff|Leftrightarrow|leftrightarrow|Longleftrightarrow)(?![A-Za-z])|⇔|↔",
    "both": r"\\cap(?![A-Za-z])|∩",
    "either": r"\\cup(?![A-Za-z])|∪",
    "without": r"\\(?:setminus|backslash)(?![A-Za-z])|∖",
    "not": r"(?:\\(?:neg|lnot|sim)(?![A-Za-z])|¬|~)\s*",
    "c": r"\^\s*\{?\s*(?:c|C|\\complement|\\mathsf\{c\})\s*\}?",
    "open": r"\(",
    "close": r"\)",
    "letter": r"[A-Za-z]",
    "space": r"\s+|\\[,;! ]",
}
_TOKEN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _OPERATORS.items()))
_WITHIN = re.compile(r"\s*\\(subseteq|subset|supseteq|supset)(?![A-Za-z])\s*")
# Relations that hold either way round.
_BESIDE = re.compile(
    r"([A-Za-z]{1,3}|\\triangle\s*[A-Z]{3})\s*\\(parallel|perp|cong|sim)(?![A-Za-z])\s*([A-Za-z]{1,3}|\\triangle\s*[A-Z]{3})"
)
_SETS, _LOGIC = (
    frozenset({"both", "either", "without", "c"}),
    frozenset({"and", "or", "implies", "follows", "same", "not"}),
)
_STROKE = re.compile(r"\\overline\s*\{([^{}]*)\}")
_DEEPEST = 4  # strokes above strokes
_MOST_LETTERS = 5
_LEVELS = (("same",), ("implies", "follows"), ("or", "either"), ("and", "both", "without"))


def statement(source: str) -> str:
    r"""Return one text for all ways to write a set of sets, or a statement of statements: what holds of its
    letters (`A\cap B` and `B\cap A`); empty where `source` is none."""
    if beside := _BESIDE.fullmatch(source):
        one, sign, other = (part.strip() for part in beside.groups())
        return f"{' '.join(sorted((one, other)))} {sign}"
    if len(sides := _WITHIN.split(source)) == 3:
        inner, sign, outer = sides if sides[1].startswith("sub") else sides[::-1]
        both = [
            _told(side) or (side.strip() if re.fullmatch(r"\s*[A-Za-z]\s*", side) else "")
            for side in (inner, outer)
        ]
        return f"{both[0]} {sign.replace('sup', 'sub')} {both[1]}" if all(both) else ""
    return _told(source)


def _told(source: str) -> str:
    for _ in range(_DEEPEST):
        source = _STROKE.sub(r"(\1)^c", source)
    tokens, at = [], 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            return ""
        if match.lastgroup != "space":
            tokens.append((str(match.lastgroup), match[0]))
        at = match.end()
    kinds = {kind for kind, _ in tokens}
    letters = sorted({text for kind, text in tokens if kind == "letter"})
    if (
        not letters
        or len(letters) > _MOST_LETTERS
        or not kinds & (_SETS | _LOGIC)
        or (kinds & _SETS and kinds & _LOGIC)
    ):
        return ""
    try:
        table = [
            _Reader(tokens, dict(zip(letters, values, strict=True))).whole()
            for values in itertools.product((False, True), repeat=len(letters))
        ]
    except ValueError:
        return ""
    return (
        f"{'sets' if kinds & _SETS else 'logic'} {''.join(letters)} {''.join('01'[value] for value in table)}"
    )


class _Reader:
    """Reads a statement for one assignment of its letters."""

    def __init__(self, tokens: list[tuple[str, str]], values: dict[str, bool]) -> None:
        self._tokens = tokens
        self._values = values
        self._at = 0

    def whole(self) -> bool:
        """Return the value of all. Raises `ValueError` where it cannot be read."""
        value = self._level(0)
        if self._at < len(self._tokens):
            raise ValueError
        return value

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _level(self, level: int) -> bool:
        if level == len(_LEVELS):
            return self._factor()
        value = self._level(level + 1)
        while (kind := self._kind()) in _LEVELS[level]:
            self._at += 1
            # An implication takes all that follows it.
            other = self._level(level if kind == "implies" else level + 1)
            value = {
                "and": value and other,
                "both": value and other,
                "or": value or other,
                "either": value or other,
                "without": value and not other,
                "implies": not value or other,
                "follows": value or not other,
                "same": value == other,
            }[kind]
        return value

    def _factor(self) -> bool:
        kind = self._kind()
        if not kind:
            raise ValueError
        text = self._tokens[self._at][1]
        self._at += 1
        if kind == "not":
            return not self._factor()
        if kind == "letter":
            value = self._values[text]
        elif kind == "open":
            value = self._level(0)
            if self._kind() != "close":
                raise ValueError
            self._at += 1
        else:
            raise ValueError
        while self._kind() == "c":
            self._at += 1
            value = not value
        return value
