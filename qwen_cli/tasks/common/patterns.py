r"""Patterns of JSON schemas: ECMA's regular expressions, as what checks them and what makes grammars of them
take them.

They may be a stranger's: a search has a second.
"""

from __future__ import annotations

import functools
import re
from typing import Any

PATIENCE = 1.0
"""Seconds for a search: ordinary ones take microseconds."""

MOST_STATES = 100_000
"""Characters that a pattern is about when its repetitions are written out: `(a{1000}){1000}` is about a
million. While one is made of it nothing else runs; a million take a second."""

# An escape, a class in brackets, how often what stands before it is repeated, any other character.
_ATOM = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)

# An escape (with what belongs to it), what opens a class in brackets, any other character.
_PIECE = re.compile(
    r"\\(?:u\{([0-9A-Fa-f]+)\}|c([A-Za-z])|k<(\w+)>|([pP]\{[^}]*\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.))|(.)",
    re.DOTALL,
)
_DIGIT, _WORD = "0-9", "A-Za-z0-9_"  # ECMA's are those of ASCII
_SHORT = {"d": _DIGIT, "w": _WORD}


def matches(pattern: str, text: str) -> bool:
    """Return whether `pattern` is found in `text`. Raises `TimeoutError` after a second."""
    # Other threads go on meanwhile.
    return compiled(pattern).search(text, timeout=PATIENCE, concurrent=True) is not None


@functools.lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:
    """Return `pattern` as an expression of `regex`, with ECMA's meaning. Raises `ValueError`."""
    import regex

    if _states(pattern) > MOST_STATES:
        raise ValueError(f"it repeats more than {MOST_STATES:,} times")
    try:
        return regex.compile(_translated(pattern, end=r"\Z"))
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _states(pattern: str) -> int:
    """Return the characters that `pattern` is about, its repetitions written out. Raises `ValueError` for a
    number that is none."""
    groups: list[list[int]] = [[]]
    for atom in _ATOM.finditer(pattern):
        least, most = atom[1], atom[2]
        if atom[0] == "(":
            groups.append([])
        elif atom[0] == ")" and len(groups) > 1:
            size = sum(groups.pop())
            groups[-1].append(size + 1)
        elif least and groups[-1]:
            groups[-1][-1] *= max(1, int(least), int(most or 0))
        else:
            groups[-1].append(1)
    return sum(map(sum, groups))


def for_grammar(pattern: str) -> str | None:
    """Return `pattern` as llguidance takes it (Rust's expressions), with ECMA's meaning; `None` for what they
    have no word for: looking around, references, borders of words."""
    if re.search(r"(?<!\\)(?:\\\\)*(?:\(\?<?[=!]|\(\?P?=|\\[bBk1-9])", pattern):
        return None
    return _translated(pattern, end="$")


def _translated(pattern: str, *, end: str) -> str:
    """Return `pattern` with what ECMA means otherwise written out; `end` is the end of the text alone."""
    parts: list[str] = []
    inside = False
    for match in _PIECE.finditer(pattern.replace("[^]", r"[\s\S]")):
        point, control, name, escaped, plain = match.groups()
        if point or control:
            code = int(point, 16) if point else ord(control) % 32
            parts.append(re.escape(chr(code)) if code < 0x110000 else match.group())
        elif name:
            parts.append(f"(?P={name})")
        elif escaped and escaped.lower() in _SHORT:
            members = _SHORT[escaped.lower()]
            if not inside:
                parts.append(f"[{'' if escaped.islower() else '^'}{members}]")
            else:
                parts.append(members if escaped.islower() else f"\\{escaped}")
        elif escaped == "/":
            parts.append("/")
        elif escaped:
            parts.append(f"\\{escaped}")
        elif inside and plain == "[":
            parts.append(r"\[")
        else:
            inside = plain == "[" or (inside and plain != "]")
            parts.append(end if plain == "$" and not inside else plain)
    return "".join(parts)


_CLASSES = {"d": _DIGIT, "w": _WORD, "s": " "}
_ANY = r'[^"\\\n\r]'  # as it stands between the quotes of JSON
_PLAIN = re.compile(r"\\(.)|(\[\^?\]?(?:\\.|[^\]\\])*\])|(\(\?.)|(.)", re.DOTALL)


def plain_pattern(pattern: str) -> str | None:
    r"""Return `pattern` as the grammars of llama.cpp and xgrammar take it, anchored and without shorthands
    (`\d{4}` → `^…*([0-9]{4})…*$`); `None` for what they have no word for: assertions, references, classes of
    Unicode, what JSON escapes."""
    if '"' in pattern or r"\\" in pattern:
        return None
    parts: list[str] = []
    for escaped, group, special, plain in _PLAIN.findall(pattern):
        if escaped in _CLASSES:
            parts.append(f"[{_CLASSES[escaped]}]")
        elif escaped and escaped.isalnum() and escaped not in "ntr":
            return None
        elif group:
            if not (opened := _open_class(group)):
                return None
            parts.append(opened)
        elif special:
            if special != "(?:":
                return None
            parts.append("(")
        else:
            parts.append(f"\\{escaped}" if escaped else _ANY if plain == "." else plain)
    text = "".join(parts)
    starts, ends = text.startswith("^"), text.endswith("$") and not text.endswith(r"\$")
    inner = text[starts : len(text) - ends]
    if re.search(r"(?<!\\)(?:\\\\)*[\^$]", re.sub(r"\[(?:\\.|[^\]\\])*\]", "", inner)):
        return None  # an anchor in the middle
    if starts and ends and "|" not in inner:
        return text
    if "|" in inner and (starts or ends):
        return None  # each belongs to one of the choices
    return f"^{'' if starts else f'{_ANY}*'}({inner}){'' if ends else f'{_ANY}*'}$"


def _open_class(group: str) -> str | None:
    """Return a class in brackets with its shorthands written out."""
    parts = []
    for escaped, plain in re.findall(r"\\(.)|(.)", group, re.DOTALL):
        if escaped in _CLASSES:
            parts.append(_CLASSES[escaped])
        elif escaped and escaped.isalnum() and escaped not in "ntr":
            return None
        else:
            parts.append(f"\\{escaped}" if escaped else plain)
    if parts[1] == "^":
        parts.insert(2, r'"\\')
    return "".join(parts)
