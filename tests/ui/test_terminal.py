"""Nothing that controls a terminal gets through, in one piece or in many; everything else does."""

from __future__ import annotations

import pytest

from qwen_cli.sanitize import EscapeFilter, clean_name, one_line, strip_escapes

CASES = {
    "colour": ("a\x1b[1;31mred\x1b[0m b", "ared b"),
    "window title": ("a\x1b]0;owned\x07b", "ab"),
    "hyperlink": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    "clipboard": ("\x1b]52;c;cm0gLXJm\x07ok", "ok"),
    "device control": ("\x1bP1$r0m\x1b\\ok", "ok"),
    "application command": ("\x1b_Gf=100;AAAA\x1b\\ok", "ok"),
    "8-bit controls": ("\x9b31mred\x9d0;title\x9cok\x85\x84", "redok"),
    "character set and reset": ("\x1b(0q\x1b7w\x1bce", "qwe"),
    "bell, backspace, delete, nul": ("a\x07b\x08c\x7fd\x00e", "abcde"),
    "carriage return overwrites": ("safe\rrm -rf", "safe\nrm -rf"),
    "windows line ends": ("a\r\nb", "a\nb"),
    "bidi override": ("user\u202egnp.exe\u202c\u2066x\u2069", "usergnp.exex"),
    "unfinished": ("a\x1b[3", "a"),
    "unfinished string, then a line": ("a\x1b]0;title\nb", "a\nb"),
    "escape inside a sequence": ("\x1b[3\x1b[31mx", "x"),
    "escape twice": ("\x1b\x1b[31mx", "x"),
}


@pytest.mark.parametrize(("text", "safe"), CASES.values(), ids=CASES.keys())
def test_control_sequences_go(text: str, safe: str) -> None:
    assert strip_escapes(text) == safe


@pytest.mark.parametrize(("text", "safe"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("size", [1, 2, 3])
def test_they_go_however_the_text_is_split(text: str, safe: str, size: int) -> None:
    stream = EscapeFilter()
    pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + stream.finish() == safe


@pytest.mark.parametrize(
    "text",
    ["\ttabs\nand lines\n", "中文字符 한국어 ไทย", "👩‍👩‍👧 🏳️‍🌈 ✊🏿", "שלום\u200f!", "नमस्ते क्‍ष", "é e\u0301"],
)
def test_text_stays_as_it_is(text: str) -> None:
    stream = EscapeFilter()
    assert strip_escapes(text) == text
    assert "".join(map(stream.feed, text)) == text  # and nothing is held back


def test_a_string_that_never_ends_does_not_swallow_the_answer() -> None:
    stream = EscapeFilter()
    shown = stream.feed("\x1b]0;" + "x" * 100) + stream.feed("\nthe answer\n")
    assert shown == "\nthe answer\n"


@pytest.mark.parametrize("hidden", ["\u200b", "\u2060", "\ufeff", "\U000e0041", "\U000e007f", "\u202e"])
def test_a_line_about_something_has_nothing_that_is_not_seen(hidden: str) -> None:
    assert one_line(f"a{hidden}b\n c") == "ab c"
    assert clean_name(f"a{hidden}b") == "a?b"


def test_a_line_keeps_what_joins_letters_and_emoji() -> None:
    assert one_line("क्‍ष 👩‍💻") == "क्‍ष 👩‍💻"
