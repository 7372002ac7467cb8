"""Null is "not given": OpenAI's clients write it for every field that nobody set, and send back whatever they
were answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some

from qwen_cli.engines.core.base import Piece, ToolCall, call_id
from qwen_cli.serve.api import body as api_body
from tests.serve.played import Asked, Here, Played, end, serving

HELLO = [{"role": "user", "content": "hello"}]
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


FIELDS = """
    tools tool_choice response_format model user functions function_call logprobs top_logprobs stop
    stream n seed stream_options temperature top_p max_tokens max_completion_tokens presence_penalty
    frequency_penalty audio logit_bias parallel_tool_calls reasoning_effort modalities metadata
    store prediction service_tier verbosity web_search_options safety_identifier prompt_cache_key
    top_k min_p repetition_penalty chat_template_kwargs thinking_token_budget extra
""".split()  # noqa: SIM905


def said(asked: Asked) -> list[Piece]:
    """The first turn calls a tool where there is one, the next answers."""
    if asked.tools and asked.messages[-1]["role"] == "user":
        calls = [ToolCall(call_id(), "weather", {"city": city}) for city in ("Paris", "Rome")]
        return [*(Piece(kind="tool_call", call=call) for call in calls), end("tool_calls")]
    return [Piece("four"), end()]


@pytest.fixture
def model() -> Played:
    return Played(said)


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def nulls(value: Any, path: str = "") -> set[str]:
    """Where `value` is null."""
    if isinstance(value, dict):
        return {found for name, one in value.items() for found in nulls(one, f"{path}.{name}")}
    if isinstance(value, list):
        return {found for one in value for found in nulls(one, path)}
    return {path} if value is None else set()


class TestRequests:
    @pytest.mark.parametrize(
        "field",
        FIELDS,
    )
    def test_a_field_of_a_chat(self, here: Here, model: Played, field: str) -> None:
        answer = here.post("/v1/chat/completions", {"messages": HELLO, field: None})

        assert answer.status_code == 200, answer.text
        assert model.seen == [Asked(HELLO)]

    @pytest.mark.parametrize(
        "message",
        [
            {"role": "user", "content": "hello", "name": None},
            {"role": "user", "content": "hello", "tool_calls": None, "tool_call_id": None},
            {"role": "system", "content": "hello", "name": None},
            {"role": "user", "content": [{"type": "text", "text": "hello", "image_url": None}]},
            {"role": "assistant", "content": None},
            {"role": "assistant", "content": None, "tool_calls": None, "refusal": None, "audio": None},
            {"role": "assistant", "content": "hi", "tool_calls": []},
            {"role": "assistant", "content": "hi", "function_call": None, "annotations": None},
            {"role": "assistant", "content": "hi", "reasoning_content": None, "tool_calls": None},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": None}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": None, "index": None, "function": {"name": "f", "arguments": ""}}
                ],
            },
        ],
    )
    def test_a_field_of_a_message(self, here: Here, model: Played, message: dict[str, Any]) -> None:
        answer = here.post("/v1/chat/completions", {"messages": [message, *HELLO]})

        assert answer.status_code == 200, answer.text
        assert not nulls(model.seen[0].messages)
        got = model.seen[0].messages[0]
        assert "content" in got
        assert [call["function"]["arguments"] for call in got.get("tool_calls", [])] == ["{}"] * (
            len(message.get("tool_calls") or [])
        )

    @pytest.mark.parametrize(
        "function", [{"description": None}, {"parameters": None}, {"strict": None}, {}], ids=str
    )
    def test_a_field_of_a_tool(self, here: Here, model: Played, function: dict[str, Any]) -> None:
        tool = {"type": "function", "function": {"name": "weather", **function}}
        answer = here.post("/v1/chat/completions", {"messages": HELLO, "tools": [tool]})

        assert answer.status_code == 200, answer.text
        assert model.seen[0].tools == [{"type": "function", "function": {"name": "weather"}}]

    def test_a_null_that_a_schema_means_stays(self, here: Here, model: Played) -> None:
        schema = {"type": "object", "properties": {"x": {"enum": [None, 1], "default": None}}}
        tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
        here.post("/v1/chat/completions", {"messages": HELLO, "tools": [tool]})

        assert model.seen[0].tools[0]["function"]["parameters"] == schema

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/completions", {"prompt": "one,", "suffix": None, "echo": None, "best_of": None, "n": None}),
            (
                "/v1/completions",
                {"prompt": "one,", "model": None, "stop": None, "stream": None, "user": None},
            ),
            ("/v1/completions", {"prompt": "one,", "logprobs": None, "seed": None, "stream_options": None}),
        ],
    )
    def test_other_routes(self, here: Here, path: str, body: dict[str, Any]) -> None:
        answer = here.post(path, body)

        assert answer.status_code == 200, answer.text
        assert not nulls(answer.json())

    @pytest.mark.parametrize(
        ("path", "body", "field"),
        [
            ("/v1/chat/completions", {"messages": None}, "messages"),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
            ("/v1/math", {"problem": None}, "problem"),
            ("/v1/embeddings", {"input": None}, "input"),
        ],
    )
    def test_what_must_be_given_is_missing(
        self, here: Here, path: str, body: dict[str, Any], field: str
    ) -> None:
        answer = here.post(path, body)

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == field

    def test_the_longest_answer_of_a_completion_is_the_exception(self, here: Here, model: Played) -> None:
        for body in ({}, {"max_tokens": None}, {"max_tokens": 7}):
            here.post("/v1/completions", {"prompt": "one,", **body})

        assert [asked.sampling.max_tokens for asked in model.seen] == [16, None, 7]


class TestAnswers:
    @pytest.mark.parametrize("dumped", [False, True])
    def test_our_own_message_is_taken_back(self, here: Here, model: Played, dumped: bool) -> None:
        messages: list[Any] = list(HELLO)
        for _ in range(3):
            done = here.client.chat.completions.create(model="", messages=messages)
            message = done.choices[0].message
            messages += [message.model_dump() if dumped else message, *HELLO]

        assert [m["role"] for m in model.seen[-1].messages] == ["user", "assistant"] * 2 + ["user"]
        assert model.seen[-1].messages[1] == {"role": "assistant", "content": "four"}

    @pytest.mark.parametrize("dumped", [False, True])
    def test_our_own_calls_are_taken_back(self, here: Here, model: Played, dumped: bool) -> None:
        client, messages = here.client, list[Any](HELLO)
        for _ in range(2):
            asked = client.chat.completions.create(model="", messages=messages, tools=[WEATHER])
            message = asked.choices[0].message
            assert message.content is None
            assert message.tool_calls
            messages.append(message.model_dump() if dumped else message)
            messages += [{"role": "tool", "tool_call_id": c.id, "content": "sun"} for c in message.tool_calls]
            answer = client.chat.completions.create(model="", messages=messages, tools=[WEATHER])
            messages += [answer.choices[0].message, *HELLO]

        ids = [c["id"] for m in model.seen[-1].messages for c in m.get("tool_calls", ())]
        answered = [m["tool_call_id"] for m in model.seen[-1].messages if m["role"] == "tool"]
        assert len(set(ids)) == 4
        assert answered == ids

    def test_calls_put_together_from_a_stream_are_taken_back(self, here: Here) -> None:
        client = here.client
        with client.chat.completions.stream(model="", messages=HELLO, tools=[WEATHER]) as stream:  # type: ignore[arg-type]
            message = stream.get_final_completion().choices[0].message
        assert message.tool_calls and len(message.tool_calls) == 2
        results = [{"role": "tool", "tool_call_id": c.id, "content": "sun"} for c in message.tool_calls]
        turns: Any = [*HELLO, message, *results]
        answer = client.chat.completions.create(model="", messages=turns)

        assert answer.choices[0].message.content == "four"

    def test_what_is_null_is_left_out(self, here: Here) -> None:
        whole = here.post("/v1/chat/completions", {"messages": HELLO}).json()
        calling = here.post("/v1/chat/completions", {"messages": HELLO, "tools": [WEATHER]}).json()
        several = here.post("/v1/chat/completions", {"messages": HELLO, "n": 2}).json()

        assert not nulls(whole)
        assert not nulls(several)
        assert nulls(calling) == {".choices.message.content"}  # as OpenAI writes it beside calls
        assert "logprobs" not in whole["choices"][0]
        for path in ("/v1/models", "/v1/models/played"):
            assert not nulls(httpx.get(f"{here.url}{path}").json())

    @pytest.mark.parametrize("more", [{}, {"tools": [WEATHER]}, {"n": 2}, {"logprobs": True}], ids=str)
    @pytest.mark.parametrize("usage", [False, True])
    def test_chunks_have_the_nulls_that_openai_writes(
        self, here: Here, more: dict[str, Any], usage: bool
    ) -> None:
        body = {"messages": HELLO, "stream": True, **more}
        if usage:
            body["stream_options"] = {"include_usage": True}
        lines = here.post("/v1/chat/completions", body).text.split("\n\n")
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]

        assert nulls(chunks) == {".choices.finish_reason"} | ({".usage"} if usage else set())

    def test_chunks_of_completions_too(self, here: Here) -> None:
        text = here.post("/v1/completions", {"prompt": "one,", "stream": True}).text
        chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]

        assert chunks
        assert nulls(chunks) <= {".choices.finish_reason"}


_json = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
)


@given(_json)
def test_what_is_given_holds_no_null_field_and_all_else(value: Any) -> None:
    def check(whole: Any, left: Any) -> None:
        if isinstance(whole, dict):
            assert set(left) == {name for name, one in whole.items() if one is not None}
            for name in left:
                check(whole[name], left[name])
        elif isinstance(whole, list):
            assert len(whole) == len(left)
            for pair in zip(whole, left, strict=True):
                check(*pair)
        else:
            assert left == whole

    check(value, api_body.without_nulls(value))
