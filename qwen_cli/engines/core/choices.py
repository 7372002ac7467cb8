"""One of many texts, as grammars and patterns: what they begin alike with is written once.

llama.cpp's grammars hold every choice open at once, and look at each of them for each token of the
vocabulary: of 2,000 that stand side by side five tokens took 13 seconds, of a tree what they take of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qwen_cli.engines.core.prompt import common_length

FEW = 32
"""Texts that may stand side by side."""

_DEEPEST = 60  # groups in each other: llama.cpp takes 100 of a pattern


def alternatives(texts: Iterable[str], literal: Callable[[str], str], between: str = " ") -> str:
    """Return the alternatives that are these texts, each piece of one written by `literal` and `between`
    what follows on each other."""
    once = list(dict.fromkeys(texts))
    if len(once) <= FEW:
        return f"{between}|{between}".join(map(literal, once))
    return _level(sorted(once), literal, between, 0)


def pattern(texts: Iterable[str]) -> str:
    """Return the pattern of a whole JSON string that is one of these texts, each as JSON writes it without
    quotes: what is escaped there stays so, as llama.cpp takes patterns (json-schema-to-grammar.cpp)."""
    return f"^({alternatives(texts, _escaped, '')})$"


def _level(texts: list[str], literal: Callable[[str], str], between: str, depth: int) -> str:
    if len(texts) <= 2 or depth == _DEEPEST:
        return f"{between}|{between}".join(map(literal, texts))
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text[:1], []).append(text)
    written = []
    for group in groups.values():
        start = group[0][: common_length(group[0], group[-1])]  # they are sorted
        rests = [text[len(start) :] for text in group if len(text) > len(start)]
        may_end = "?" if len(rests) < len(group) else ""
        rest = f"({_level(rests, literal, between, depth + 1)}){may_end}" if rests else ""
        written.append(between.join(part for part in (literal(start), rest) if part))
    return f"{between}|{between}".join(written)


def _escaped(text: str) -> str:
    return "".join(f"\\{one}" if one in '^$.[]()|{}*+?\\"' else one for one in text)
