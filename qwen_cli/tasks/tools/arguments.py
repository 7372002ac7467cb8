"""Arguments of a call held against the schema of its tool, before anybody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST = 5  # faults that the model is told
_LONGEST = 200  # characters of one


def fault(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `arguments`, for the model; `None` where nothing is. A schema that is none
    itself holds nothing."""
    import jsonschema  # 0.1 s, only with tools

    if arguments.keys() == {"invalid_json"} and "invalid_json" not in (schema.get("properties") or {}):
        return f"the arguments are not a JSON object: {_short(str(arguments['invalid_json']))}"
    if not schema:
        return None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        found = [
            _said(error) for error, _ in zip(kind(schema).iter_errors(arguments), range(_MOST), strict=False)
        ]
    except Exception:  # a schema of a server: nobody here can mend it
        return None
    return "; ".join(found) or None


def _said(error: Any) -> str:
    place = ".".join(map(str, error.absolute_path))
    return _short(f"{place}: {error.message}" if place else str(error.message))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
