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

from qwen_cli.engines.core import guidance
from qwen_cli.errors import RequestRefused

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
