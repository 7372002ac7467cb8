"""Grammars of JSON schemas for llama.cpp: those of llguidance where it was built with it, which hold more
than its own and are made at once (docs/schemas.md).

llama.cpp keeps one tokenizer for all of the process, by the address of a model's vocabulary and without a
lock (common/llguidance.cpp): of all models one at a time may use it, and none with another vocabulary than
the first.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Hashable, Mapping
from typing import Any

from qwen_cli.engines.core import choices, guidance
from qwen_cli.errors import RequestRefused

_ROOT = ("$schema", "$defs", "definitions")  # of a schema, whatever else it says
_HEAD = "%llguidance {}\nstart: %json "
_lock = threading.Lock()
_holder: weakref.ref[Any] | None = None
_vocabulary: Hashable = None


def claim(holder: Any, vocabulary: Hashable) -> bool:
    """Return whether the model whose life is that of `holder` may use them. `vocabulary` tells vocabularies
    apart."""
    global _holder, _vocabulary
    import xllamacpp  # loaded with the model

    if not guidance.is_here() or not xllamacpp.json_schema_to_grammar({}).startswith("%llguidance"):
        return False
    with _lock:
        if _vocabulary not in (None, vocabulary) or (_holder is not None and _holder() is not None):
            return False
        _holder, _vocabulary = weakref.ref(holder), vocabulary
        return True


def release(holder: Any) -> None:
    """Let another model have what `holder` has claimed."""
    global _holder
    with _lock:
        if _holder is not None and _holder() is holder:
            _holder = None


def of(schema: Mapping[str, Any]) -> str:
    """Return the grammar of `schema`. Raises `RequestRefused` where none can be made: llama.cpp would pass
    over it."""
    if why := guidance.fault(schema):
        refused = guidance.refused(why)
        raise RequestRefused(refused.message, refused.hint)
    return _HEAD + json.dumps({**schema, "x-guidance": guidance.OPTIONS}, ensure_ascii=False)


def spread(schema: Any) -> Any:
    """Return `schema` for llama.cpp's own grammar, in which many texts to choose from are a pattern that says
    once what they begin alike with."""
    if isinstance(schema, list):
        return [spread(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    root = {name: spread(schema[name]) for name in _ROOT if name in schema}
    values = _choices(schema)
    texts = [value for value in values if isinstance(value, str) and value]
    if len(texts) > choices.FEW:
        others = [value for value in values if not (isinstance(value, str) and value)]
        written = (json.dumps(text, ensure_ascii=False)[1:-1] for text in texts)
        one = {"type": "string", "pattern": choices.pattern(written)}
        return root | ({"anyOf": [one, {"enum": others}]} if others else one)
    return {name: value if name in guidance.VALUES else spread(value) for name, value in schema.items()}


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values that `schema` lets choose from, [] where it says something else."""
    if isinstance(given := schema.get("enum"), list):
        return given
    for name in ("anyOf", "oneOf"):
        if isinstance(given := schema.get(name), list):
            alone = all(isinstance(one, Mapping) and "const" in one for one in given)
            return [one["const"] for one in given] if alone else []
    return []
