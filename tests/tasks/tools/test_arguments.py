"""Arguments are held against the schema of their tool before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.tasks.tools.arguments import fault
from qwen_cli.tasks.tools.base import Tool
from qwen_cli.tasks.tools.toolbox import Toolbox

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "who": {"$ref": "#/$defs/Who"}, "kind": {"enum": ["a", "b"]}},
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"Who": {"type": "object", "properties": {"name": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"n": 1}, None),
        ({"n": 1, "who": {"name": "Ann"}, "kind": "a"}, None),
        ({}, "'n' is a required property"),
        ({"n": "many"}, "n: 'many' is not of type 'integer'"),
        ({"n": 1, "who": {"name": 5}}, "who.name: 5 is not of type 'string'"),
        ({"n": 1, "kind": "c"}, "kind: 'c' is not one of ['a', 'b']"),
        ({"n": 1, "x": 1}, "Additional properties are not allowed ('x' was unexpected)"),
        ({"invalid_json": "{"}, "the arguments are not a JSON object: {"),
    ],
)
def test_what_is_wrong_is_said(arguments: dict[str, Any], why: str | None) -> None:
    assert fault(arguments, SCHEMA) == why


@pytest.mark.parametrize("schema", [{}, {"type": "nonsense"}, {"$ref": "#/nowhere"}, {"type": 5}])
def test_a_schema_that_is_none_holds_nothing(schema: dict[str, Any]) -> None:
    assert fault({"x": 1}, schema) is None


def test_nobody_is_asked_about_a_call_that_cannot_be_made() -> None:
    asked: list[ToolCall] = []

    def approve(call: ToolCall) -> bool:
        asked.append(call)
        return True

    box = Toolbox([Tool("t", "", SCHEMA, lambda given: "done", "x")], approve=approve)
    result = box.run(ToolCall("1", "t", {"n": "many"}))
    assert (result.ok, result.output) == (
        False,
        "error: wrong arguments for t: n: 'many' is not of type 'integer'",
    )
    assert asked == []
    assert box.run(ToolCall("1", "t", {"n": 1})).output == "done" and len(asked) == 1
