"""Docstrings of functions begin with a verb: what it does, then shapes, units, errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "qwen_cli"
ATTACKS = PACKAGE / "sandbox" / "attacks"  # each begins with what would count as an escape
NO_VERBS = re.compile(
    "an?|the|this|that|these|those|its?|wh(at(ever)?|ich|o|ether|ere|en|ile|y)|how|if|once|as|at|from|of|for|in(to)?|"
    "on|to|with(out)?|by|between|so|no|none|nobody|nothing|never|only|all|any|each|every|one|some|most|more|less|"
    "first|last|(an)?other|and|or|but"
)


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of every function in `source` that has one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (text := ast.get_docstring(node)):
            yield node.name, text


def begins_with_a_verb(text: str) -> bool:
    """Return whether `text` may begin with a verb: a capitalised word that is no article and the like."""
    word = text.split()[0].strip(",.:;")
    return (
        word.isalpha() and word[0].isupper() and word[1:].islower() and not NO_VERBS.fullmatch(word.lower())
    )


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("Return the sum.", True),
        ("Raise `UsageError` for a folder.", True),
        ("The sum.", False),
        ("Whether it fits.", False),
        ("What it costs.", False),
        ("`text` in capitals.", False),
        ("(start, end) of it.", False),
        ("95 % interval.", False),
        ("CRC-32 of a file.", False),
        ("llama.cpp's reason.", False),
    ],
)
def test_a_verb_is_told_from_what_is_none(text: str, verb: bool) -> None:
    assert begins_with_a_verb(text) is verb


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    others = [
        f"{path.relative_to(PACKAGE)}: {name}: {text.splitlines()[0]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.is_relative_to(ATTACKS)
        for name, text in docstrings(path.read_text("utf-8"))
        if not begins_with_a_verb(text)
    ]
    assert not others
