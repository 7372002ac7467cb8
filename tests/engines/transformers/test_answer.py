"""Tokens to pieces: whole characters, stop strings, thinking apart, tool calls found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, Sampling
from qwen_cli.engines.parsing.think_tags import ThinkingText
from qwen_cli.engines.parsing.tool_calls import ToolParser
from qwen_cli.engines.transformers.answer import Answer
from qwen_cli.engines.transformers.detokenizer import TextStream, TokenTable

END = 151645


@pytest.fixture(scope="module")
def tokenizer(starter_safetensors: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(starter_safetensors)


@pytest.fixture(scope="module")
def table(tokenizer: Any) -> TokenTable:
    return TokenTable(tokenizer)


def said(pieces: Iterable[Piece], kind: str = "answer") -> str:
    return "".join(piece.text for piece in pieces if piece.kind == kind)


class TestTextStream:
    @pytest.mark.parametrize(
        "text", ["你好，世界！𠮷", "안녕하세요 뷁", "👩‍👩‍👧‍👦🏳️‍🌈 🦉", "é ñ ½ \t\n x", "def f(): ..."]
    )
    def test_text_is_what_the_tokenizer_decodes_and_never_half_a_character(
        self, text: str, tokenizer: Any, table: TokenTable
    ) -> None:
        stream = TextStream(table)
        parts = [stream.feed(token) for token in tokenizer(text)["input_ids"]]
        assert "".join(parts) == tokenizer.decode(tokenizer(text)["input_ids"]) == text
        assert not any("\ufffd" in part for part in parts)

    def test_half_a_character_at_the_end_is_dropped(self, tokenizer: Any, table: TokenTable) -> None:
        tokens = tokenizer("𓀀")["input_ids"]
        assert len(tokens) > 1
        stream = TextStream(table)
        assert "".join(stream.feed(token) for token in tokens[:-1]) + stream.finish() == ""

    def test_control_tokens_are_not_shown_but_boxes_are(self, tokenizer: Any, table: TokenTable) -> None:
        stream = TextStream(table)
        tokens = tokenizer("<|im_start|>a<|box_start|>(1,2)<|box_end|>")["input_ids"]
        assert "".join(map(stream.feed, tokens)) == "a<|box_start|>(1,2)<|box_end|>"
        assert stream.feed(151_900) == ""  # a row of the embedding that is no token

    @pytest.mark.parametrize("stop", ["world", "lo wor", "o", " world. ", "d. Next", "."])
    def test_nothing_of_a_stop_string_is_shown(self, stop: str, tokenizer: Any, table: TokenTable) -> None:
        text = "Hello world. Next line"
        stream = TextStream(table, (stop, "never"))
        shown = ""
        for token in tokenizer(text)["input_ids"]:
            shown += stream.feed(token)
            assert text.partition(stop)[0].startswith(shown)
            if stream.stopped:
                break
        assert stream.stopped
        assert shown + stream.finish() == text.partition(stop)[0]

    def test_the_beginning_of_a_stop_string_is_shown_at_the_end(
        self, tokenizer: Any, table: TokenTable
    ) -> None:
        stream = TextStream(table, ("world wide",))
        shown = "".join(map(stream.feed, tokenizer("Hello world")["input_ids"]))
        assert shown == "Hello "
        assert shown + stream.finish() == "Hello world"

    def test_a_control_token_can_be_a_stop(self, tokenizer: Any, table: TokenTable) -> None:
        stream = TextStream(table, ("<|file_sep|>",))
        stream.feed(tokenizer.convert_tokens_to_ids("<|file_sep|>"))
        assert stream.stopped


class TestThinkingText:
    @pytest.mark.parametrize("size", [1, 3, 7, 100])
    @pytest.mark.parametrize(
        ("text", "opened", "thought", "answer"),
        [
            ("<think>\nhm\n</think>\n\nyes", False, "hm\n", "yes"),
            ("\n<think>hm</think>yes", False, "hm", "yes"),
            ("hm\n</think>\n\nyes", True, "hm\n", "yes"),
            ("plain < text", False, "", "plain < text"),
            ("\n  indented", False, "", "\n  indented"),
            ("a <think> later", False, "", "a <think> later"),
            ("<think>cut </thi", False, "cut </thi", ""),
            ("<thi", False, "", "<thi"),
        ],
    )
    def test_parts(self, text: str, opened: bool, thought: str, answer: str, size: int) -> None:
        parts = ThinkingText(opened=opened)
        pieces = [p for i in range(0, len(text), size) for p in parts.feed(text[i : i + size])]
        pieces += parts.finish()
        assert (said(pieces, "thinking"), said(pieces)) == (thought, answer)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "metric": {"type": "boolean"},
            },
        },
    },
}
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'
CODER = (
    "<tool_call>\n<function=weather>\n<parameter=city>\n42\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
    "<parameter=metric>\nTrue\n</parameter>\n</function>\n</tool_call>"
)


def parsed(text: str, size: int) -> list[Piece]:
    parser = ToolParser([WEATHER])
    pieces = [p for i in range(0, len(text), size) for p in parser.feed(text[i : i + size])]
    return pieces + parser.finish()


@pytest.mark.parametrize("size", [1, 5, 1000])
class TestToolParser:
    def test_hermes_calls(self, size: int) -> None:
        pieces = parsed(f"Let me look.\n{HERMES}\n{HERMES}", size)
        calls = [p.call for p in pieces if p.call]
        assert [(c.name, c.arguments) for c in calls] == [("weather", {"city": "Oslo", "days": 3})] * 2
        assert calls[0].id != calls[1].id
        assert said(pieces) == "Let me look."

    def test_coder_calls_take_their_types_from_the_schema(self, size: int) -> None:
        calls = [p.call for p in parsed(CODER, size) if p.call]
        assert [(c.name, c.arguments) for c in calls] == [
            ("weather", {"city": "42", "days": 3, "metric": True})
        ]

    def test_a_call_whose_end_is_missing(self, size: int) -> None:
        pieces = parsed(HERMES.removesuffix("\n</tool_call>"), size)
        assert [p.call.name for p in pieces if p.call] == ["weather"]

    @pytest.mark.parametrize(
        "text",
        [
            "<tool_call>\n{broken\n</tool_call>",
            '<tool_call>["a"]</tool_call> and more',
            '<tool_call>\n{"name": "weather", "arg',
            "1 < 2 <tool",
            "words  \n",
        ],
    )
    def test_what_is_malformed_stays_text(self, text: str, size: int) -> None:
        pieces = parsed(text, size)
        assert not [p for p in pieces if p.call]
        assert said(pieces).rstrip() == text.rstrip()


def run(answer: Answer, tokens: Iterable[int]) -> list[Piece]:
    """Accept `tokens`, but those that are forced first."""
    source, pieces = iter(tokens), []
    while not answer.reason:
        token = answer.forced.popleft() if answer.forced else next(source)
        pieces += answer.accept(token)
    return pieces


class TestAnswer:
    def test_limits_are_named(self, tokenizer: Any, table: TokenTable) -> None:
        tokens = tokenizer("one two three four five six")["input_ids"]
        for settings, room, reason in [
            (Sampling(max_tokens=3), 100, "length"),
            (Sampling(), 3, "context"),
            (Sampling(stop=(" four",)), 100, "stop"),
        ]:
            answer = Answer(table, settings, ends={END}, room=room)
            assert said(run(answer, tokens)) == "one two three"
            assert answer.reason == reason
        answer = Answer(table, Sampling(), ends={END}, room=100)
        assert said(run(answer, [*tokens, END])) == "one two three four five six"
        assert answer.reason == "stop"

    def test_thinking_is_cut_at_its_budget(self, tokenizer: Any, table: TokenTable) -> None:
        closing = tokenizer("\n\nTime is up.\n</think>\n\n")["input_ids"]
        endless = tokenizer("<think>\n" + "hm " * 50)["input_ids"]
        answer = Answer(table, Sampling(), ends={END}, room=1000, thinks=True, budget=10, closing=closing)
        thought = run_until_forced(answer, endless)
        rest = run(answer, [*tokenizer("Yes.")["input_ids"], END])
        assert answer.tokens == 10 + len(closing) + 3
        assert said([*thought, *rest], "thinking").endswith("\n\nTime is up.\n")
        assert said(rest) == "Yes."

    def test_calls_after_thinking(self, tokenizer: Any, table: TokenTable) -> None:
        text = f"<think>\nI could <tool_call>\n</think>\n\n{HERMES}"
        answer = Answer(table, Sampling(), ends={END}, room=1000, thinks=True, tools=[WEATHER])
        pieces = run(answer, [*tokenizer(text)["input_ids"], END])
        assert said(pieces, "thinking") == "I could <tool_call>\n"
        assert [p.call.name for p in pieces if p.call] == ["weather"]
        assert said(pieces) == ""
        assert answer.reason == "tool_calls"


def run_until_forced(answer: Answer, tokens: Iterable[int]) -> list[Piece]:
    pieces: list[Piece] = []
    for token in tokens:
        pieces += answer.accept(token)
        if answer.forced:
            return pieces
    raise AssertionError("the budget was never reached")
