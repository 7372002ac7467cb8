"""What a parser, or a lexer, makes of a file with a middle in its hole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.fim.whole import Whole
from qwen_cli.tasks.repository import languages

# What stands before and after a hole, what is right there, and what is not.
PLACES = {
    "a.py": ("def f(a):\n    ", "\n", "return (a)", "return (a))"),
    "a.sh": ("if true; then\n  ", "\nfi\n", "echo ')'", "echo )"),
    "a.css": ("a { ", " }\n", "color: rgb(0, 0, 0);", "color: red; }"),
    "a.html": ("<p>", "</p>\n", "<b>(</b>", "</b>"),
    "a.json": ('{"a": ', "}\n", "[1, 2]", "[1, 2]}"),
    "a.yaml": ("a:\n  ", "\n", "- {b: 1}", "- {b: 1"),
    "a.toml": ("a = ", "\n", "[1, 2]", "[1, 2]]"),
    "a.rb": ("def f\n  ", "\nend\n", "g(1)", "g(1)\nend"),
    "a.php": ("<?php\nf(", ");\n", "')'", ")"),
    "a.kt": ("fun f() {\n  ", "\n}\n", "g(1)", "g(1)\n}"),
    "a.lua": ("function f()\n  ", "\nend\n", "g(1)", "g(1)\nend"),
    "Makefile": ("ifdef A\n", "endif\n", "B = $(C)\n", "B = $(C)\nendif\n"),
    "a.cs": ("class A { int f() { ", " } }\n", "return g(1);", "return g(1); }}"),
    "a.swift": ("func f() {\n  ", "\n}\n", "g(1)", "g(1)\n}"),
    "a.scala": ("object A {\n  ", "\n}\n", "def f = g(1)", "def f = g(1)\n}"),
    "a.dart": ("void f() {\n  ", "\n}\n", "g(')');", "g(1);\n}"),  # without a grammar: a lexer
    "a.pl": ("sub f {\n  ", "\n}\n", "g(')');", "g(1);\n}"),
    "a.sql": ("SELECT ", " FROM b;\n", "max(a)", "max(a))"),
}


@pytest.mark.parametrize("path", PLACES)
def test_a_right_middle_has_no_faults_and_another_has(path: str) -> None:
    prefix, suffix, right, wrong = PLACES[path]
    whole = Whole(Hole(prefix, suffix, path))
    assert whole.faults(right) == 0
    assert whole.faults(wrong) > 0


def test_what_the_model_does_not_see_counts() -> None:
    assert Whole(Hole("  b();\n", "", "a.js", before="function f() {\n")).faults("}\n") == 0
    assert Whole(Hole("  b();\n", "", "a.js")).faults("}\n") > 0
    assert Whole(Hole("  b();\n", "", "a.js", before="function f() {\n", after="}\n")).faults("}\n") > 0


@pytest.mark.parametrize("middle", ["return 1\n", "        return 1\n      b = 2\n", "    if a:\n"])
def test_pythons_indentation_counts(middle: str) -> None:
    before = "import a\n\n\ndef other():\n    pass\n\n\n"
    whole = Whole(Hole("def f(a):\n", "    return a\n\n\nprint(f(1))\n", "a.py", before=before))
    assert whole.faults(middle) > 0
    assert whole.faults("    a += 1\n") == 0


def test_more_that_cannot_be_read_is_worse() -> None:
    whole = Whole(Hole("int f(void) {\n", "}\n", "a.c"))
    assert 0 < whole.faults("}\n") <= whole.faults("} ] ) }\n\n)\n]\n")


def test_prose_and_unknown_files_have_no_faults_that_anybody_could_tell() -> None:
    assert Whole(Hole("# Title\n\n- a (b\n", "", "a.md")).faults("- c)))\n") == 0
    assert Whole(Hole("a (b\n", "", "a.txt")).faults("}}\n") == 0


def test_without_the_wheel_of_a_grammar_a_lexer_counts_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(language: str) -> None:
        raise ImportError(language)

    monkeypatch.setattr(languages, "parser", missing)
    whole = Whole(Hole("function f() {\n", "}\n", "a.js"))
    assert whole.faults('  g("}");\n') == 0
    assert whole.faults("  g();\n}\n") > 0


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(["x = (1", ")", "\n", "    ", "'", "é", "if a:", "[", "]", "y", " ", "🙂"]),
        max_size=12,
    )
)
def test_a_change_to_the_tree_is_as_good_as_a_new_parse(parts: list[str]) -> None:
    prefix, suffix, middle = "def f(a):\n    b = 'ü'\n    ", "\n    return b\n", "".join(parts)
    whole = Whole(Hole(prefix, suffix, "a.py"))
    assert (whole.faults(middle) == 0) == (Whole(Hole(prefix + middle + suffix, "", "a.py")).faults("") == 0)
