"""Fields by which other servers are told how an answer has to be written: a schema, or a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen_cli.engines.core import choices
from qwen_cli.serve.api.errors import Refused

_GUIDED = ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
_STRUCTURED = ("json", "json_object", "regex", "choice", "grammar")


@dataclass(frozen=True)
class Form:
    """How an answer has to be written: by a JSON `schema` or a `grammar` (GBNF), and which field says so."""

    schema: Any = None
    grammar: str = ""
    field: str = ""


AS_IT_COMES = Form()


def read(sent: Mapping[str, Any]) -> Form:
    """Return the form of the answer that vLLM's and llama.cpp's own fields ask for. Raises `Refused` for two
    of them, and for one that no engine here can keep to."""
    ways = {name: sent[name] for name in ("grammar", "json_schema", *_GUIDED) if sent.get(name) is not None}
    structured = sent.get("structured_outputs") or {}
    if not isinstance(structured, Mapping):
        raise Refused(400, "structured_outputs must be an object", param="structured_outputs")
    for name, value in structured.items():
        if value is None or value is False:
            continue
        if name not in _STRUCTURED:
            raise Refused(400, f"structured_outputs.{name} is not supported", param="structured_outputs")
        ways[f"structured_outputs.{name}"] = value
    ways = {name: value for name, value in ways.items() if value != ""}
    if not ways:
        return AS_IT_COMES
    if len(ways) > 1:
        names = " and ".join(sorted(ways))
        raise Refused(400, f"{names} exclude each other", param=max(ways).partition(".")[0])
    ((name, value),) = ways.items()
    field = name.partition(".")[0]
    kind = name.removeprefix("guided_").removeprefix("structured_outputs.")
    if kind in ("json", "json_schema"):
        return Form(schema=_as_object(value, field), field=field)
    if kind == "json_object":
        return Form(schema={"type": "object"}, field=field)
    if kind == "choice":
        return Form(grammar=_choice(value, field), field=field)
    if kind == "regex":
        raise Refused(
            400, f"{name} is not supported: send a grammar, or a schema with a pattern", param=field
        )
    if not isinstance(value, str):
        raise Refused(400, f"{name} must be a text in GBNF, got {type(value).__name__}", param=field)
    return Form(grammar=value, field=field)


def _as_object(value: Any, field: str) -> Any:
    """Return a schema that may have come as a text (vLLM). Raises `Refused`."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as fault:
        raise Refused(400, f"{field} is no JSON: {fault}", param=field) from None


def _choice(given: Any, field: str) -> str:
    """Return the grammar of one of several texts. Raises `Refused`."""
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and one for one in given):
        raise Refused(400, f"{field} must be a list of texts to choose from", param=field)
    return f"root ::= {choices.alternatives(given, lambda text: json.dumps(text, ensure_ascii=False))}"
