r"""One LaTeX formula as text that means the same: its tree printed with the brackets it needs.

`\frac{x+1}{2}` is `(x+1)/2`. What has no such text (an overline, a command that is not known, half a formula)
has none at all, so that its reader gets the source and never other mathematics.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from qwen_cli.latex_tree import (
    Fenced,
    Fraction,
    Group,
    Items,
    Matrix,
    Node,
    Root,
    Script,
    Symbol,
    Unknown,
    parse,
    trimmed,
)

_SUPER = dict(
    zip(
        "0123456789+-−=()abcdefghijklmnoprstuvwxyzT",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ",
        strict=True,
    )
)
_SUB = dict(zip("0123456789+-−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
_ROOTS = {"": "√", "2": "√", "3": "∛", "4": "∜"}
_FACTORS = frozenset(("number", "letter", "fraction", "root", "fenced"))
_REACHES_BACK = _FACTORS | {"after", "function", "big", "loose"}  # what stands before it is a factor, or less
_REACHES_ON = _FACTORS | {"after", "function", "loose", "sign"}  # and what stands after it
_ENDS = frozenset(("", "relation", "comma"))
_APART = ("", " ", "\u2003", "\n", "(", "[", "{", "|")


def as_text(latex: str) -> str | None:
    """Return `latex` as text that means the same; `None` where there is none, or the source is broken."""
    try:
        text = _line(parse(latex))
    except (Unknown, RecursionError):
        return None
    return unicodedata.normalize("NFC", re.sub(r" {2,}", " ", text)).strip()


def _kind(node: Node | None) -> str:
    """Return what `node` is to its neighbours: the kind of a symbol, or what it is."""
    if isinstance(node, Symbol):
        return node.kind
    if isinstance(node, Script):
        kind = _kind(node.base)
        return kind if kind in ("function", "big", "word") else "letter"
    return {Group: "group", Fraction: "fraction", Root: "root", Fenced: "fenced", Matrix: "fenced"}.get(
        type(node), ""
    )


def _line(items: Items, *, tight: bool = False) -> str:
    """Print `items` in a row. `tight`: no spaces round operators, as in a script."""
    nodes = _spliced(trimmed(items))
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

    Raises `Unknown` where without its braces the formula could be read in another way.
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
    inside = _spliced(trimmed(group.items))
    single = len(inside) == 1
    if before == "function":
        if single and after not in _REACHES_BACK and _kind(inside[0]) in ("number", "letter", "fenced"):
            return inside
        return [Fenced("(", tuple(inside), ")")]
    if not group.boxed and any(_kind(node) == "comma" for node in inside):
        raise Unknown  # a set whose braces lack their backslashes
    products = all(_kind(node) in _FACTORS | {"after", "word", "space"} for node in inside)
    if not inside or (before in _ENDS and after in _ENDS):
        return inside
    digits = (before in _FACTORS and _kind(inside[0]) == "number") or "number" == after == _kind(inside[-1])
    if digits or not products or (not single and (before == "over" or after == "after")):
        raise Unknown
    return inside


def _mixed(nodes: Sequence[Node], fraction: Fraction) -> Symbol | None:
    """Return a whole number and a proper fraction after it as one number."""
    whole = next((node for node in reversed(nodes) if _kind(node) != "space"), None)
    parts = [trimmed(fraction.top), trimmed(fraction.bottom)]
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
        raise Unknown
    if isinstance(node, Symbol) and node.spaced:
        if kind == "plus" and last not in _REACHES_ON and last not in ("word", "mixed"):
            return out + node.text  # a sign
        return f"{out.rstrip(' ')}{' ' if before else ''}{node.text} "
    text = _printed(node, before, after)
    if kind == "space":
        return out if isinstance(beside, Symbol) and beside.spaced else out + text
    if kind == "number" and _kind(beside) == "number":
        raise Unknown
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
            raise Unknown
        return f"({node.text})" if {"times", "over"} & {last, following} else node.text
    if isinstance(node, Fraction):
        text = f"{_top(node.top, signed=last in _ENDS)}/{_bottom(node)}"
        alone = last not in _REACHES_ON and following not in _REACHES_BACK and "over" not in (last, following)
        return text if alone else f"({text})"
    if isinstance(node, Root):
        return _rooted(node, last, following)
    if isinstance(node, Script):
        return _script(node, following in _REACHES_BACK)
    if isinstance(node, Matrix):
        return _matrix(node)
    if isinstance(node, Fenced):
        inside = _line(node.items)
        if node.before in "|‖" and node.before in inside:
            raise Unknown  # which bar closes which is not seen
        return f"{node.before}{inside}{node.after}"
    raise Unknown


def _matrix(node: Matrix) -> str:
    """Print a matrix in a row, as in `[1, 2; 3, 4]`."""
    if node.shape not in ("matrix", "pmatrix", "bmatrix", "smallmatrix"):
        raise Unknown
    if any(_kind(inner) == "comma" for row in node.rows for cell in row for inner in cell):
        raise Unknown
    return f"[{'; '.join(', '.join(map(_line, row)) for row in node.rows)}]"


def _top(items: Items, *, signed: bool) -> str:
    """Print a numerator. `signed`: it may begin with a sign and no bracket."""
    nodes = _spliced(trimmed(items))
    kinds = [_kind(node) for node in nodes]
    if not nodes:
        raise Unknown
    product = kinds[1:] if signed and len(kinds) > 1 and kinds[0] == "plus" else kinds
    plain = set(product) <= {"number", "letter", "root", "fenced", "after"} or _is_word(nodes)
    return _line(items) if plain else f"({_line(items)})"


def _bottom(fraction: Fraction) -> str:
    """Print the denominator of `fraction`: in brackets unless it is a single factor."""
    nodes = _spliced(trimmed(fraction.bottom))
    if not nodes:
        raise Unknown
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
    inside = _spliced(trimmed(node.inside))
    if not inside:
        raise Unknown
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
        raise Unknown
    return f"{'·' if last in _FACTORS else ''}({text})^(1/{index})"


def _script(node: Script, followed: bool) -> str:
    """Print `node.base` with what stands low and high. `followed`: something multiplies with it."""
    kind = _kind(node.base)
    if kind not in _FACTORS | {"word", "function", "big", "after", "loose"}:
        raise Unknown
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
        raise Unknown
    if text in ("°", "′", "′′", "'", "''"):
        return text
    if all(letter in table for letter in text):
        return "".join(table[letter] for letter in text)
    bare = len(text) == 1 and not (followed and text.isalnum())
    return mark + (text if bare else f"({text})")
