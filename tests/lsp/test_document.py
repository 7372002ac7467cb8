"""Positions of the protocol and places in a Python string."""

from __future__ import annotations

import pytest

from qwen_cli.lsp.document import offset


@pytest.mark.parametrize(
    ("encoding", "character"), [("utf-8", 9), ("utf-16", 7), ("utf-32", 6)], ids=["utf-8", "utf-16", "utf-32"]
)
def test_the_end_of_an_emoji_in_each_encoding(encoding: str, character: int) -> None:
    text = 'a\nb = "😋"\n'
    assert offset(text, 1, character, encoding) == text.index("😋") + 1


def test_a_position_inside_a_surrogate_pair_is_the_start_of_its_character() -> None:
    assert offset("😋x", 0, 1) == 0
    assert offset("😋x", 0, 2) == 1


def test_cjk_counts_one_unit() -> None:
    assert offset("变量 = 1", 0, 2) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends_of_the_protocol(end: str) -> None:
    text = f"one{end}two{end}"
    assert text[: offset(text, 1, 1)] == f"one{end}t"
    assert offset(text, 2, 0) == len(text)


@pytest.mark.parametrize("char", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_other_separators_do_not_end_a_line(char: str) -> None:
    text = f"one{char}two\nthree"
    assert offset(text, 1, 0) == text.index("three")


def test_positions_past_an_end_are_that_end() -> None:
    assert offset("one\r\ntwo", 0, 99) == 3
    assert offset("one\r\ntwo", 1, 99) == 8
    assert offset("one\r\ntwo", 9, 0) == 8
    assert offset("", 0, 0) == 0
