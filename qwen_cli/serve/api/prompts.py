"""Raw prompts as clients give them: texts, tokens, and what llama.cpp makes of both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.prompt import Tokens
from qwen_cli.serve.api import params
from qwen_cli.serve.api.errors import Refused

_FORMS = "a text, a list of tokens, or a list of those"


def are_several(given: Any) -> bool:
    """Return whether `given` is a list of prompts: a list with a number in it is one, of tokens."""
    return isinstance(given, list) and not any(isinstance(one, int) for one in given)


def read(given: Any, engine: Engine, name: str = "prompt") -> list[str]:
    """Return the prompts in the field `name`; one that was given as tokens is `Tokens`. Raises `Refused`,
    `UsageError` for tokens that the model does not have."""
    several = given if are_several(given) else [given]
    if not several:
        raise Refused(400, f"{name} must be {_FORMS}", param=name)
    if len(several) > params.MOST_CHOICES:
        raise Refused(400, f"there are more than {params.MOST_CHOICES} prompts", param=name)
    return [_one(prompt, engine, name) for prompt in several]


def _one(given: Any, engine: Engine, name: str) -> str:
    if isinstance(given, Mapping):
        if given.get("multimodal_data"):
            raise Refused(400, "this route takes no pictures; send them to /v1/chat/completions", param=name)
        given = given.get("prompt_string")
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not all(_is_part(one) for one in given):
        raise Refused(400, f"{name} must be {_FORMS}", param=name)
    ids = [id for part in given for id in _ids(part, engine)]
    return Tokens(engine.detokenize(ids), ids) if ids else ""


def _is_part(one: Any) -> bool:
    return isinstance(one, str) or (isinstance(one, int) and not isinstance(one, bool))


def _ids(part: int | str, engine: Engine) -> Sequence[int]:
    return [part] if isinstance(part, int) else [id for id, _ in engine.tokenize(part)]
