"""A stream means the same wherever it is split: what stands in one piece is its sender's affair."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen_cli.engines.core.base import Piece, Stream, Usage
from qwen_cli.engines.parsing.answer import AnswerParser
from qwen_cli.engines.parsing.bare_tool_calls import recognise
from qwen_cli.engines.parsing.openai import ToolCalls
from qwen_cli.engines.parsing.think_tags import ThinkingText
from qwen_cli.engines.parsing.tool_calls import ToolParser
from qwen_cli.sanitize import EscapeFilter, strip_escapes

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "dry": {}},
            },
        },
    },
    {"type": "function", "function": {"name": "the time"}},
]
_CALL = '{"name": "weather", "arguments": {"city": "a } b", "days": 3}}'
_OTHER = '{"name": "the time", "arguments": {}}'
_XML = (
    "<function=weather>\n<parameter=days>\n3\n</parameter>\n<parameter=city>\nOslo\n</parameter>\n</function>"
)
# Whole and half tags, what may stand between them, and what is nearly one of them.
_FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<", "</", ">", "think>", "<tool_", "call>"),
    *(_CALL, _OTHER, _XML, '{"name": "weather"', '{"name": "zebra", "arguments": {}}', "{", "}"),
    *("\n", "\n\n", " ", "\t", "a", "中", "🦉", "é", "words and more", "1 < 2", "`", "```"),
]
texts = st.lists(st.sampled_from(_FRAGMENTS), max_size=10).map("".join)
cuts = st.lists(st.integers(0, 60), max_size=12)

Said = list[tuple[str, Any]]


class Parser(Protocol):
    def feed(self, text: str) -> list[Piece]: ...
    def finish(self) -> list[Piece]: ...


def split(text: str, places: Sequence[int]) -> list[str]:
    """`text` in parts, cut at `places`; parts may be empty."""
    at = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(at)]


def said(pieces: Iterable[Piece]) -> Said:
    """What pieces say in turn, neighbours of one kind as one: a call's name and arguments, or text."""
    found: Said = []
    for piece in pieces:
        if piece.call:
            found.append(("tool_call", (piece.call.name, piece.call.arguments)))
        elif piece.text and found and found[-1][0] == piece.kind:
            found[-1] = (piece.kind, found[-1][1] + piece.text)
        elif piece.text:
            found.append((piece.kind, piece.text))
    return found


def parsed(parser: Parser, parts: Iterable[str]) -> Said:
    return said([piece for part in parts for piece in parser.feed(part)] + parser.finish())


@given(text=texts, places=cuts)
def test_a_stop_string_is_found_wherever_it_is_split(text: str, places: list[int]) -> None:
    def make() -> AnswerParser:
        return AnswerParser(thinks=True, tools=TOOLS, stop=("words and", "</", "\n中"))

    whole = parsed(make(), [text])
    assert parsed(make(), split(text, places)) == whole
    assert not any("words and" in what or "</" in what for kind, what in whole if kind == "answer")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(ThinkingText, id="thinking"),
        pytest.param(lambda: ThinkingText(opened=True), id="thinking opened"),
        pytest.param(lambda: ToolParser(TOOLS), id="tools"),
        pytest.param(AnswerParser, id="plain"),
        pytest.param(lambda: AnswerParser(thinks=True, tools=TOOLS), id="thinking and tools"),
        pytest.param(lambda: AnswerParser(opened=True, tools=TOOLS), id="thinking opened and tools"),
    ],
)
class TestParsers:
    @given(text=texts, places=cuts)
    @example(text="<think>\n\nHm</think>\n\n\nHi", places=[8, 20])
    def test_split_anywhere(self, make: Callable[[], Parser], text: str, places: list[int]) -> None:
        whole = parsed(make(), [text])
        assert parsed(make(), split(text, places)) == whole
        assert parsed(make(), text) == whole, "character by character"

    @given(text=texts)
    def test_nothing_is_lost(self, make: Callable[[], Parser], text: str) -> None:
        """Every word that stands in no call is said once, in its order."""
        pieces = parsed(make(), [text])
        at = 0
        for kind, what in pieces:
            if kind != "tool_call":
                assert (at := text.find(what.strip(), at)) >= 0
        if all(kind != "tool_call" for kind, _ in pieces):
            assert _words("\n".join(what for _, what in pieces)) == _words(text)


def _words(text: str) -> str:
    """`text` without white space and the tags round thinking."""
    return re.sub(r"</?think>|\s", "", text)


def answer(parts: Iterable[str]) -> Stream:
    yield from (Piece(part) for part in parts)
    yield Piece(usage=Usage(stop_reason="stop"))


class TestBareCalls:
    """Calls without their tags, which small models write."""

    calls = st.lists(st.sampled_from([_CALL, _OTHER, "\n", " ", "x", '{"name": "zebra"}']), max_size=6)

    @given(calls=calls, places=cuts)
    @example(calls=[_CALL, "\n", _CALL, "\n", _CALL], places=[])
    @example(calls=[_CALL, _OTHER, _CALL, "x"], places=[])
    def test_split_anywhere(self, calls: list[str], places: list[int]) -> None:
        text = "".join(calls)
        heard = [
            list(recognise(answer(parts), TOOLS, lambda: 7)) for parts in ([text], split(text, places), text)
        ]
        assert said(heard[0]) == said(heard[1]) == said(heard[2])
        assert len({pieces[-1].usage.stop_reason for pieces in heard if pieces[-1].usage}) == 1

    @given(text=texts, places=cuts)
    def test_what_is_no_call_is_not_changed(self, text: str, places: list[int]) -> None:
        pieces = list(recognise(answer(split(text, places)), TOOLS, lambda: 7))
        if not any(piece.call for piece in pieces):
            assert "".join(piece.text for piece in pieces) == text


class TestFragments:
    """Calls as an OpenAI-style stream brings them: name and arguments in parts, calls between one another."""

    @given(
        calls=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=2), max_size=3),
        places=cuts,
        chance=st.randoms(use_true_random=False),
    )
    def test_split_anywhere(self, calls: list[dict[str, str]], places: list[int], chance: Any) -> None:
        waiting = [
            [{"index": n, "function": {"name": "weather", "arguments": part}} if not i else
             {"index": n, "function": {"arguments": part}}
             for i, part in enumerate(split(json.dumps(arguments), places))]
            for n, arguments in enumerate(calls)
        ]  # fmt: skip
        together = ToolCalls()
        while any(waiting):
            together.feed([chance.choice([deltas for deltas in waiting if deltas]).pop(0)])
        assert [(c.name, c.arguments) for c in together.finish()] == [("weather", a) for a in calls]

    def test_a_server_that_numbers_no_fragment_begins_a_call_with_its_name(self) -> None:
        together = ToolCalls()
        for city in ("Oslo", "Rome"):
            together.feed([{"function": {"name": "weather", "arguments": '{"city": '}}])
            together.feed([{"function": {"name": None, "arguments": f'"{city}"}}'}}])
        assert [call.arguments["city"] for call in together.finish()] == ["Oslo", "Rome"]

    @pytest.mark.parametrize("index", [None, "0", 1.5, True, [], -1])
    def test_an_index_that_is_none_costs_no_answer(self, index: Any) -> None:
        together = ToolCalls()
        together.feed([{"index": 0, "function": {"name": "weather", "arguments": "{}"}}])
        together.feed([{"index": index, "function": {"arguments": ""}}])
        assert "weather" in [call.name for call in together.finish()]


@given(
    st.lists(
        st.sampled_from(
            ["\x1b", "[", "]", "31m", "0;title", "\x07", "\x1b\\", "a", "中", "\n", "\x9b", "P", "\r", "\x08"]
        ),
        max_size=10,
    ).map("".join),
    cuts,
)
def test_escapes_are_taken_out_wherever_they_are_split(text: str, places: list[int]) -> None:
    def shown(parts: Iterable[str]) -> str:
        escapes = EscapeFilter()
        return "".join(escapes.feed(part) for part in parts) + escapes.finish()

    assert shown([text]) == shown(split(text, places)) == shown(text)
    assert strip_escapes(shown([text])) == shown([text])
