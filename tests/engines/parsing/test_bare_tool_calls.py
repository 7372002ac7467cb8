"""Calls without tags are calls; everything else streams as it came."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen_cli.engines.core.base import Piece, Stream, Usage
from qwen_cli.engines.parsing.bare_tool_calls import recognise

TOOLS = [{"type": "function", "function": {"name": "weather"}}, {"function": {"name": "time"}}]


def stream(*texts: str) -> Stream:
    yield from (Piece(text) for text in texts)
    yield Piece(usage=Usage(stop_reason="stop"))


def test_one_call_in_parts() -> None:
    *pieces, last = recognise(
        stream('{"na', 'me": "weather", ', '"arguments": {"city": "Paris"}}'), TOOLS, lambda: 7
    )

    assert [(p.text, p.call and p.call.name, p.call and p.call.arguments) for p in pieces] == [
        ("", "weather", {"city": "Paris"})
    ]
    assert last.usage
    assert last.usage.stop_reason == "tool_calls"


def test_several_calls_one_a_line() -> None:
    parts = '{"name": "weather", "arguments": {}}\n{"name": "time", "arguments": {"zone": "UTC"}}\n'
    *pieces, _ = recognise(stream(parts), TOOLS, lambda: 7)

    calls = [p.call for p in pieces if p.call]
    assert [(c.name, c.arguments) for c in calls] == [("weather", {}), ("time", {"zone": "UTC"})]
    assert len({c.id for c in calls}) == 2


CALL = '{"name": "weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize("text", [f"```json\n{CALL}\n```", f"```\n{CALL}\n```\n", f"\n``` json\n{CALL}"])
def test_a_call_alone_in_a_code_block(text: str) -> None:
    *pieces, last = recognise(stream(*text), TOOLS, lambda: 7)

    assert [(p.text, p.call and p.call.arguments) for p in pieces] == [("", {"city": "Paris"})]
    assert last.usage and last.usage.stop_reason == "tool_calls"


@pytest.mark.parametrize(
    "texts",
    [
        ("```json\n", CALL, "\n```\nThis is a call."),
        ("So:\n```json\n", CALL, "\n```"),
        ("```json\n", CALL.replace("weather", "unknown"), "\n```"),
        ("```python\n", CALL, "\n```"),
        ("```json\n", CALL, "\n```\n```json\n", "{}\n```"),
        ("It is ", "sunny."),
        ('{"name": "unknown", ', '"arguments": {}}'),
        ('{"answer": ', "42}"),
        ('{"name": "weather", "arguments": {}} is how ', "you call it"),
        ('{"name": "weather", "argum',),
        ('{"name": "weather", "arguments": "Paris"}',),
    ],
)
def test_anything_else_stays_text(texts: tuple[str, ...]) -> None:
    *pieces, last = recognise(stream(*texts), TOOLS, lambda: 7)

    assert "".join(p.text for p in pieces) == "".join(texts)
    assert not any(p.call for p in pieces)
    assert last.usage
    assert last.usage.stop_reason == "stop"


def test_what_cannot_be_a_call_is_not_held_back() -> None:
    pieces = recognise(stream('{"name', '": "zebra"', ", more"), TOOLS, lambda: 7)

    assert next(pieces).text == '{"name": "zebra"'
    assert next(pieces).text == ", more"


def test_closing_closes_what_is_below() -> None:
    closed = []

    def below() -> Iterator[Piece]:
        try:
            yield Piece("a")
            yield Piece("b")
        finally:
            closed.append(True)

    pieces = recognise(below(), TOOLS, lambda: 7)  # type: ignore[arg-type]
    next(pieces)
    pieces.close()

    assert closed


def test_an_answer_that_repeats_a_call_ends_there() -> None:
    said = []

    def endless() -> Stream:
        for number in range(1000):
            said.append(number)
            yield Piece('{"name": "weather", ')
            yield Piece('"arguments": {"city": "Paris"}}\n')

    *pieces, last = recognise(endless(), TOOLS, lambda: 7)

    assert [p.call.arguments for p in pieces if p.call] == [{"city": "Paris"}]
    assert len(said) == 2
    assert last.usage
    assert last.usage.stop_reason == "tool_calls"
    assert (last.usage.prompt_tokens, last.usage.generated_tokens) == (7, 4)
