"""Grammars of JSON schemas: made, refused, or given up after a time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from qwen_cli.engines.core import guidance
from qwen_cli.errors import UsageError

pytest.importorskip("llguidance")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"enum": [f"value {number}" for number in range(5_000)]},
        {"type": "string", "minLength": 10**6},
        {"type": "array", "items": {"type": "object"}, "minItems": 10**5},
        {"type": "string", "pattern": "^((((a{1,50}){1,50}){1,50}){1,50})$"},
        {"type": "string", "pattern": "^(a|b)*a(a|b){25}$"},
        {"allOf": [{"type": "string", "pattern": one} for one in ("[a-z]", "[A-Z]", "[0-9]")]},
        {"type": "string", "not": {}, "if": {}, "unknown": 3},
    ],
    ids=lambda value: str(value)[:40],
)
def test_grammars_are_made_of_large_schemas(schema: dict[str, Any]) -> None:
    assert guidance.fault(schema) == ""
    assert guidance.grammar(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "nonsense"}, "Invalid type"),
        ({"enum": []}, "Unsatisfiable schema"),
        ({"type": "string", "pattern": "^(?=a)b$"}, "look-around"),
        ({"maximum": 10**400}, "out of range"),
        ({"allOf": [{"pattern": "^a$"}, {"pattern": "^b$"}, {"pattern": "^c$"}], "type": "string"}, "."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_none_can_be_made_of_is_told(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=f"the JSON schema cannot be used: .*{why}") as refused:
        guidance.grammar(schema)
    assert "\n" not in str(refused.value)


def test_one_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "PATIENCE", 0.5)
    bomb = {"allOf": [{"type": "string", "pattern": f"a{{{number}}}"} for number in range(1, 60)]}
    began = time.monotonic()
    assert "takes longer than 0.5 s" in guidance.fault(bomb)
    assert time.monotonic() < began + 20  # it would be hours
