"""Which grammar reads which file."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.repository import languages

# fmt: off
_FILES = (
    "a.py", "a.c", "a.h", "a.cpp", "a.js", "a.jsx", "a.ts", "a.tsx", "a.go", "a.rs", "a.java", "a.sh",
    "a.css", "a.html", "a.json", "a.yml", "a.toml", "a.rb", "Rakefile", "a.php", "a.kt", "a.lua", "a.mk",
    "src/Makefile", "a.cs", "a.swift", "a.scala",
)
# fmt: on


@pytest.mark.parametrize("path", _FILES)
def test_every_grammar_that_is_named_can_be_loaded(path: str) -> None:
    grammar = languages.grammar_of(path)
    assert grammar is not None
    assert languages.parser(grammar).parse(b"").root_node.type


def test_files_without_a_grammar_have_none() -> None:
    assert languages.grammar_of("a.md") is None
    assert languages.grammar_of("a") is None
    assert languages.grammar_of("") is None


def test_only_languages_whose_definitions_are_known_are_read_for_them() -> None:
    assert languages.language_of("a.py") == "python"
    assert languages.language_of("a.rb") is None
