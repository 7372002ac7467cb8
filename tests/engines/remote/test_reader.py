"""Thinking of servers, with and without a reasoning parser; stop strings after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.remote.reader import Reader, whole

Part = tuple[str, str]  # (thought told apart, text)


def read(deltas: Sequence[Part], reason: str = "stop", **settings: Any) -> tuple[str, str]:
    reader = Reader(**settings)
    pieces = [piece for delta in deltas for piece in reader.feed(*delta)]
    return parts([*pieces, *reader.finish(reason)])


def texts(*said: str) -> list[Part]:
    return [("", text) for text in said]


class TestOpened:
    """The template writes `<think>` in the prompt (QwQ, Thinking-2507, 3.5 and later)."""

    @pytest.mark.parametrize(
        ("said", "answer", "thought"),
        [
            (texts("Hm", "m.\n</th", "ink>\n\nHi"), "Hi", "Hmm.\n"),
            (texts("</think>\n\nHi"), "Hi", ""),
            (texts("<think>\nHm</think>Hi"), "Hi", "Hm"),  # written by the model all the same
            (texts("Hm</think>Write `</think>`."), "Write `</think>`.", "Hm"),
            ([("Hm", ""), ("", "Hi </think>")], "Hi </think>", "Hm"),  # the server has a parser
        ],
    )
    def test_text_before_the_end_is_thinking(self, said: list[Part], answer: str, thought: str) -> None:
        assert read(said, opened=True) == (answer, thought)

    def test_an_answer_without_thinking_is_not_lost(self) -> None:
        """The server was started with thinking off, or the model ended in it."""
        answer, thought = read(texts("Hi", " there"), opened=True)
        assert (answer, thought) == ("Hi there", "Hi there")
        assert whole("Hi there", "", "stop", opened=True) == ("Hi there", "")

    def test_what_was_cut_is_thinking(self) -> None:
        assert read(texts("Hm"), "length", opened=True) == ("", "Hm")
        assert whole("Hm", "", "length", opened=True) == ("", "Hm")

    @given(text=st.text(alphabet="a</think>\n", max_size=40), cut=st.integers(0, 40))
    def test_it_is_the_same_wherever_it_is_split(self, text: str, cut: int) -> None:
        assert read(texts(text[:cut], text[cut:]), opened=True) == read(texts(text), opened=True)


class TestUnknown:
    """Whether the template opens thinking is not known."""

    def test_nothing_is_taken_for_thinking_as_it_comes(self) -> None:
        assert read(texts("Hm\n</think>\n\nHi")) == ("Hm\n</think>\n\nHi", "")

    @pytest.mark.parametrize(
        ("text", "opens"),
        [
            ("Hm\n</think>\n\nHi", True),
            ("Write `</think>` there.", False),
            ("So:\n```\n<think>\n</think>\n```", False),
            ("<think>\nHm\n</think>\n\nHi", False),
            ("Hi", False),
        ],
    )
    def test_a_lone_end_shows_it_for_the_next(self, text: str, opens: bool) -> None:
        reader = Reader()
        reader.feed("", text)
        reader.finish("stop")
        assert reader.closed_alone == opens

    def test_an_answer_that_came_at_once_shows_it_itself(self) -> None:
        assert whole("Hm\n</think>\n\nHi", "", "stop", opened=False) == ("Hi", "Hm\n")
        assert whole("<think>\nHm\n</think>\n\nHi", "", "stop", opened=False) == ("Hi", "Hm\n")
        assert whole("Write\n</think>\nthere", "Hm", "stop", opened=False) == ("Write\n</think>\nthere", "Hm")
        assert whole("a `</think>` b", "", "stop", opened=False) == ("a `</think>` b", "")


class TestStops:
    @pytest.mark.parametrize(
        ("said", "settings"),
        [
            (texts("stop\n</think>\n\nHi s", "top there"), {"opened": True}),
            ([("stop", ""), ("", "Hi s"), ("", "top there")], {}),
            (texts("<think>stop</think>Hi stop"), {}),
        ],
    )
    def test_they_act_on_the_answer_alone(self, said: list[Part], settings: Any) -> None:
        answer, thought = read(said, stop=("stop",), **settings)
        assert (answer, thought.strip()) == ("Hi ", "stop")

    def test_of_an_answer_that_came_at_once(self) -> None:
        assert whole("Hi stop there", "stop", "stop", opened=True, stop=("stop",)) == ("Hi ", "stop")
