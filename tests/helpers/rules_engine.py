"""An engine that answers by rules, for `qwen serve --engine rules` in a process of its own: programs can be
tried with it whose turns no small model takes as they are meant."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Capabilities, Engine, Piece, ServingLanes, Stream, ToolCall, call_id
from tests.serve.played import EXTRAS, Asked, Played, end

NAME = "rules"


def answer(asked: Asked) -> str | list[Piece]:
    """Answer a turn: JSON where a schema asks for it; what a tool said; a call of the first tool where there
    are tools, and the question wants one ("weather"); else what was asked. To a raw prompt: "yes"."""
    last = asked.messages[-1]
    words = _words(last)
    if last["role"] == "prompt":
        return "yes"
    if last["role"] == "tool":
        return f"The tool says: {words}"
    if asked.schema:
        return json.dumps(example(asked.schema, asked.schema))
    if asked.tools and "weather" in words.lower():
        function = asked.tools[0]["function"]
        parameters = function.get("parameters") or {}
        call = ToolCall(call_id(), function["name"], example(parameters, parameters) or {})
        return [Piece(kind="tool_call", call=call), end("tool_calls")]
    return f"You said: {words[:200]}"


def example(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Any:
    """Return a value that satisfies a simple `schema`, a part of `whole`."""
    if "$ref" in schema:
        target: Any = whole
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return example(target, whole)
    for one in ("anyOf", "oneOf", "allOf"):
        if schema.get(one):
            return example(schema[one][0], whole)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example(part, whole) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items") or {"type": "string"}, whole)]
    return {"string": "Paris", "integer": 7, "number": 7.5, "boolean": True}.get(kind)


def _words(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", part["type"])) for part in content)


class Rules(Played):
    """Plays `answer`, several turns at a time, and remembers none."""

    def _say(self, asked: Asked) -> Stream:
        yield from super()._say(asked)
        self.seen.clear()

    def serving_lanes(self, n: int) -> ServingLanes:
        lanes: list[Engine] = [self] * n  # type: ignore[list-item]  # it has all that is asked of it
        return ServingLanes(lanes[0], lanes, self.close)


class BackEnd:
    """Takes the place of the engine of any GGUF file."""

    name = NAME
    format = "gguf"

    def accepts(self, options: Any) -> bool:
        return bool(options.engine == NAME)

    def load(self, weights: Any, options: Any, hooks: Any) -> Rules:
        can = Capabilities(
            100_000,
            tools=True,
            logprobs=True,
            constrained=True,
            whole_schemas=True,
            tokens=True,
            render=True,
            vision=True,
            fim=True,
            extras=EXTRAS,
        )
        return Rules(answer, can, model=weights.label)


def install(folder: Path) -> dict[str, str]:
    """Make the engine known by an entry point in `folder`; the variables with which a program finds it."""
    info = folder / "rules_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rules-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[qwen.engines]\n{NAME} = rules_engine:BackEnd\n")
    here = Path(__file__).parent
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(here), str(here.parents[1])))}
