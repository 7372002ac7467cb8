"""Arguments of a tool call in the types that the tool's schema gives them: of plain text, and of JSON that
has others."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_NAMES = {bool: "boolean", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}
_KINDS = ("anyOf", "oneOf", "allOf")
_DEEPEST = 8  # references that are followed
_NO_VALUE = object()


def typed(text: str, schema: Any, root: Any = None) -> Any:
    """Return `text` as `schema` has it: strings as they are, the rest is JSON, or Python's spelling of it.

    What is no value of a type that the schema allows stays text. `root` is where references lead.
    """
    types = _types(schema, root or {}, _DEEPEST)
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


def fitted(value: Any, schema: Any, root: Any = None) -> Any:
    """Return `value`, from JSON, in a type that `schema` allows, where it spells one: "5" is an integer's 5,
    and 90210 a string's "90210". What cannot be helped stays as it is; `root` is where references lead."""
    root = root if isinstance(root, Mapping) else {}
    if isinstance(value, str):
        value = _whole(value)
        types = _types(schema, root, _DEEPEST)
        return value if not types or "string" in types else _nested(typed(value, schema, root), schema, root)
    if isinstance(value, (dict, list)) and _types(schema, root, _DEEPEST) != {"string"}:
        return _nested(value, schema, root)
    types = _types(schema, root, _DEEPEST)
    name = _NAMES[type(value)]
    if not types or name in types or value in _choices(schema):
        return value
    if isinstance(value, float) and "integer" in types and value.is_integer():
        return int(value)
    if (name == "integer" and "number" in types) or value is None:
        return value
    return json.dumps(value, ensure_ascii=False) if "string" in types else value


def types_of(schema: Any, root: Any = None) -> set[str]:
    """Return the names of the types that `schema` allows, none where it does not say."""
    return _types(schema, root if isinstance(root, Mapping) else {}, _DEEPEST)


def _nested(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return an object or a list with what is in it `fitted`."""
    if isinstance(value, dict):
        properties = _found(schema, "properties", root)
        known = properties if isinstance(properties, Mapping) else {}
        others = _found(schema, "additionalProperties", root)
        return {_whole(key): fitted(one, known.get(key, others), root) for key, one in value.items()}
    if isinstance(value, list):
        items = _found(schema, "items", root)
        return [fitted(one, items, root) for one in value]
    return value


def _found(schema: Any, key: str, root: Mapping[str, Any], depth: int = _DEEPEST) -> Any:
    """Return what `schema` says under `key`, itself or in what it refers to."""
    if not isinstance(schema, Mapping) or not depth:
        return None
    if key in schema:
        return schema[key]
    below = [_target(schema, root), *(one for kind in _KINDS for one in schema.get(kind) or ())]
    found = (_found(one, key, root, depth - 1) for one in below)
    return next((one for one in found if one is not None), None)


def _whole(text: str) -> str:
    """Return `text` without lone surrogates, which nothing could write."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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
    types |= _types(_target(schema, root), root, depth - 1)
    for key in _KINDS:
        for one in schema.get(key) or ():
            types |= _types(one, root, depth - 1)
    return types


def _target(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return what `schema` refers to within `root`, `None` where it does not."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    target: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        target = target.get(name) if isinstance(target, Mapping) else None
    return target


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
