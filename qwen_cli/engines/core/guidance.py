"""JSON schemas for llguidance, which holds most of them (docs/schemas.md), in Python and in llama.cpp."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

from qwen_cli.errors import UsageError

# What it has no word for lets everything pass. One way to write white space: small models otherwise fill the
# context with line breaks.
OPTIONS = {"lenient": True, "whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@functools.cache
def is_here() -> bool:
    """Return whether llguidance is installed."""
    return importlib.util.find_spec("llguidance") is not None


def grammar(schema: Mapping[str, Any]) -> str:
    """Return the grammar of `schema`, for `LLMatcher`."""
    from llguidance import LLMatcher

    return str(LLMatcher.grammar_from_json_schema(dict(schema), overrides=OPTIONS))


def check(schema: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a schema that no grammar can be made of."""
    from llguidance import LLMatcher

    wrong, told = LLMatcher.validate_grammar_with_warnings(grammar(schema), _bytes())
    if wrong:
        raise refused(told[0])


def refused(why: str) -> UsageError:
    """Return the error that says why no grammar can be made of a schema."""
    line = (why.strip().splitlines() or ["no grammar"])[-1]
    return UsageError(f"the JSON schema cannot be used: {line}", "check it against json-schema.org")


@functools.cache
def _bytes() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
