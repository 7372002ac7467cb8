"""Completions found again without asking the model."""

from __future__ import annotations

from qwen_cli.lsp.cache import Suggestions


def test_typing_along_a_suggestion_finds_the_rest_of_it() -> None:
    known = Suggestions()
    known.keep("a", "x = ", "\n", "fib(3)")
    assert known.find("a", "x = ", "\n") == "fib(3)"
    assert known.find("a", "x = fib", "\n") == "(3)"


def test_another_character_another_file_and_another_suffix_find_nothing() -> None:
    known = Suggestions()
    known.keep("a", "x = ", "\n", "fib(3)")
    assert known.find("a", "x = g", "\n") is None
    assert known.find("b", "x = ", "\n") is None
    assert known.find("a", "x = ", ")\n") is None
    assert known.find("a", "y = ", "\n") is None  # same length


def test_a_suggestion_taken_whole_is_a_new_question() -> None:
    known = Suggestions()
    known.keep("a", "x = ", "\n", "1")
    assert known.find("a", "x = 1", "\n") is None


def test_that_there_was_nothing_is_not_remembered_and_takes_no_place() -> None:
    known = Suggestions(kept=1)
    known.keep("a", "x = ", "\n", "1")
    known.keep("a", "y = ", "\n", "")
    assert known.find("a", "y = ", "\n") is None
    assert known.find("a", "x = ", "\n") == "1"


def test_the_oldest_go_first_and_a_look_keeps_one_young() -> None:
    known = Suggestions(kept=2)
    known.keep("a", "1", "", "x")
    known.keep("a", "12", "", "y")
    known.find("a", "1", "")
    known.keep("a", "123", "", "z")
    assert known.find("a", "1", "") == "x"
    assert known.find("a", "12", "") is None


def test_it_looks_back_128_characters() -> None:
    known = Suggestions()
    known.keep("a", "", "", "x" * 200)
    assert known.find("a", "x" * 128, "") == "x" * 72
    assert known.find("a", "x" * 129, "") is None
