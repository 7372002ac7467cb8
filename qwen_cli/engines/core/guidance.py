"""JSON schemas for llguidance, which holds most of them (docs/schemas.md), in Python and in llama.cpp."""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from qwen_cli.errors import UsageError

# What it has no word for lets everything pass. One way to write white space: small models otherwise fill the
# context with line breaks.
OPTIONS = {"lenient": True, "whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords of a schema with what is no schema."""

PATIENCE = 3.0
"""Seconds for a grammar that may take for ever: ordinary ones take milliseconds."""


@functools.cache
def is_here() -> bool:
    """Return whether llguidance is installed."""
    return importlib.util.find_spec("llguidance") is not None


def grammar(schema: Mapping[str, Any]) -> str:
    """Return the grammar of `schema`, for `LLMatcher`. Raises `UsageError` where none can be made."""
    from llguidance import LLMatcher

    if why := fault(schema):
        raise refused(why)
    return str(LLMatcher.grammar_from_json_schema(dict(schema), overrides=OPTIONS))


def fault(schema: Mapping[str, Any]) -> str:
    """Return why no grammar can be made of `schema`; nothing where one can."""
    text = json.dumps(schema)
    return _slow_fault(text) if _joins(schema) else _fault(text)


@functools.lru_cache(maxsize=64)
def _fault(text: str) -> str:
    from llguidance import LLMatcher

    try:
        made = LLMatcher.grammar_from_json_schema(text, overrides=OPTIONS)
    except ValueError as error:
        return str(error)
    wrong, told = LLMatcher.validate_grammar_with_warnings(made, _bytes())
    return str(told[0]) if wrong else ""


# What is said on standard output of the schema on standard input.
_CHECK = f"""
import json, sys
from llguidance import LLMatcher, LLTokenizer
made = LLMatcher.grammar_from_json_schema(sys.stdin.read(), overrides={OPTIONS!r})
wrong, told = LLMatcher.validate_grammar_with_warnings(made, LLTokenizer("byte"))
print(told[0] if wrong else "")
"""


@functools.lru_cache(maxsize=64)
def _slow_fault(text: str) -> str:
    """Return the same of a schema whose grammar may take for ever: in a process of its own, which has an
    end."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHECK], input=text, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"its grammar takes longer than {PATIENCE:g} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it cannot be made"])[-1]
    return done.stdout.strip()


def _joins(schema: Any) -> bool:
    """Return whether several patterns of `schema` may have to hold for one text, which costs the more the
    more there are."""
    left, patterns, joined = [schema], 0, False
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            own = len(one.keys() & {"pattern", "format", "patternProperties"})
            patterns += own
            joined |= "allOf" in one or ("$ref" in one and own > 0)
            left += one.values()
        elif isinstance(one, list):
            left += one
    return joined and patterns > 2


def refused(why: str) -> UsageError:
    """Return the error that says why no grammar can be made of a schema."""
    line = (why.strip().splitlines() or ["no grammar"])[-1]
    return UsageError(f"the JSON schema cannot be used: {line}", "check it against json-schema.org")


@functools.cache
def _bytes() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
