r"""Formulas in a text: LaTeX between `$ $`, `$$ $$`, `\( \)`, `\[ \]`, in environments and `\boxed{}`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen_cli.ui.formula import as_text

LONGEST_DISPLAY = 2_000  # characters after which what was opened is taken for something else

_ENVIRONMENTS = "(?:align|aligned|gather|gathered|equation|multline|split)"
_DISPLAY = re.compile(rf"\$\$|\\\[|\\begin\{{({_ENVIRONMENTS}\*?)\}}")
# Pandoc's rule for single dollars (manual, `tex_math_dollars`): no space right inside them, no digit after
# them; and no letter beside them either, so that "$5 and $10" and `$A$B` stay. Scripts without spaces between
# words have no such letters (其中$x$是整数), and the $n$th is one of English.
_UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_INLINE = re.compile(
    rf"(?<![^\W{_UNSPACED}])(?<!\$)\$(?=[^\s$])((?:[^$\\\n]|\\[^\n]){{1,1000}}?)(?<!\s)"
    rf"\$(?!\$)(?:(?![^\W{_UNSPACED}])|(?=(?:th|st|nd|rd)\b))"
)
# Between dollars: words, as in "$5 for tea, 10$", and what shells and scripts name.
_PROSE = re.compile(
    rf"[a-z]{{3,}}|[{_UNSPACED}，。；]|(?<!\S)(?:or|is|to|at|in|of|by|if)(?!\S)|[A-Z_]{{2}}\w*_|[\"#;]"
)
_PATTERN = re.compile(r"[a-z]{3,}(?:\\\|[a-z]+)*")  # grep's groups: \(foo\|bar\)


@dataclass(frozen=True)
class Formula:
    """What is shown of a formula, and where its source ends."""

    text: str
    end: int


def unicode(formula: str) -> str:
    """Return one formula as text that means the same (`a/b`, `x^(2/3)`); as it is where there is none."""
    return as_text(formula) or formula


def at(source: str, start: int, end: int) -> Formula | None:
    """Return the formula that begins at `start` and ends before `end`; its source where it has no text."""
    delimited = _delimited(source, start, end)
    if delimited is None:
        return None
    inside, stop = delimited
    text = as_text(inside)
    return Formula(text or source[start:stop], stop)


def without_bars(line: str) -> str:
    r"""Return `line` with `\vert` and `\Vert` for the bars of its formulas between single dollars."""

    def written_out(match: re.Match[str]) -> str:
        if _is_prose(match[1]):
            return match[0]
        double = re.sub(r"\\\|(?=([A-Za-z])?)", lambda bar: r"\Vert" + "{}" * bool(bar[1]), match[0])
        return re.sub(r"\|(?=([A-Za-z])?)", lambda bar: r"\vert" + "{}" * bool(bar[1]), double)

    return _INLINE.sub(written_out, line)


def begins_display(line: str) -> bool:
    """Return whether a display formula begins with `line`."""
    opening = _DISPLAY.match(line)
    return opening is not None and not (opening[0] == "$$" and _is_prose(line[2:]))


def display_is_open(text: str) -> bool:
    """Return whether the display formula that `text` begins with does not end in it."""
    opening = _DISPLAY.match(text)
    return opening is not None and text.find(_closing(opening), opening.end()) < 0


def _closing(opening: re.Match[str]) -> str:
    return rf"\end{{{opening[1]}}}" if opening[1] else {"$$": "$$", r"\[": r"\]"}[opening[0]]


def _delimited(source: str, start: int, end: int) -> tuple[str, int] | None:
    """Return what stands between the delimiters that begin at `start`, and where they end."""
    most = min(end, start + LONGEST_DISPLAY)
    if single := _INLINE.match(source, start, most):
        inside = single[1][1:-1] if re.fullmatch("`[^`]+`", single[1]) else single[1]  # as GitHub has it
        return None if _is_prose(inside) else (inside, single.end())
    if opening := _DISPLAY.match(source, start, most):
        closing = _closing(opening)
        stop = source.find(closing, opening.end(), most)
        inside = source[start : stop + len(closing)] if opening[1] else source[opening.end() : stop]
        if stop < 0 or not inside.strip() or (opening[0] == "$$" and _is_prose(inside)):
            return None
        if opening[0] == r"\[" and source.startswith("(", stop + 2) and _is_prose(inside):
            return None  # the text of a link, its brackets escaped
        return inside, stop + len(closing)
    if source.startswith(r"\(", start):
        stop = source.find(r"\)", start + 2, most)
        inside = source[start + 2 : stop]
        return None if stop < 0 or _PATTERN.fullmatch(inside) else (inside, stop + 2)
    if source.startswith(r"\boxed{", start):
        brace = _brace(source, start + len(r"\boxed"), most)
        return None if brace is None else (source[start + len(r"\boxed{") : brace], brace + 1)
    return None


def _brace(source: str, start: int, end: int) -> int | None:
    """Return where the brace at `start` is closed."""
    depth = at = 0
    for at in range(start, end):
        if source[at] in "{}" and source[at - 1] != "\\":
            depth += 1 if source[at] == "{" else -1
            if not depth:
                return at
    return None


def _is_prose(inside: str) -> bool:
    """Return whether what stands between dollars is no formula."""
    return "\\" not in inside and _PROSE.search(inside) is not None
