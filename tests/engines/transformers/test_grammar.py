"""What a JSON schema allows next, over the bytes of a small tokenizer: with llguidance, and with xgrammar
where that is not there."""

from __future__ import annotations

import json
from typing import Any

import pytest
import small_gguf
import torch

from qwen_cli.engines.core import guidance
from qwen_cli.engines.transformers import grammar
from qwen_cli.errors import UsageError

END = small_gguf.IDS["<|im_end|>"]
NOTE: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 2}, "b": {"type": "string", "pattern": "^x+$"}},
    "required": ["a"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import transformers

    folder = tmp_path_factory.mktemp("small")
    small_gguf._tokenizer(folder, "{{ messages }}", marked=False)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(params=["llguidance", "xgrammar"])
def vocabulary(request: pytest.FixtureRequest, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip(request.param)
    monkeypatch.setattr(guidance, "is_here", lambda: request.param == "llguidance")
    return grammar.vocabulary(tokenizer, small_gguf.VOCABULARY, [END])


def lets_pass(vocabulary: Any, tokenizer: Any, schema: dict[str, Any], value: Any) -> bool:
    """Return whether `value`, written as models do, may be said token by token and then end."""
    state = vocabulary.grammar(schema)
    for token in [*tokenizer(json.dumps(value, ensure_ascii=False))["input_ids"], END]:
        logits = torch.zeros(1, small_gguf.VOCABULARY)
        state.mask(logits)
        if logits[0, token] < 0:
            return False
        state.accept(token)
    return True


def test_a_token_is_allowed_where_the_schema_goes_on(vocabulary: Any, tokenizer: Any) -> None:
    assert lets_pass(vocabulary, tokenizer, NOTE, {"a": 2})
    assert lets_pass(vocabulary, tokenizer, NOTE, {"a": 31, "b": "xx"})
    assert not lets_pass(vocabulary, tokenizer, NOTE, {"a": "2"})
    assert not lets_pass(vocabulary, tokenizer, NOTE, {"a": 1})
    assert not lets_pass(vocabulary, tokenizer, NOTE, {"b": "x"})
    assert not lets_pass(vocabulary, tokenizer, NOTE, {"a": 2, "c": 1})


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "pattern": "b"}, "abc", "ac"),
        ({"type": "integer", "multipleOf": 7}, 49, 50),
        ({"type": "number", "exclusiveMaximum": 1, "minimum": 0.5}, 0.5, 1),
        ({"type": "string", "format": "email"}, "a@b.de", "a at b"),
        ({"type": "object", "minProperties": 1}, {"a": 1}, {}),
        ({"allOf": [{"type": "string", "maxLength": 3}, {"minLength": 2}]}, "ab", "a"),
        ({"prefixItems": [{"type": "integer"}], "items": False, "type": "array"}, [1], [1, 2]),
        ({"patternProperties": {"^n": {"type": "integer"}}, "type": "object"}, {"n": 1}, {"n": "a"}),
        ({"uniqueItems": True, "type": "array"}, [1, 2], None),
        ({"enum": [f"v{number}" for number in range(2_000)]}, "v1999", "v2000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_llguidance_holds_what_others_do_not(
    tokenizer: Any, schema: dict[str, Any], good: Any, bad: Any
) -> None:
    pytest.importorskip("llguidance")
    vocabulary = grammar.vocabulary(tokenizer, small_gguf.VOCABULARY, [END])

    assert lets_pass(vocabulary, tokenizer, schema, good)
    assert bad is None or not lets_pass(vocabulary, tokenizer, schema, bad)


def test_a_schema_that_no_grammar_can_be_made_of(vocabulary: Any) -> None:
    with pytest.raises(UsageError, match="the JSON schema cannot be used") as refused:
        vocabulary.grammar({"type": "nonsense"})
    assert "\n" not in str(refused.value)


def test_rows_of_the_table_without_a_token_are_never_allowed(vocabulary: Any) -> None:
    logits = torch.zeros(1, small_gguf.VOCABULARY)
    vocabulary.grammar({"type": "string"}).mask(logits)

    assert logits[0, max(small_gguf.IDS.values()) + 1 :].max() < 0


def test_spaces_stand_in_one_way(vocabulary: Any, tokenizer: Any) -> None:
    state = vocabulary.grammar(NOTE)
    for token in tokenizer("{")["input_ids"]:
        state.accept(token)
    logits = torch.zeros(1, small_gguf.VOCABULARY)
    state.mask(logits)

    allowed = [tokenizer.decode([int(token)]) for token in (logits[0] == 0).nonzero()]
    assert {one[0] for one in allowed} == {'"'}
