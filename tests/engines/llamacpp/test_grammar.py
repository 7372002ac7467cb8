"""Which model may use llguidance in llama.cpp, and the grammar that is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from qwen_cli.engines.core import guidance
from qwen_cli.engines.llamacpp import grammar
from qwen_cli.errors import RequestRefused


class Model:
    """Something that lives as long as a model does."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("llguidance")
    monkeypatch.setattr(grammar, "_holder", None)
    monkeypatch.setattr(grammar, "_vocabulary", None)
    yield


def test_one_model_at_a_time() -> None:
    first, second = Model(), Model()
    assert grammar.claim(first, 5)
    assert not grammar.claim(second, 5)
    grammar.release(second)
    assert not grammar.claim(second, 5)
    grammar.release(first)
    assert grammar.claim(second, 5)


def test_one_that_is_gone_keeps_nobody_out() -> None:
    first = Model()
    assert grammar.claim(first, 5)
    del first
    assert grammar.claim(Model(), 5)


def test_another_vocabulary_never() -> None:
    first = Model()
    assert grammar.claim(first, 5)
    grammar.release(first)
    assert not grammar.claim(Model(), 6)


def test_without_the_package_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "is_here", lambda: False)
    assert not grammar.claim(Model(), 5)


def test_the_schema_is_sent_as_it_is_and_written_in_one_way() -> None:
    head, schema = grammar.of({"type": "string", "title": "Straße", "x-guidance": {"lenient": False}}).split(
        "%json "
    )
    assert head == "%llguidance {}\nstart: "
    assert json.loads(schema) == {"type": "string", "title": "Straße", "x-guidance": guidance.OPTIONS}


def test_one_that_llama_cpp_would_pass_over_is_refused() -> None:
    with pytest.raises(RequestRefused, match="the JSON schema cannot be used: Unsatisfiable schema"):
        grammar.of({"enum": []})


class TestManyChoices:
    """Of choices that stand side by side llama.cpp's own grammar holds each open, for each token."""

    TEXTS = tuple(f"value {number}" for number in range(50))

    def test_they_are_a_pattern_that_says_once_what_they_begin_with(self) -> None:
        spread = grammar.spread({"enum": [*self.TEXTS], "type": "string"})

        assert spread["pattern"].startswith("^(value (0|1(0|1|2|3|4|5|6|7|8|9)?|")
        assert spread == {"type": "string", "pattern": spread["pattern"]}
        assert all(re.fullmatch(spread["pattern"], text) for text in self.TEXTS)
        assert not re.fullmatch(spread["pattern"], "value 50")

    def test_wherever_they_are(self) -> None:
        many = {"enum": [*self.TEXTS]}
        schema = {
            "$defs": {"a": many},
            "properties": {"b": {"items": {"anyOf": [many, {"const": many}]}}, "c": {"$ref": "#/$defs/a"}},
        }
        held = grammar.spread(many)

        assert grammar.spread(schema) == {
            "$defs": {"a": held},
            "properties": {"b": {"items": {"anyOf": [held, {"const": many}]}}, "c": {"$ref": "#/$defs/a"}},
        }
        assert grammar.spread({**many, "$defs": {"a": many}}) == {**held, "$defs": {"a": held}}
        assert grammar.spread({"oneOf": [{"const": text} for text in self.TEXTS]}) == held

    def test_what_is_no_text_stays(self) -> None:
        spread = grammar.spread({"enum": [*self.TEXTS, 1, None, ""]})

        assert spread == {"anyOf": [grammar.spread({"enum": [*self.TEXTS]}), {"enum": [1, None, ""]}]}

    @pytest.mark.parametrize(
        "schema",
        [
            {"enum": [*TEXTS[:20]]},
            {"enum": list(range(90))},
            {"anyOf": [{"const": "a"}, {"type": "string"}]},
            {},
        ],
        ids=str,
    )
    def test_others_stay_as_they_are(self, schema: dict[str, object]) -> None:
        assert grammar.spread(schema) == schema
