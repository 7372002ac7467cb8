"""What the grammar of tool calls lets through is read as a call of the tools, whatever the model says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, Sampling, ToolCall
from qwen_cli.engines.llamacpp import tool_grammar
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.llamacpp.reader import Asked
from qwen_cli.engines.parsing.tool_calls import ToolParser
from tests.engines.conftest import weights

pytestmark = pytest.mark.model

DAYS = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "unit": {"enum": ["C", "F"]},
    "place": {"$ref": "#/$defs/Place"},
    'odd "key"\\': {"type": ["boolean", "null"]},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": DAYS, "$defs": {"Place": {"type": "object"}}},
        },
    },
    {"type": "function", "function": {"name": "now"}},
]
QUESTION = [{"role": "user", "content": "What is the weather in Paris for two days?"}]
TYPES: dict[str, type] = {"city": str, "days": int, "place": dict, "unit": str}


@pytest.fixture(scope="module")
def engine(starter_gguf: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(weights(starter_gguf), context=1024, parallel=1) as engine:
        yield engine


def calls(pieces: list[Piece]) -> list[ToolCall]:
    return [piece.call for piece in pieces if piece.call]


@pytest.mark.parametrize("template", ["<tool_call>", "<tool_call><function="], ids=["hermes", "xml"])
def test_what_the_grammar_holds_is_a_call(engine: LlamaCpp, template: str) -> None:
    """From the first token on here: what is only held once a call has begun would show nothing."""
    held = tool_grammar.fields(template, TOOLS)
    asked: Any = engine._asked(QUESTION, TOOLS, None, Sampling(temperature=0, max_tokens=24), None, None)
    request = {**asked.request, "grammar": held["grammar"], "grammar_lazy": False}
    written = "".join(piece.text for piece in engine._stream(Asked("handle_completions", request)))
    parser = ToolParser(TOOLS)
    found = calls([*parser.feed(written), *parser.finish(cut=True)])

    assert written.startswith("<tool_call>")
    assert found or "</tool_call>" not in written, written
    for call in found:
        assert call.name == "now" or call.name == "weather"
        assert call.name == "now" or call.arguments.keys() <= DAYS.keys(), written
        assert all(isinstance(call.arguments.get(name, kind()), kind) for name, kind in TYPES.items()), (
            written
        )


def test_a_turn_with_tools_is_read_here_and_held_by_it(engine: LlamaCpp) -> None:
    asked: Any = engine._asked([{"role": "user", "content": "Hi"}], TOOLS, None, Sampling(), None, None)

    assert asked.raw
    assert asked.request["grammar_lazy"]
    assert asked.request["grammar_triggers"] == [{"type": 1, "value": "<tool_call>"}]


def test_a_template_without_calls_has_no_grammar() -> None:
    assert tool_grammar.fields("{{ messages }}", TOOLS) == {}
