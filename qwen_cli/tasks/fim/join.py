"""How a middle meets the text on both sides: line ends, and what would stand there twice."""

from __future__ import annotations

import re

from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.fim.syntax import Style, nesting


def joined(hole: Hole, text: str, style: Style) -> str:
    """Return `text` with the line end, or the lack of one, that the text on both sides of `hole` asks for."""
    line = hole.prefix[hole.prefix.rfind("\n") + 1 :]
    rest = hole.suffix.partition("\n")[0]
    if line.strip() and rest.strip():
        return _without_overlap(text.rstrip("\n"), line, rest, style)
    body = text.rstrip("\n") if style.prose else text.rstrip()
    if not line:
        # A place for whole lines. What follows keeps its own line; a file that ends its lines goes on so.
        ends_line = bool(rest) or not hole.suffix
        return body + "\n" if body and ends_line else body
    if rest.strip():
        # White space before the cursor, code after it: whole lines were written, or the start of that one.
        if body and "\n" in text[len(body) :]:
            return f"{body}\n{line}"
        return _without_overlap(text, line, rest, style)
    return body


def _without_overlap(text: str, line: str, rest: str, style: Style) -> str:
    """Return `text` without its end where that is the beginning of `rest`, written once more."""
    whole = rest.rstrip()
    for size in range(min(len(text), len(whole)), 0, -1):
        overlap = whole[:size]
        if text.endswith(overlap) and _doubled(text, overlap, line, rest, style):
            return text[: len(text) - size]
    return text


def _doubled(text: str, overlap: str, line: str, rest: str, style: Style) -> bool:
    """Return whether the `overlap` of `text` and `rest` is the same piece of code twice, not two alike."""
    if overlap == rest.rstrip() and len(re.findall(r"\w", overlap)) >= 3:
        return True
    once, twice = line + text[: len(text) - len(overlap)] + rest, line + text + rest
    if overlap[0] == "," and re.match(r"\w", overlap[-1]):
        # A whole argument that follows already: `reduce(<add, 0>, 0)`.
        return not re.match(r"[\w.]", rest[len(overlap) :])
    if re.search(r"[()\[\]{}]", overlap):
        return _imbalance(once, style) < _imbalance(twice, style)
    if overlap[0] in "\"'`":
        return twice.count(overlap[0]) % 2 == 1
    return overlap == rest.rstrip() and not re.fullmatch(r"\w+", overlap)


def _imbalance(line: str, style: Style) -> int:
    state = nesting(line, style)
    return len(state.open) + len(state.extra)
