"""A parameter of a tool call that is written as plain text, as the type that the tool's schema gives it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_NAMES = {bool: "boolean", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}
_NO_VALUE = object()


def typed(text: str, schema: Any, root: Any = None) -> Any:
    """Return `text` as `schema` has it: strings as they are, the rest is JSON, or Python's spelling of it.

    What is no value of a type that the schema allows stays text. `root` is where references lead.
    """
    types = _types(schema, root or {}, 8)
    if types == {"string"} or text in _choices(schema):
        return text
    value = _read(text.strip())
    if value is _NO_VALUE or isinstance(value, str):
        return value if isinstance(value, str) and not types else text
    if value is None:
        return text if types and "string" in types and "null" not in types else None
    name = _NAMES[type(value)]
    if not types or name in types:
        return value
    if isinstance(value, float) and "integer" in types and value.is_integer():
        return int(value)
    if name == "integer" and "number" in types:
        return value
    return text


def _choices(schema: Any) -> list[Any]:
    """Return the values that a schema lists."""
    if not isinstance(schema, Mapping):
        return []
    listed = schema.get("enum")
    return [*(listed if isinstance(listed, list) else ()), schema.get("const")]


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> set[str]:
    """Return the names of the types that `schema` allows; none where it does not say."""
    if not isinstance(schema, Mapping) or not depth:
        return set()
    own = schema.get("type")
    types = {one for one in (own if isinstance(own, list) else [own]) if isinstance(one, str)}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        types |= _types(target, root, depth - 1)
    for key in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(key) or ():
            types |= _types(one, root, depth - 1)
    return types


def _read(text: str) -> Any:
    """Return the value that `text` spells, `_NO_VALUE` where it is none."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    with suppress(ValueError, RecursionError):
        return json.loads(text, parse_constant=refuse)
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if not text.startswith(("{", "[")) or len(text) > 100_000:
        return _NO_VALUE
    try:  # Python's spelling of lists and dictionaries is common in the model's output
        value = ast.literal_eval(text)
        return json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _NO_VALUE
