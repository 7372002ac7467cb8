r"""One LaTeX formula as text that means the same: parsed to a tree, printed with the brackets it needs.

`\frac{x+1}{2}` is `(x+1)/2`. What has no such text (an overline, a command that is not known, half a formula)
has none at all, so that its reader gets the source and never other mathematics.
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
_SUPER = dict(
    zip(
        "0123456789+-−=()abcdefghijklmnoprstuvwxyzT",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ",
        strict=True,
    )
)
_SUB = dict(zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))


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
_MATRICES = ("matrix", "pmatrix", "bmatrix", "smallmatrix")
_ALIGNED = ("align", "align*", "aligned", "gather", "gather*", "gathered", "equation", "equation*", "split")


class _Unknown(Exception):
    """The formula has no text that means the same."""


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


Node: TypeAlias = "Symbol | Group | Fraction | Root | Script | Fenced"
Items: TypeAlias = tuple[Node, ...]

_ROW, _CELL = Symbol("\n", "row"), Symbol("\t", "cell")


def as_text(latex: str) -> str | None:
    """Return `latex` as text that means the same; `None` where there is none, or the source is broken."""
    if len(latex) > _LONGEST:
        return None
    try:
        text = _line(_Parser(latex).whole())
    except (_Unknown, RecursionError):
        return None
    return unicodedata.normalize("NFC", re.sub(r" {2,}", " ", text)).strip()


class _Parser:
    """Makes a tree of one formula. Raises `_Unknown`."""

    def __init__(self, latex: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(latex)
        self._pairs = _paired(self._tokens)
        self._at = self._depth = 0

    def whole(self) -> Items:
        items = self._items(len(self._tokens))
        rows = [row for row in _split(items, _ROW) if _trimmed(row)]
        if len(rows) < 2:
            return rows[0] if rows else ()
        # Equations under each other: one a line, the marks that align them left out.
        lines = [_trimmed(tuple(node for node in row if node != _CELL)) for row in rows]
        return tuple(node for line in lines for node in (*line, Symbol("\n", "relation")))

    def _items(self, end: int) -> Items:
        """Parse the nodes before token number `end`."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Unknown
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
            raise _Unknown
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
        return self._command(mark) if mark[0] == "\\" else [_character(mark)]

    def _sized(self, start: int) -> list[Node]:
        if start not in self._pairs or self._tokens[start] != "\\left":
            raise _Unknown
        opening, closing = self._delimiter(start), self._delimiter(self._pairs[start])
        self._at = start + 1 + self._skipped(start + 1) + 1
        inside = self._until(self._pairs[start])
        self._at += self._skipped(self._at) + 1
        return [Fenced(opening, inside, closing)]

    def _delimiter(self, at: int) -> str:
        at += 1 + self._skipped(at + 1)
        known = {**_OPEN, **_CLOSE, **_BARS, "<": "⟨", ">": "⟩"}
        if at >= len(self._tokens) or self._tokens[at] not in known:
            raise _Unknown
        return known[self._tokens[at]]

    def _skipped(self, at: int) -> int:
        return int(at < len(self._tokens) and self._tokens[at].isspace())

    def _until(self, end: int | None) -> Items:
        if end is None:
            raise _Unknown
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
            raise _Unknown
        if _is_number(mark) and len(mark) > 1:
            if not of_two or len(mark) != 2 or not mark.isdigit():
                raise _Unknown
            self._tokens[self._at] = mark[1:]
            return (Symbol(mark[0], "number"),)
        if mark in _OPEN or mark in _CLOSE or mark in _BARS:
            self._at += 1
            return (Symbol({**_OPEN, **_CLOSE, **_BARS}[mark], "loose"),)
        found = self._node()
        if len(found) != 1:
            raise _Unknown
        return found[0].items if isinstance(found[0], Group) else (found[0],)

    def _raw(self) -> str:
        """Return the source in the braces that come next."""
        self._at += self._skipped(self._at)
        if self._tokens[self._at : self._at + 1] != ["{"]:
            raise _Unknown
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
        if mark == "\\not":
            return [_negated(self._argument())]
        if mark == "\\begin":
            return self._environment()
        if found := _letters().get(mark):
            return [Symbol(*found, spaced=found[1] == "relation")]
        raise _Unknown

    def _root(self) -> Root:
        self._at += self._skipped(self._at)
        index: Items = ()
        if self._at in self._pairs and self._tokens[self._at] == "[":
            end = self._pairs[self._at]
            self._at += 1
            index = _trimmed(self._until(end))
        return Root(self._argument(), index)

    def _environment(self) -> list[Node]:
        start = self._at - 1
        name = self._raw()
        end = self._pairs.get(start)
        if end is None:
            raise _Unknown
        items = self._items(end)
        self._at = end + 1
        if self._raw() != name:
            raise _Unknown
        if name in _ALIGNED:
            return [node for node in items if node != _CELL]
        if name not in _MATRICES:
            raise _Unknown
        rows = [_split(row, _CELL) for row in _split(items, _ROW) if _trimmed(row)]
        if any(_kind(node) == "comma" for row in rows for cell in row for node in cell):
            raise _Unknown
        text = "; ".join(", ".join(map(_line, row)) for row in rows)
        return [Fenced("[", (Symbol(text, "comma"),), "]")]


def _paired(tokens: Sequence[str]) -> dict[int, int]:
    """Return where each bracket, brace and environment that is opened is closed. A bracket that stands alone
    has no pair, and of bars only two at one level have. Raises `_Unknown` where braces are not balanced."""
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
                raise _Unknown
            pairs[place] = at
        elif mark in _OPEN:
            opened.append((at, mark))
        elif mark in _CLOSE and _CLOSE[mark] in _PAIRS.get(_OPEN.get(opened[-1][1], ""), ""):
            pairs[opened.pop()[0]] = at
        elif mark in _BARS:
            bars.setdefault((opened[-1][0], _BARS[mark]), []).append(at)
        sized = mark in ("\\left", "\\right")
    if any(what not in _OPEN for _, what in opened[1:]):
        raise _Unknown
    return pairs | {both[0]: both[1] for both in bars.values() if len(both) == 2}


def _is_number(mark: str) -> bool:
    return mark[0] in "0123456789" or (mark[0] == "." and len(mark) > 1)


def _character(mark: str) -> Symbol:
    """Return the symbol of one character that is no command."""
    if mark in "$#&^_{}" or (not mark.isprintable()):
        if mark == "&":
            return _CELL
        raise _Unknown
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
    found = {}
    for command, text in REPLACEMENTS:
        if len(text) == 1 and re.fullmatch(r"\\(?!under|over|sqrt|\w*root)[A-Za-z]+", command):
            kind = kinds.get(unicodedata.category(text))
            if kind:
                found[command] = (text, kind)
    return found


def _worded(source: str, command: str) -> Symbol:
    r"""Return the words of \text, or the upright letters of \mathrm."""
    text = re.sub(r"\\([%$&#_ ])", r"\1", source.replace("~", " "))
    if re.search(r"[\\{}^$]|(?<!\\)_", source.replace(r"\$", "").replace(r"\%", "")):
        raise _Unknown
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
        raise _Unknown
    alphabet = _ALPHABETS.get(command, "")
    if alphabet == "BOLD" and letter.kind == "number":
        return letter
    if letter.kind != "letter" or len(letter.text) != 1:
        raise _Unknown
    if not alphabet:
        return Symbol(letter.text + _ACCENTS[command], "letter")
    size = "CAPITAL" if letter.text.isupper() else "SMALL"
    for name in (
        f"{alphabet} {size} {letter.text.upper()}",
        f"MATHEMATICAL {alphabet} {size} {letter.text.upper()}",
    ):
        with suppress(KeyError):
            return Symbol(unicodedata.lookup(name), "letter")
    raise _Unknown


def _negated(items: Items) -> Symbol:
    if len(items) != 1 or not isinstance(items[0], Symbol):
        raise _Unknown
    text = unicodedata.normalize("NFC", items[0].text + "\u0338")
    if len(text) != 1:
        raise _Unknown
    return Symbol(text, "relation")


def _scripted(base: Node | None, mark: str, inside: Items) -> Node:
    """Return `base` with one more script. Raises `_Unknown` for a second of the same kind, and where it is
    not said what the script belongs to."""
    if base is None or base in (_ROW, _CELL):
        raise _Unknown
    if isinstance(base, Group):
        if len(base.items) != 1:
            raise _Unknown
        base = base.items[0]
    low, high = (None, inside) if mark == "^" else (inside, None)
    if not isinstance(base, Script):
        return Script(base, low, high)
    if (base.low is not None and low is not None) or (base.high is not None and high is not None):
        raise _Unknown
    return Script(base.base, base.low if low is None else low, base.high if high is None else high)


def _split(items: Items, mark: Symbol) -> list[Items]:
    parts: list[list[Node]] = [[]]
    for node in items:
        if node == mark:
            parts.append([])
        else:
            parts[-1].append(node)
    return [tuple(part) for part in parts]


def _trimmed(items: Items) -> Items:
    """Return `items` without spaces at both ends."""
    first, last = 0, len(items)
    while first < last and _kind(items[first]) == "space":
        first += 1
    while first < last and _kind(items[last - 1]) == "space":
        last -= 1
    return items[first:last]


# --- printing -------------------------------------------------------------------------------------------

_ROOTS = {"": "√", "2": "√", "3": "∛", "4": "∜"}
_FACTORS = frozenset(("number", "letter", "fraction", "root", "fenced"))
_REACHES_BACK = _FACTORS | {"after", "function", "big", "loose"}  # what stands before it is a factor, or less
_REACHES_ON = _FACTORS | {"after", "function", "loose", "sign"}  # and what stands after it
_ENDS = frozenset(("", "relation", "comma"))
_APART = ("", " ", "\u2003", "\n", "(", "[", "{", "|")


def _kind(node: Node | None) -> str:
    """Return what `node` is to its neighbours: the kind of a symbol, or what it is."""
    if isinstance(node, Symbol):
        return node.kind
    if isinstance(node, Script):
        kind = _kind(node.base)
        return kind if kind in ("function", "big", "word") else "letter"
    return {Group: "group", Fraction: "fraction", Root: "root", Fenced: "fenced"}.get(type(node), "")


def _line(items: Items, *, tight: bool = False) -> str:
    """Print `items` in a row. `tight`: no spaces round operators, as in a script."""
    nodes = _spliced(_trimmed(items))
    out = ""
    for at, node in enumerate(nodes):
        out = _appended(out, node, nodes[at - 1] if at else None, *_beside(nodes, at))
    return re.sub(r"\s*([-+−±∓=<>≤≥≠→·×,])\s*", r"\1", out) if tight else out


def _beside(nodes: Sequence[Node], at: int) -> tuple[Node | None, Node | None]:
    """Return the nodes before and after number `at`, spaces not counted."""
    before, after = at - 1, at + 1
    while before >= 0 and _kind(nodes[before]) == "space":
        before -= 1
    while after < len(nodes) and _kind(nodes[after]) == "space":
        after += 1
    return nodes[before] if before >= 0 else None, nodes[after] if after < len(nodes) else None


def _spliced(items: Items) -> list[Node]:
    """Return `items` with groups opened, which are not seen, and mixed numbers as one.

    Raises `_Unknown` where without its braces the formula could be read in another way.
    """
    nodes: list[Node] = []
    for at, node in enumerate(items):
        before, after = _beside(items, at)
        if isinstance(node, Group):
            nodes += _opened(node, _kind(before), _kind(after))
        elif isinstance(node, Fraction) and (mixed := _mixed(nodes, node)):
            while _kind(nodes.pop()) == "space":
                pass
            nodes.append(mixed)
        else:
            nodes.append(node)
    return nodes


def _opened(group: Group, before: str, after: str) -> Sequence[Node]:
    """Return what a group becomes between two neighbours of these kinds."""
    inside = _spliced(_trimmed(group.items))
    single = len(inside) == 1
    if before == "function":
        if single and after not in _REACHES_BACK and _kind(inside[0]) in ("number", "letter", "fenced"):
            return inside
        return [Fenced("(", tuple(inside), ")")]
    if not group.boxed and any(_kind(node) == "comma" for node in inside):
        raise _Unknown  # a set whose braces lack their backslashes
    products = all(_kind(node) in _FACTORS | {"after", "word", "space"} for node in inside)
    if not inside or (before in _ENDS and after in _ENDS):
        return inside
    digits = (before in _FACTORS and _kind(inside[0]) == "number") or "number" == after == _kind(inside[-1])
    if digits or not products or (not single and (before == "over" or after == "after")):
        raise _Unknown
    return inside


def _mixed(nodes: Sequence[Node], fraction: Fraction) -> Symbol | None:
    """Return a whole number and a proper fraction after it as one number."""
    whole = next((node for node in reversed(nodes) if _kind(node) != "space"), None)
    parts = [_trimmed(fraction.top), _trimmed(fraction.bottom)]
    if not isinstance(whole, Symbol) or whole.kind != "number" or not all(len(part) == 1 for part in parts):
        return None
    top, bottom = (
        node.text if isinstance(node, Symbol) and node.kind == "number" else "" for (node,) in parts
    )
    if not all(text.isdigit() for text in (whole.text, top, bottom)) or int(top) >= int(bottom):
        return None
    return Symbol(f"{whole.text} {top}/{bottom}", "mixed")


def _appended(out: str, node: Node, beside: Node | None, before: Node | None, after: Node | None) -> str:
    """Return `node` written after `out`. `beside` is the node right before it, be it a space."""
    kind, last = _kind(node), _kind(before)
    if kind in ("row", "cell", "group"):
        raise _Unknown
    if isinstance(node, Symbol) and node.spaced:
        if kind == "plus" and last not in _REACHES_ON and last not in ("word", "mixed"):
            return out + node.text  # a sign
        return f"{out.rstrip(' ')}{' ' if before else ''}{node.text} "
    text = _printed(node, before, after)
    if kind == "space":
        return out if isinstance(beside, Symbol) and beside.spaced else out + text
    if kind == "number" and _kind(beside) == "number":
        raise _Unknown
    if kind == "root" and isinstance(before, Script) and before.high is not None and text[0] in "√∛∜":
        return f"{out.rstrip(' ')}·{text}"  # or the exponent would be read as the root's
    apart = (
        (last == "function" and kind not in ("fenced", "after", "comma"))
        or (kind == "function" and last in _FACTORS | {"after", "word"})
        or (last == "big" and kind != "big")
        or (("word" in (kind, last) or text[:2] == "C(") and out[-1:].isalnum() and text[:1].isalnum())
    )
    return f"{out} {text}" if apart and out[-1:] not in _APART else out + text


def _printed(node: Node, before: Node | None, after: Node | None) -> str:
    """Return `node` as text, in the brackets that it needs between its neighbours."""
    last, following = _kind(before), _kind(after)
    if isinstance(node, Symbol):
        if node.kind != "mixed":
            return node.text
        if last in _REACHES_ON or following in _REACHES_BACK:
            raise _Unknown
        return f"({node.text})" if {"times", "over"} & {last, following} else node.text
    if isinstance(node, Fraction):
        text = f"{_top(node.top, signed=last in _ENDS)}/{_bottom(node)}"
        alone = last not in _REACHES_ON and following not in _REACHES_BACK and "over" not in (last, following)
        return text if alone else f"({text})"
    if isinstance(node, Root):
        return _rooted(node, last, following)
    if isinstance(node, Script):
        return _script(node, following in _REACHES_BACK)
    if isinstance(node, Fenced):
        inside = _line(node.items)
        if node.before in "|‖" and node.before in inside:
            raise _Unknown  # which bar closes which is not seen
        return f"{node.before}{inside}{node.after}"
    raise _Unknown


def _top(items: Items, *, signed: bool) -> str:
    """Print a numerator. `signed`: it may begin with a sign and no bracket."""
    nodes = _spliced(_trimmed(items))
    kinds = [_kind(node) for node in nodes]
    if not nodes:
        raise _Unknown
    product = kinds[1:] if signed and len(kinds) > 1 and kinds[0] == "plus" else kinds
    plain = set(product) <= {"number", "letter", "root", "fenced", "after"} or _is_word(nodes)
    return _line(items) if plain else f"({_line(items)})"


def _bottom(fraction: Fraction) -> str:
    """Print the denominator of `fraction`: in brackets unless it is a single factor."""
    nodes = _spliced(_trimmed(fraction.bottom))
    if not nodes:
        raise _Unknown
    text = _line(fraction.bottom)
    differential = (
        len(nodes) == 2
        and all(isinstance(node, Symbol) and node.kind == "letter" for node in nodes)
        and text[0] in "d∂"
        and _line(fraction.top)[0] == text[0]
    )
    rest = [node for node in nodes[1:] if node not in (Symbol("!", "after"), Symbol("'", "after"))]
    single = not rest and _kind(nodes[0]) in ("number", "letter", "root", "fenced")
    return text if single or differential or _is_word(nodes) else f"({text})"


def _is_word(nodes: Sequence[Node]) -> bool:
    word = nodes[0] if len(nodes) == 1 else None
    return isinstance(word, Symbol) and word.kind == "word" and " " not in word.text


def _rooted(node: Root, last: str, following: str) -> str:
    inside = _spliced(_trimmed(node.inside))
    if not inside:
        raise _Unknown
    text = _line(node.inside)
    index = _line(node.index)
    if index in _ROOTS:
        only = inside[0] if len(inside) == 1 else None
        bare = (
            isinstance(only, Symbol) and only.kind in ("number", "letter") and following not in _REACHES_BACK
        )
        fenced = isinstance(only, Fenced) and only.before + only.after == "()"
        return _ROOTS[index] + (text if bare or fenced else f"({text})")
    if not (index.isalnum() and len(node.index) == 1) or last == "function":
        raise _Unknown
    return f"{'·' if last in _FACTORS else ''}({text})^(1/{index})"


def _script(node: Script, followed: bool) -> str:
    """Print `node.base` with what stands low and high. `followed`: something multiplies with it."""
    kind = _kind(node.base)
    if kind not in _FACTORS | {"word", "function", "big", "after", "loose"}:
        raise _Unknown
    base = _printed(node.base, None, None)
    if kind in ("fraction", "root"):
        base = f"({base})"
    low = high = ""
    if node.low is not None:
        low = _small("_", _line(node.low, tight=True), _SUB, followed or node.high is not None)
    if node.high is not None:
        high = _small("^", _exponent(node.high), _SUPER, followed)
    return base + low + high


def _exponent(items: Items) -> str:
    text = _line(items, tight=True).strip()
    return {"∘": "°"}.get(text, text)


def _small(mark: str, text: str, table: dict[str, str], followed: bool) -> str:
    if not text:
        raise _Unknown
    if text in ("°", "′", "′′", "'", "''"):
        return text
    if all(letter in table for letter in text):
        return "".join(table[letter] for letter in text)
    bare = len(text) == 1 and not (followed and text.isalnum())
    return mark + (text if bare else f"({text})")
