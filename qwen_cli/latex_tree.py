r"""One LaTeX formula as a tree.

A command that is not known and half a formula have none. This file imports nothing of the package, for it
is also loaded where model-written code runs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

_LONGEST = 5_000  # characters of a formula; what models write has hundreds
_DEEPEST = 40  # groups within groups

# A number keeps its thousands together; `{,}` is the comma that TeX sets without a space.
_NUMBER = r"[0-9]+(?:(?:,|\{,\})[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+"
_TOKEN = re.compile(rf"\\[A-Za-z]+|\\.|\s+|{_NUMBER}|.", re.DOTALL)


def _commands(names: str) -> frozenset[str]:
    return frozenset("\\" + name for name in names.split())


def _table(kind: str, pairs: str) -> dict[str, tuple[str, str]]:
    words = pairs.split()
    return {"\\" + name: (text, kind) for name, text in zip(words[::2], words[1::2], strict=True)}


# Kinds: what a symbol does to its neighbours. Beside `times` a fraction needs no brackets, beside `over` it
# does; all that is `relation` (or not said here) binds least of all.
_SYMBOLS = {
    **_table("plus", "pm ± mp ∓"),
    **_table("times", "cdot · times × ast ∗ bullet •"),
    **_table("over", "div ÷"),
    **_table(
        "relation",
        "le ≤ leq ≤ leqslant ≤ ge ≥ geq ≥ geqslant ≥ ne ≠ neq ≠ lt < gt > ll ≪ gg ≫ equiv ≡ approx ≈ sim ∼"
        " simeq ≃ cong ≅ propto ∝ to → rightarrow → longrightarrow → leftarrow ← gets ← leftrightarrow ↔"
        " mapsto ↦ Rightarrow ⇒ Longrightarrow ⇒ implies ⇒ Leftarrow ⇐ impliedby ⇐ Leftrightarrow ⇔ iff ⇔"
        " in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ mid | nmid ∤ parallel ∥ perp ⟂ land ∧"
        " wedge ∧ lor ∨ vee ∨ cup ∪ cap ∩ setminus ∖ backslash ∖ oplus ⊕ otimes ⊗ circ ∘ star ⋆ colon :"
        " therefore ∴ because ∵ bmod mod models ⊨ vdash ⊢ prec ≺ succ ≻ doteq ≐ asymp ≍"
        " triangleq ≜ coloneqq ≔",
    ),
    **_table("comma", "ldots … dots … cdots … dotsc … dotsb … vdots ⋮ ddots ⋱"),
    **_table("sign", "neg ¬ lnot ¬ forall ∀ exists ∃ nexists ∄ angle ∠ triangle △ square □ nabla ∇"),
    **_table("letter", "infty ∞ partial ∂ emptyset ∅ varnothing ∅ degree ° prime ′ hbar ℏ ell ℓ Re ℜ Im ℑ"),
    **_table("letter", "phi ϕ varphi φ epsilon ϵ varepsilon ε top ⊤ bot ⊥ dagger † wp ℘ aleph ℵ"),
    **_table("big", "sum ∑ prod ∏ coprod ∐ int ∫ iint ∬ iiint ∭ oint ∮ bigcup ⋃ bigcap ⋂ bigoplus ⨁"),
    "\\%": ("%", "after"),
    "\\$": ("$", "sign"),
    "\\&": ("&", "relation"),
    "\\#": ("#", "sign"),
    "\\_": ("_", "letter"),
}
_FUNCTIONS = _commands(
    "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln"
    " log max min Pr sec sin sinh sup tan tanh"
)
_PLAIN = {
    **dict.fromkeys("+-±∓−", "plus"),
    **dict.fromkeys("*×·⋅", "times"),
    **dict.fromkeys("/÷", "over"),
    **dict.fromkeys("!'%°′²³", "after"),
    **dict.fromkeys(",;，；、", "comma"),
    **dict.fromkeys("√∛∜", "function"),
}
_SPACES = {"\\,": " ", "\\;": " ", "\\:": " ", "\\>": " ", "\\ ": " ", "~": " ", "\\quad": "\u2003"}
_SPACES |= {"\\qquad": "\u2003", "\\thinspace": " ", "\\enspace": " ", "\\space": " ", "\\nobreakspace": " "}
_NOTHING = _commands(
    "! displaystyle textstyle scriptstyle limits nolimits mathstrut strut negthinspace big Big bigg Bigg bigl"
    " Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm hfill"
)
_COLOURS = _commands("color textcolor")
_OPEN = {"(": "(", "[": "[", "\\{": "{", "\\lbrace": "{", "\\lbrack": "[", "\\lfloor": "⌊", "\\lceil": "⌈"}
_OPEN |= {"\\langle": "⟨", "\\lvert": "|", "\\lVert": "‖", "（": "("}
_CLOSE = {")": ")", "]": "]", "\\}": "}", "\\rbrace": "}", "\\rbrack": "]", "\\rfloor": "⌋", "\\rceil": "⌉"}
_CLOSE |= {"\\rangle": "⟩", "\\rvert": "|", "\\rVert": "‖", "）": ")"}
_BARS = {"|": "|", "\\vert": "|", "\\|": "‖", "\\Vert": "‖"}
_PAIRS = {"(": ")]", "[": ")]", "{": "}", "⌊": "⌋", "⌈": "⌉", "⟨": "⟩", "|": "|", "‖": "‖"}
_FRACTIONS = _commands("frac dfrac tfrac cfrac")
_BINOMIALS = _commands("binom dbinom tbinom")
_TEXT = _commands("text textrm textbf textit textsf textnormal mbox hbox")  # keeps its spaces
_UPRIGHT = _commands("mathrm mathsf mathit mathtt texttt operatorname")
_ALPHABETS = {"\\mathbb": "DOUBLE-STRUCK", "\\mathcal": "SCRIPT", "\\mathscr": "SCRIPT"}
_ALPHABETS |= {"\\mathfrak": "FRAKTUR", **dict.fromkeys(_commands("mathbf boldsymbol bm pmb"), "BOLD")}
_ACCENTS = {"\\bar": "\u0304", "\\hat": "\u0302", "\\vec": "\u20d7", "\\tilde": "\u0303", "\\dot": "\u0307"}
_ACCENTS |= {"\\ddot": "\u0308", "\\widehat": "\u0302", "\\widetilde": "\u0303"}
_BOXES = _commands("boxed fbox mathop mathrel mathbin mathord ensuremath")
_MATRICES = ("matrix", "pmatrix", "bmatrix", "smallmatrix", "Bmatrix", "vmatrix", "Vmatrix")
_ALIGNED = ("align", "align*", "aligned", "gather", "gather*", "gathered", "equation", "equation*", "split")


class Unknown(ValueError):
    """The formula is broken, or has something that is not known here."""


@dataclass(frozen=True)
class Symbol:
    """`text` as it is printed. `kind`: number, letter, word, function, big, plus, times, over, relation,
    comma, sign, after (written behind what it is about), mixed (a number with a fraction), space, or loose
    (half of a pair of brackets). `spaced`: a command, for whose spaces the source says nothing."""

    text: str
    kind: str
    spaced: bool = False


@dataclass(frozen=True)
class Group:
    """Braces, which are not seen, or a box."""

    items: Items
    boxed: bool = False


@dataclass(frozen=True)
class Fraction:
    top: Items
    bottom: Items


@dataclass(frozen=True)
class Root:
    inside: Items
    index: Items = ()


@dataclass(frozen=True)
class Script:
    """What stands low and high beside `base`."""

    base: Node
    low: Items | None = None
    high: Items | None = None


@dataclass(frozen=True)
class Fenced:
    """What stands between two brackets."""

    before: str
    items: Items
    after: str


@dataclass(frozen=True)
class Matrix:
    """`shape` is the environment: pmatrix, vmatrix …"""

    rows: tuple[tuple[Items, ...], ...]
    shape: str


@dataclass(frozen=True)
class Overline:
    """What stands under a line; after decimals it repeats."""

    items: Items


Node: TypeAlias = "Symbol | Group | Fraction | Root | Script | Fenced | Matrix | Overline"
Items: TypeAlias = tuple[Node, ...]

_ROW, _CELL = Symbol("\n", "row"), Symbol("\t", "cell")


def parse(latex: str, *, lenient: bool = False) -> Items:
    """Return the tree of a formula. `lenient`: `x^10` means what its writer meant, not what TeX makes of it.

    Raises `Unknown`.
    """
    if len(latex) > _LONGEST:
        raise Unknown
    return _Parser(latex, lenient).whole()


class _Parser:
    """Makes a tree of one formula. Raises `Unknown`."""

    def __init__(self, latex: str, lenient: bool) -> None:
        self._lenient = lenient
        self._tokens: list[str] = _TOKEN.findall(latex)
        self._pairs = _paired(self._tokens)
        self._at = self._depth = 0

    def whole(self) -> Items:
        items = self._items(len(self._tokens))
        rows = [row for row in split(items, _ROW) if trimmed(row)]
        if len(rows) < 2:
            return rows[0] if rows else ()
        # Equations under each other: one a line, the marks that align them left out.
        lines = [trimmed(tuple(node for node in row if node != _CELL)) for row in rows]
        return tuple(node for line in lines for node in (*line, Symbol("\n", "relation")))

    def _items(self, end: int) -> Items:
        """Parse the nodes before token number `end`."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unknown
        items: list[Node] = []
        while self._at < end:
            mark = self._tokens[self._at]
            if mark in ("^", "_"):
                self._at += 1
                while items and isinstance(items[-1], Symbol) and items[-1].kind == "space":
                    items.pop()
                base = items.pop() if items else None
                items.append(_scripted(base, mark, self._argument()))
            else:
                items += self._node()
        self._depth -= 1
        if self._at != end:
            raise Unknown
        return tuple(items)

    def _node(self) -> list[Node]:
        """Parse the nodes that one mark begins: none for a command that only sets a style."""
        start, mark = self._at, self._tokens[self._at]
        if mark.isspace():
            self._at += 1
            return [Symbol(" ", "space")]
        self._at += 1
        if _is_number(mark):
            return [Symbol(mark.replace("{", "").replace("}", ""), "number")]
        if mark == "{":
            return [Group(self._until(self._pairs.get(start)))]
        if mark in ("\\left", "\\right"):
            return self._sized(start)
        if start in self._pairs and mark in _OPEN | _BARS:
            before = (_OPEN | _BARS)[mark]
            inside = self._until(self._pairs[start])
            return [Fenced(before, inside, (_CLOSE | _BARS)[self._tokens[self._at - 1]])]
        if loose := (_OPEN | _CLOSE | _BARS).get(mark):
            return [Symbol(loose, "loose")]
        return self._command(mark) if mark[0] == "\\" or mark in _SPACES else [_character(mark)]

    def _sized(self, start: int) -> list[Node]:
        if start not in self._pairs or self._tokens[start] != "\\left":
            raise Unknown
        opening, closing = self._delimiter(start), self._delimiter(self._pairs[start])
        self._at = start + 1 + self._skipped(start + 1) + 1
        inside = self._until(self._pairs[start])
        self._at += self._skipped(self._at) + 1
        return [Fenced(opening, inside, closing)]

    def _delimiter(self, at: int) -> str:
        at += 1 + self._skipped(at + 1)
        known = {**_OPEN, **_CLOSE, **_BARS, "<": "⟨", ">": "⟩"}
        if at >= len(self._tokens) or self._tokens[at] not in known:
            raise Unknown
        return known[self._tokens[at]]

    def _skipped(self, at: int) -> int:
        return int(at < len(self._tokens) and self._tokens[at].isspace())

    def _until(self, end: int | None) -> Items:
        if end is None:
            raise Unknown
        items = self._items(end)
        self._at = end + 1
        return items

    def _argument(self, *, of_two: bool = False) -> Items:
        """Parse the argument of the command before it: a group, or one token with its own arguments.
        `of_two`: of two digits the first, as in `\\frac12`. Anything else that stands unbraced and has
        several digits is refused: TeX takes one, its writer meant all."""
        self._at += self._skipped(self._at)
        mark = self._tokens[self._at] if self._at < len(self._tokens) else ""
        if not mark or mark in "}^_&'~" or mark in ("\\left", "\\right", "\\begin", "\\\\"):
            raise Unknown
        if _is_number(mark) and len(mark) > 1 and not (self._lenient and not of_two):
            if not of_two or len(mark) != 2 or not mark.isdigit():
                raise Unknown
            self._tokens[self._at] = mark[1:]
            return (Symbol(mark[0], "number"),)
        if mark in _OPEN or mark in _CLOSE or mark in _BARS:
            self._at += 1
            return (Symbol({**_OPEN, **_CLOSE, **_BARS}[mark], "loose"),)
        nodes = self._node()
        if len(nodes) != 1:
            raise Unknown
        return nodes[0].items if isinstance(nodes[0], Group) else (nodes[0],)

    def _raw(self) -> str:
        """Return the source in the braces that come next."""
        self._at += self._skipped(self._at)
        if self._tokens[self._at : self._at + 1] != ["{"]:
            raise Unknown
        end = self._pairs[self._at]
        source = self._tokens[self._at + 1 : end]
        self._at = end + 1
        return "".join(t + " " if re.fullmatch(r"\\[A-Za-z]+", t) else t for t in source)

    def _command(self, mark: str) -> list[Node]:
        if mark in _FRACTIONS:
            return [Fraction(self._argument(of_two=True), self._argument())]
        if mark in _BINOMIALS:
            above, below = self._argument(of_two=True), self._argument()
            return [Fenced("C(", (*above, Symbol(", ", "comma"), *below), ")")]
        if mark == "\\sqrt":
            return [self._root()]
        if mark in _FUNCTIONS:
            return [Symbol(mark[1:], "function")]
        if mark in _SYMBOLS:
            text, kind = _SYMBOLS[mark]
            return [Symbol(text, kind, kind in ("plus", "times", "over", "relation"))]
        if mark in _SPACES:
            return [Symbol(_SPACES[mark], "space")]
        if mark in _NOTHING:
            return []
        if mark in _COLOURS:  # which changes no meaning, before a group or all that follows
            self._raw()
            return []
        if mark == "\\hspace":
            self._raw()
            return [Symbol(" ", "space")]
        if mark in _TEXT or mark in _UPRIGHT:
            return [_worded(self._raw(), mark)]
        if mark in _ALPHABETS or mark in _ACCENTS:
            return [_styled(mark, self._argument())]
        if mark in _BOXES:
            return [Group(self._argument(), boxed=True)]
        if mark == "\\\\":
            return [_ROW]
        if mark == "\\pmod":
            return [Symbol(" ", "space"), Fenced("(", (Symbol("mod", "function"), *self._argument()), ")")]
        if mark == "\\overline":
            return [Overline(self._argument())]
        if mark == "\\not":
            return [_negated(self._argument())]
        if mark == "\\begin":
            return self._environment()
        if letter := _letters().get(mark):
            return [Symbol(*letter, spaced=letter[1] == "relation")]
        raise Unknown

    def _root(self) -> Root:
        self._at += self._skipped(self._at)
        index: Items = ()
        if self._at in self._pairs and self._tokens[self._at] == "[":
            end = self._pairs[self._at]
            self._at += 1
            index = trimmed(self._until(end))
        return Root(self._argument(), index)

    def _environment(self) -> list[Node]:
        start = self._at - 1
        name = self._raw()
        end = self._pairs.get(start)
        if end is None:
            raise Unknown
        items = self._items(end)
        self._at = end + 1
        if self._raw() != name:
            raise Unknown
        if name in _ALIGNED:
            return [node for node in items if node != _CELL]
        if name not in _MATRICES:
            raise Unknown
        rows = tuple(tuple(split(row, _CELL)) for row in split(items, _ROW) if trimmed(row))
        return [Matrix(rows, name)]


def _paired(tokens: Sequence[str]) -> dict[int, int]:
    """Return where each bracket, brace and environment that is opened is closed. A bracket that stands alone
    has no pair, and of bars only two at one level have. Raises `Unknown` where braces are not balanced."""
    pairs: dict[int, int] = {}
    opened: list[tuple[int, str]] = [(-1, "")]  # place, and the bracket or what is firmer than brackets
    bars: dict[tuple[int, str], list[int]] = {}
    closes = {"}": "{", "\\right": "\\left", "\\end": "\\begin"}
    sized = False
    for at, mark in enumerate(tokens):
        if mark.isspace():
            continue
        if sized:
            sized = False  # a bracket that belongs to \left or \right
        elif mark in closes.values():
            opened.append((at, mark))
        elif mark in closes:
            while opened[-1][1] in _OPEN:
                opened.pop()
            place, what = opened.pop()
            if what != closes[mark]:
                raise Unknown
            pairs[place] = at
        elif mark in _OPEN:
            opened.append((at, mark))
        elif mark in _CLOSE and _CLOSE[mark] in _PAIRS.get(_OPEN.get(opened[-1][1], ""), ""):
            pairs[opened.pop()[0]] = at
        elif mark in _BARS:
            bars.setdefault((opened[-1][0], _BARS[mark]), []).append(at)
        sized = mark in ("\\left", "\\right")
    if any(what not in _OPEN for _, what in opened[1:]):
        raise Unknown
    return pairs | {both[0]: both[1] for both in bars.values() if len(both) == 2}


def _is_number(mark: str) -> bool:
    return mark[0] in "0123456789" or (mark[0] == "." and len(mark) > 1)


def _character(mark: str) -> Symbol:
    """Return the symbol of one character that is no command."""
    if mark in "$#&^_{}" or (not mark.isprintable()):
        if mark == "&":
            return _CELL
        raise Unknown
    if kind := _PLAIN.get(mark):
        return Symbol(mark, kind)
    if mark.isdigit():
        return Symbol(mark, "after")
    return Symbol(mark, "letter" if mark.isalpha() else "relation")


@cache
def _letters() -> dict[str, tuple[str, str]]:
    """Return the thousands of commands for one character each, with that character and its kind."""
    from unicodeit.data import REPLACEMENTS  # 8 ms

    kinds = {"Lu": "letter", "Ll": "letter", "Lo": "letter", "Sm": "relation", "So": "relation"}
    letters = {}
    for command, text in REPLACEMENTS:
        if len(text) == 1 and re.fullmatch(r"\\(?!under|over|sqrt|\w*root)[A-Za-z]+", command):
            kind = kinds.get(unicodedata.category(text))
            if kind:
                letters[command] = (text, kind)
    return letters


def _worded(source: str, command: str) -> Symbol:
    r"""Return the words of \text, or the upright letters of \mathrm."""
    text = re.sub(r"\\([%$&#_ ])", r"\1", source.replace("~", " "))
    if re.search(r"[\\{}^$]|(?<!\\)_", source.replace(r"\$", "").replace(r"\%", "")):
        raise Unknown
    if command not in _TEXT:
        text = text.strip()
    if command == "\\operatorname" or "\\" + text in _FUNCTIONS:
        return Symbol(text, "function")
    if text.isascii() and text.isdigit():
        return Symbol(text, "number")
    return Symbol(text, "letter" if len(text) == 1 and text.isalpha() else "word")


def _styled(command: str, items: Items) -> Symbol:
    """Return a letter in another alphabet or with an accent."""
    letter = items[0] if len(items) == 1 else None
    if not isinstance(letter, Symbol):
        raise Unknown
    alphabet = _ALPHABETS.get(command, "")
    if alphabet == "BOLD" and letter.kind == "number":
        return letter
    if letter.kind != "letter" or len(letter.text) != 1:
        raise Unknown
    if not alphabet:
        return Symbol(letter.text + _ACCENTS[command], "letter")
    size = "CAPITAL" if letter.text.isupper() else "SMALL"
    for name in (
        f"{alphabet} {size} {letter.text.upper()}",
        f"MATHEMATICAL {alphabet} {size} {letter.text.upper()}",
    ):
        with suppress(KeyError):
            return Symbol(unicodedata.lookup(name), "letter")
    raise Unknown


def _negated(items: Items) -> Symbol:
    if len(items) != 1 or not isinstance(items[0], Symbol):
        raise Unknown
    text = unicodedata.normalize("NFC", items[0].text + "\u0338")
    if len(text) != 1:
        raise Unknown
    return Symbol(text, "relation")


def _scripted(base: Node | None, mark: str, inside: Items) -> Node:
    """Return `base` with one more script. Raises `Unknown` for a second of the same kind, and where it is
    not said what the script belongs to."""
    if base is None or base in (_ROW, _CELL):
        raise Unknown
    if isinstance(base, Group):
        if len(base.items) != 1:
            raise Unknown
        base = base.items[0]
    low, high = (None, inside) if mark == "^" else (inside, None)
    if not isinstance(base, Script):
        return Script(base, low, high)
    if (base.low is not None and low is not None) or (base.high is not None and high is not None):
        raise Unknown
    return Script(base.base, base.low if low is None else low, base.high if high is None else high)


def split(items: Items, mark: Symbol) -> list[Items]:
    parts: list[list[Node]] = [[]]
    for node in items:
        if node == mark:
            parts.append([])
        else:
            parts[-1].append(node)
    return [tuple(part) for part in parts]


def trimmed(items: Items) -> Items:
    """Return `items` without spaces at both ends."""
    first, last = 0, len(items)
    while first < last and _is_space(items[first]):
        first += 1
    while first < last and _is_space(items[last - 1]):
        last -= 1
    return items[first:last]


def _is_space(node: Node) -> bool:
    return isinstance(node, Symbol) and node.kind == "space"
