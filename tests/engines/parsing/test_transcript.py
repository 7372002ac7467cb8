"""The head of a transcript is taken off, wherever it is cut; nothing else is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.parsing.transcript import TranscriptParser, language_name


def parsed(pieces: list[str], forced: str | None = None) -> tuple[str, str]:
    parser = TranscriptParser(forced)
    text = "".join(map(parser.feed, pieces)) + parser.finish()
    return text, parser.language


@pytest.mark.parametrize(
    ("written", "text", "language"),
    [
        ("language English<asr_text>Hello there. ", "Hello there.", "English"),
        ("language None<asr_text>", "", ""),
        ("language Chinese<asr_text>你好", "你好", "Chinese"),
        (" Language German\n<asr_text>\n Guten Tag", "Guten Tag", "German"),
        ("Hello", "Hello", ""),
        ("language is what he said", "language is what he said", ""),
        ("lang", "lang", ""),
        ("language " + "x" * 80, "language " + "x" * 80, ""),
        ("Mandarin<asr_text>b", "Mandarin<asr_text>b", ""),
        ("", "", ""),
        ("language English<asr_text>a <asr_text> b", "a <asr_text> b", "English"),
    ],
)
def test_the_head_and_the_text(written: str, text: str, language: str) -> None:
    assert parsed([written]) == (text, language)
    assert parsed(list(written)) == (text, language)


def test_a_language_that_was_asked_for_has_no_head() -> None:
    assert parsed(["language ", "English<asr_text>x"], "German") == ("language English<asr_text>x", "German")


@given(st.text(max_size=120), st.lists(st.integers(0, 120), max_size=6), st.booleans())
def test_where_it_is_cut_makes_no_difference(text: str, cuts: list[int], headed: bool) -> None:
    whole = ("language English<asr_text>" if headed else "") + text
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(places)]

    assert parsed(pieces) == parsed([whole])


@pytest.mark.parametrize(
    ("given", "name"),
    [("de", "German"), ("GERMAN", "German"), ("de-AT", "German"), ("zh_CN", "Chinese"), ("yue", "Cantonese"),
     ("tlh", None), ("", None), ("english ", "English")],
)  # fmt: skip
def test_languages_by_code_and_name(given: str, name: str | None) -> None:
    assert language_name(given) == name
