"""Tokens to pieces: whole characters, stop strings, thinking apart, tool calls found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, Sampling, ToolCall
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE
from qwen_cli.engines.parsing.stops import StopStrings
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
        assert "".join(stream.feed(token) for token in tokens[:-1]) == ""

    def test_control_tokens_are_not_shown_but_boxes_are(self, tokenizer: Any, table: TokenTable) -> None:
        stream = TextStream(table)
        tokens = tokenizer("<|im_start|>a<|box_start|>(1,2)<|box_end|>")["input_ids"]
        assert "".join(map(stream.feed, tokens)) == "a<|box_start|>(1,2)<|box_end|>"
        assert stream.feed(151_900) == ""  # a row of the embedding that is no token

    def test_half_a_character_can_be_dropped(self, tokenizer: Any, table: TokenTable) -> None:
        stream = TextStream(table)
        for token in tokenizer("𓀀")["input_ids"][:-1]:
            assert stream.feed(token) == ""
        assert not stream.whole
        stream.drop()
        assert stream.whole
        assert stream.feed(tokenizer("a")["input_ids"][0]) == "a"


class TestStopStrings:
    @pytest.mark.parametrize("size", [1, 2, 5, 100])
    @pytest.mark.parametrize("stop", ["world", "lo wor", "o", " world. ", "d. Next", "."])
    def test_nothing_of_a_stop_string_is_passed_on(self, stop: str, size: int) -> None:
        text = "Hello world. Next line"
        stops = StopStrings((stop, "never"))
        shown = ""
        for at in range(0, len(text), size):
            shown += said(stops.feed([Piece(text[at : at + size])]))
            assert text.partition(stop)[0].startswith(shown)
        assert stops.matched == stop
        assert shown + said(stops.finish()) == text.partition(stop)[0]

    def test_the_beginning_of_a_stop_string_is_passed_on_at_the_end(self) -> None:
        stops = StopStrings(("world wide",))
        shown = said(stops.feed([Piece("Hello world")]))
        assert shown == "Hello "
        assert shown + said(stops.finish()) == "Hello world"

    def test_thoughts_and_calls_are_not_looked_into(self) -> None:
        call = Piece(kind="tool_call", call=ToolCall("1", "stop", {"a": "stop"}))
        stops = StopStrings(("stop", "ab"))
        pieces = [Piece("stop", "thinking"), Piece("st"), call, Piece("op a"), Piece("b c")]
        assert stops.feed(pieces) == [Piece("stop", "thinking"), Piece("st"), call, Piece("op ")]
        assert stops.matched == "ab"
        assert stops.feed([Piece("more")]) == []


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
            ("<think>\nhm</think>yes", True, "hm", "yes"),  # written once more
            ("\n\n</think>\n\nyes", True, "", "yes"),
            ("hm</think>a </think> b", True, "hm", "a </think> b"),
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


def run(answer: Answer, tokens: Iterable[int], taken: list[int] | None = None) -> list[Piece]:
    """Accept what stands for `tokens`, but what is forced first; all that was accepted goes to `taken`."""
    source, pieces = iter(tokens), []
    while not answer.reason:
        token = answer.forced.popleft() if answer.forced else answer.stands(next(source))
        pieces += answer.accept(token)
        if taken is not None:
            taken.append(token)
    return pieces


@pytest.fixture
def make(tokenizer: Any, table: TokenTable) -> Callable[..., Answer]:
    def answer(sampling: Sampling = Sampling(), *, room: int = 1000, **more: Any) -> Answer:
        return Answer(
            table, sampling, ends={END}, room=room, ids=lambda text: tokenizer(text)["input_ids"], **more
        )

    return answer


class TestAnswer:
    def test_limits_are_named(self, tokenizer: Any, make: Callable[..., Answer]) -> None:
        tokens = tokenizer("one two three four five six")["input_ids"]
        for settings, room, reason in [
            (Sampling(max_tokens=3), 100, "length"),
            (Sampling(), 3, "context"),
            (Sampling(stop=(" four",)), 100, "stop"),
        ]:
            answer = make(settings, room=room)
            assert said(run(answer, tokens)) == "one two three"
            assert answer.reason == reason
        answer = make()
        assert said(run(answer, [*tokens, END])) == "one two three four five six"
        assert answer.reason == "stop"

    def test_calls_after_thinking(self, tokenizer: Any, make: Callable[..., Answer]) -> None:
        text = f"<think>\nI could <tool_call>\n</think>\n\n{HERMES}"
        answer = make(thinks=True, tools=[WEATHER])
        pieces = run(answer, [*tokenizer(text)["input_ids"], END])
        assert said(pieces, "thinking") == "I could <tool_call>\n"
        assert [p.call.name for p in pieces if p.call] == ["weather"]
        assert said(pieces) == ""
        assert answer.reason == "tool_calls"


class TestBudget:
    @pytest.mark.parametrize("opened", [False, True])
    def test_thinking_is_cut_at_its_budget(
        self, opened: bool, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        endless = tokenizer(("" if opened else "<think>\n") + "hm " * 50)["input_ids"]
        answer = make(thinks=True, opened=opened, budget=10)
        thought = run_until_forced(answer, endless)
        own = said(thought, "thinking")
        rest = run(answer, [*tokenizer("Yes.")["input_ids"], END])
        assert 9 <= len(tokenizer(own)["input_ids"]) <= 10
        assert said([*thought, *rest], "thinking") == own + BUDGET_MESSAGE
        assert said(rest) == "Yes."
        assert answer.reason == "stop"

    @pytest.mark.parametrize("budget", range(1, 8))
    def test_a_character_is_not_cut_in_two(
        self, budget: int, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        answer = make(thinks=True, opened=True, budget=budget)
        thought = run_until_forced(answer, tokenizer("𓀀𓂀𓁹𓃭")["input_ids"])
        rest = run(answer, [*tokenizer("Yes.")["input_ids"], END])
        own = said([*thought, *rest], "thinking").removesuffix(BUDGET_MESSAGE)
        assert own
        assert "𓀀𓂀𓁹𓃭".startswith(own)

    def test_one_of_no_tokens_leaves_the_empty_block_of_the_template(
        self, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        answer = make(thinks=True, opened=True, budget=0)
        assert tokenizer.decode(answer.forced) == "\n</think>\n\n"
        pieces = run(answer, [*tokenizer("Yes.")["input_ids"], END])
        assert (said(pieces, "thinking"), said(pieces)) == ("", "Yes.")
        own = make(thinks=True, budget=0)
        assert not own.forced
        run_until_forced(own, tokenizer("<think>")["input_ids"])


class TestEndWhileThinking:
    """Some models end their turn where they should end their thinking (QwenLM/Qwen3.8#216)."""

    @pytest.mark.parametrize(
        ("written", "opened", "thought"),
        [
            ("hm", True, "hm\n"),
            ("hm.\n", True, "hm.\n"),
            ("", True, ""),
            ("<think>\nhm", False, "hm\n"),
            ("<think>", False, ""),
            ("hm </th", True, "hm </th\n"),
            ("call it </tool_call>", True, "call it </tool_call>\n"),
        ],
    )
    def test_the_answer_follows(
        self, written: str, opened: bool, thought: str, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        answer = make(thinks=True, opened=opened, tools=[WEATHER])
        tokens = [*tokenizer(written)["input_ids"], END, *tokenizer("Yes.")["input_ids"], END]
        taken: list[int] = []
        pieces = run(answer, tokens, taken)
        assert (said(pieces, "thinking"), said(pieces)) == (thought, "Yes.")
        assert answer.reason == "stop"
        assert answer.tokens == len(taken)
        # What was computed is what the template writes of this turn.
        assert tokenizer.decode(taken[:-1]) == written.removesuffix("\n") + "\n</think>\n\nYes."

    def test_it_may_not_end_again_before_it_has_answered(
        self, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        answer = make(thinks=True, opened=True)
        assert not answer.owes
        answer.accept(answer.stands(END))
        while answer.forced:
            assert not answer.owes
            answer.accept(answer.forced.popleft())
        assert answer.owes
        answer.accept(tokenizer("\n")["input_ids"][0])
        assert answer.owes
        answer.accept(tokenizer("Yes")["input_ids"][0])
        assert not answer.owes

    def test_half_a_character_is_dropped(self, tokenizer: Any, make: Callable[..., Answer]) -> None:
        answer = make(thinks=True, opened=True)
        half = tokenizer("𓀀")["input_ids"][:-1]
        pieces = run(answer, [*half, END, *tokenizer("Yes.")["input_ids"], END])
        assert (said(pieces, "thinking"), said(pieces)) == ("", "Yes.")

    def test_calls_at_its_end_are_made(self, tokenizer: Any, make: Callable[..., Answer]) -> None:
        answer = make(thinks=True, opened=True, tools=[WEATHER])
        pieces = run(answer, [*tokenizer(f"Let me look.\n{HERMES}\n{CODER}")["input_ids"], END])
        assert [p.call.name for p in pieces if p.call] == ["weather", "weather"]
        assert answer.reason == "tool_calls"

    @pytest.mark.parametrize("call", [HERMES.replace("weather", "other"), "<tool_call>\n{\n</tool_call>"])
    def test_what_is_no_call_of_a_tool_is_a_thought(
        self, call: str, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        answer = make(thinks=True, opened=True, tools=[WEATHER])
        pieces = run(answer, [*tokenizer(call)["input_ids"], END, *tokenizer("Yes.")["input_ids"], END])
        assert (said(pieces, "thinking"), said(pieces)) == (f"{call}\n", "Yes.")

    def test_a_limit_while_thinking_is_a_limit(self, tokenizer: Any, make: Callable[..., Answer]) -> None:
        for limits, reason in ({"sampling": Sampling(max_tokens=3)}, "length"), ({"room": 3}, "context"):
            answer = make(thinks=True, opened=True, **limits)
            pieces = run(answer, tokenizer("one two three four")["input_ids"])
            assert (said(pieces, "thinking"), said(pieces)) == ("one two three", "")
            assert answer.reason == reason


class TestStops:
    @pytest.mark.parametrize("opened", [False, True])
    @pytest.mark.parametrize(
        ("stop", "answered"),
        [
            ("two", "one "),
            ("hm", "one two three"),  # in the thinking alone
            ("</think>", "one two three"),
            ("\n\none", "one two three"),  # begins before the answer
            ("m\n</think>\n\nt", "one two three"),
        ],
    )
    def test_they_act_on_the_answer_alone(
        self, opened: bool, stop: str, answered: str, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        written = ("" if opened else "<think>\n") + "hm two\n</think>\n\none two three"
        answer = make(Sampling(stop=(stop,)), thinks=True, opened=opened)
        pieces = run(answer, [*tokenizer(written)["input_ids"], END])
        assert (said(pieces, "thinking"), said(pieces)) == ("hm two\n", answered)
        assert answer.reason == "stop"

    def test_a_control_token_can_be_one_but_not_while_thinking(
        self, tokenizer: Any, make: Callable[..., Answer]
    ) -> None:
        answer = make(Sampling(stop=("<|file_sep|>",)), thinks=True, opened=True)
        written = "a<|file_sep|>b</think>c<|file_sep|>d"
        pieces = run(answer, tokenizer(written)["input_ids"])
        assert (said(pieces, "thinking"), said(pieces)) == ("ab", "c")
        assert answer.reason == "stop"

    def test_a_tag_in_the_answer_is_text(self, tokenizer: Any, make: Callable[..., Answer]) -> None:
        answer = make(thinks=True, opened=True)
        pieces = run(answer, [*tokenizer("hm</think>Write `</think>` so.")["input_ids"], END])
        assert parts(pieces) == ("Write `</think>` so.", "hm")


def run_until_forced(answer: Answer, tokens: Iterable[int]) -> list[Piece]:
    pieces: list[Piece] = []
    for token in tokens:
        pieces += answer.accept(token)
        if answer.forced:
            return pieces
    raise AssertionError("the budget was never reached")
