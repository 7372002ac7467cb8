"""Which model may use llguidance in llama.cpp, and the grammar that is sent."""

from __future__ import annotations

import json
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
