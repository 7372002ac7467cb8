"""What other servers take beside OpenAI's fields is heeded, or refused by its name: never passed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qwen_cli.engines.core.base import Capabilities
from tests.serve.played import Asked, Here, Played, serving

HELLO = [{"role": "user", "content": "hello"}]
YEAR = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}
CHAT = "/v1/chat/completions"


def said(asked: Asked) -> str:
    return json.dumps({"year": 2024}) if asked.schema else "yes"


@pytest.fixture
def model() -> Played:
    return Played(said)


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        ({"guided_json": YEAR}, YEAR),
        ({"guided_json": json.dumps(YEAR)}, YEAR),
        ({"structured_outputs": {"json": YEAR}}, YEAR),
        ({"structured_outputs": {"json": YEAR, "regex": None}}, YEAR),
        ({"structured_outputs": {"json_object": True}}, {"type": "object"}),
        ({"json_schema": YEAR}, YEAR),
        ({"response_format": {"type": "json_object", "schema": YEAR}}, YEAR),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": YEAR}}}, YEAR),  # no name
    ],
    ids=str,
)
def test_a_schema_by_any_name(here: Here, model: Played, body: dict[str, Any], schema: Any) -> None:
    answer = here.post(CHAT, {"messages": HELLO, **body})

    assert answer.status_code == 200, answer.text
    assert model.seen[0].schema == schema


@pytest.mark.parametrize(
    ("body", "grammar"),
    [
        ({"grammar": 'root ::= "a"'}, 'root ::= "a"'),
        ({"guided_grammar": 'root ::= "a"'}, 'root ::= "a"'),
        ({"guided_choice": ["yes", 'n"o']}, 'root ::= "yes" | "n\\"o"'),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, 'root ::= "yes" | "no"'),
        ({"structured_outputs": {"grammar": "root ::= [a-z]"}}, "root ::= [a-z]"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/completion"])
def test_a_grammar_by_any_name(
    here: Here, model: Played, path: str, body: dict[str, Any], grammar: str
) -> None:
    answer = here.post(path, {"messages": HELLO, "prompt": "a", **body})

    assert answer.status_code == 200, answer.text
    assert (model.seen[0].sampling.extras or {})["grammar"] == grammar


@pytest.mark.parametrize("path", ["/v1/completions", "/completion"])
def test_a_raw_prompt_with_a_schema(here: Here, model: Played, path: str) -> None:
    here.post(path, {"prompt": "a", "json_schema": {"enum": [None, 1]}})

    assert (model.seen[0].sampling.extras or {})["json_schema"] == {"enum": [None, 1]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"guided_regex": "[a-z]+"}, "guided_regex"),
        ({"structured_outputs": {"regex": "[a-z]+"}}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs"),
        ({"structured_outputs": "x"}, "structured_outputs"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [1]}, "guided_choice"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {"type": "hiccup"}}, "guided_json"),
        ({"json_schema": 7}, "json_schema"),
        ({"grammar": 7}, "grammar"),
        ({"grammar": 'root ::= "a"', "guided_choice": ["a"]}, "guided_choice"),
        ({"grammar": 'root ::= "a"', "response_format": {"type": "json_object"}}, "grammar"),
        ({"response_format": {"type": "json_object", "schema": 123}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {"type": "hiccup"}}}, "response_format"),
        ({"response_format": {"type": "sound"}}, "response_format.type"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"stop_token_ids": [1]}, "stop_token_ids"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"include_stop_str_in_output": True}, "include_stop_str_in_output"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"truncate_prompt_tokens": 10}, "truncate_prompt_tokens"),
        ({"xtc_probability": 0.5}, "xtc_probability"),  # one that this engine has not
        ({"mirostat": 3}, "mirostat"),
        ({"typical_p": -5}, "typical_p"),
        ({"logit_bias": {"1": "x"}}, "logit_bias"),
        ({"logit_bias": 5}, "logit_bias"),
        ({"n_predict": -2}, "n_predict"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_named(here: Here, model: Played, body: dict[str, Any], field: str) -> None:
    answer = here.post(CHAT, {"messages": HELLO, **body})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text
    assert not model.seen


@pytest.mark.parametrize(
    "body",
    [
        {"min_tokens": 0, "stop_token_ids": [], "use_beam_search": False, "skip_special_tokens": True},
        {"mirostat": 0, "mirostat_tau": 5.0, "typical_p": 1, "xtc_probability": 0.0, "xtc_threshold": 0.1},
        {"grammar": "", "logit_bias": {}, "guided_json": None, "structured_outputs": {}, "ignore_eos": False},
        {"dry_multiplier": 0, "dry_base": 1.75, "dry_sequence_breakers": ["\n"], "samplers": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/completion"])
def test_what_changes_nothing_is_taken(here: Here, model: Played, path: str, body: dict[str, Any]) -> None:
    answer = here.post(path, {"messages": HELLO, "prompt": "a", **body})

    assert answer.status_code == 200, answer.text
    assert model.seen[0].sampling.extras is None


def test_tokens_are_made_likelier_or_less_so(here: Here, model: Played) -> None:
    here.post(CHAT, {"messages": HELLO, "logit_bias": {"17": -100, "18": 5}})
    here.post("/completion", {"prompt": "a", "logit_bias": [[17, False], ["no", -1.5]]})

    assert [asked.sampling.extras for asked in model.seen] == [
        {"logit_bias": [[17, -100.0], [18, 5.0]]},
        {"logit_bias": [[17, False], ["no", -1.5]]},
    ]


@pytest.mark.parametrize("thinking", ["switch", "always"])
def test_a_grammar_is_not_for_thinking(thinking: Any) -> None:
    model = Played()
    model.capabilities = replace(model.capabilities, thinking=thinking)
    with serving(model) as here:
        plain = here.post(CHAT, {"messages": HELLO, "guided_choice": ["yes"]})
        asked = here.post(
            CHAT,
            {"messages": HELLO, "guided_choice": ["yes"], "chat_template_kwargs": {"enable_thinking": True}},
        )

    assert plain.status_code == (200 if thinking == "switch" else 400)
    assert [seen.thinking for seen in model.seen] == ([False] if thinking == "switch" else [])
    assert asked.status_code == 400


def test_an_engine_without_them_says_so() -> None:
    with serving(Played(capabilities=Capabilities(4096))) as here:
        for body, field in (
            ({"guided_choice": ["a"]}, "guided_choice"),
            ({"logit_bias": {"1": 1}}, "logit_bias"),
            ({"ignore_eos": True}, "ignore_eos"),
        ):
            answer = here.post(CHAT, {"messages": HELLO, **body})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", ["n_predict", "max_tokens"])
def test_no_tokens_are_none(here: Here, model: Played, limit: str, stream: bool) -> None:
    answer = here.post(CHAT, {"messages": HELLO, limit: 0, "stream": stream})

    assert answer.status_code == 200
    assert "yes" not in answer.text
    assert model.seen[0].sampling.max_tokens == 1  # what reading the prompt takes
    if not stream:
        assert answer.json()["choices"][0]["finish_reason"] == "length"
        assert answer.json()["usage"]["completion_tokens"] == 0


def test_llamacpps_limit_holds_in_chats(here: Here, model: Played) -> None:
    here.post(CHAT, {"messages": HELLO, "n_predict": 7})
    here.post(CHAT, {"messages": HELLO, "n_predict": -1})

    assert [asked.sampling.max_tokens for asked in model.seen] == [7, None]
