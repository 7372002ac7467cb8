"""Every call has an id that no other has, whichever engine found it and whatever the server called it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qwen_cli.engines.core.base import Piece, Stream, ToolCall, Usage
from qwen_cli.engines.parsing import bare_tool_calls
from qwen_cli.engines.parsing.openai import ToolCalls
from qwen_cli.engines.parsing.tool_calls import ToolParser
from qwen_cli.serve.api.chat_request import forced_call

TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALL = '{"name": "f", "arguments": {}}'


def without_tags() -> Iterator[ToolCall | None]:
    def stream() -> Stream:
        yield Piece(f'{CALL}\n{{"name": "f", "arguments": {{"x": 1}}}}')
        yield Piece(usage=Usage())

    return (piece.call for piece in bare_tool_calls.recognise(stream(), TOOLS, lambda: 1))


def in_tags() -> Iterator[ToolCall | None]:
    parser = ToolParser(TOOLS)
    return (piece.call for piece in parser.feed(f"<tool_call>{CALL}</tool_call>" * 2))


def from_a_server_that_counts() -> Iterator[ToolCall | None]:
    calls = ToolCalls()
    for index in range(2):
        function = {"name": "f", "arguments": "{}"}
        calls.feed([{"index": index, "id": f"call_{index}", "function": function}])
    return iter(calls.finish())


def from_a_server_that_names_none() -> Iterator[ToolCall | None]:
    calls = ToolCalls()
    calls.feed([{"index": index, "function": {"name": "f"}} for index in range(2)])
    return iter(calls.finish())


def forced() -> Iterator[ToolCall | None]:
    return iter([forced_call(CALL), forced_call(CALL)])


@pytest.mark.parametrize(
    "calls", [without_tags, in_tags, from_a_server_that_counts, from_a_server_that_names_none, forced]
)
def test_ids_are_of_one_call_each(calls: Callable[[], Iterator[ToolCall | None]]) -> None:
    found = [call.id for _ in range(3) for call in calls() if call]

    assert len(found) == 6
    assert len(set(found)) == 6
