"""Answers with a schema over HTTP: they satisfy it, or the client is told that they do not."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest

from qwen_cli.engines.core.base import Piece, ToolCall
from tests.serve.played import Here, Played, end, serving

YEAR: dict[str, Any] = {
    "type": "object",
    "properties": {"year": {"type": "string", "pattern": r"^\d{4}$"}},
    "required": ["year"],
}
GOOD, BAD = '{"year": "2024"}', '{"year": "24"}'
HELLO: Any = [{"role": "user", "content": "When?"}]


def body(schema: Any = YEAR, **more: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "year", "schema": schema}}
    return {"messages": HELLO, "response_format": form, **more}


def saying(*answers: str | list[Piece]) -> Played:
    left = list(answers)
    return Played(lambda asked: left.pop(0))


def test_what_satisfies_it_is_answered_and_what_it_cost_counts_all_tries() -> None:
    with serving(saying(BAD, BAD, GOOD)) as here:
        done = here.client.chat.completions.create(model="", **body())

    assert done.choices[0].message.content == GOOD
    assert done.choices[0].finish_reason == "stop"
    assert done.usage and done.usage.completion_tokens == 9


def test_what_does_not_is_an_error_of_its_own_kind() -> None:
    engine = saying(BAD, BAD, BAD)
    with serving(engine) as here, pytest.raises(openai.UnprocessableEntityError) as refused:
        here.client.chat.completions.create(model="", **body())

    error: Any = refused.value.body
    assert set(error) == {"message", "type", "param", "code"}
    assert "pattern at $.year: '24' does not match" in error["message"]
    assert (error["param"], error["code"]) == ("response_format", "schema_not_satisfied")
    assert len(engine.seen) == 3


def test_a_forced_call_that_does_not_names_what_forced_it() -> None:
    called = '{"name": "year", "arguments": {"year": "24"}}'
    tool = {"type": "function", "function": {"name": "year", "parameters": YEAR}}
    with serving(saying(*[called] * 3)) as here:
        answer = here.post(
            "/v1/chat/completions", {"messages": HELLO, "tools": [tool], "tool_choice": "required"}
        )

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (422, "tool_choice", "schema_not_satisfied")


def test_a_stream_gives_what_satisfies_it_and_nothing_else() -> None:
    with serving(saying(BAD, GOOD)) as here:
        chunks = list(here.client.chat.completions.create(model="", stream=True, **body()))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == GOOD
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_that_fails_ends_in_an_error() -> None:
    with serving(saying(BAD, BAD, BAD)) as here:
        answer = here.post("/v1/chat/completions", body(stream=True))
        said = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]

    assert answer.status_code == 200
    assert said[-1]["error"]["code"] == "schema_not_satisfied"
    assert said[-1]["error"]["param"] == "response_format"
    assert "[DONE]" not in answer.text
    assert not any(choice["delta"].get("content") for chunk in said[:-1] for choice in chunk["choices"])


def test_openais_client_raises_it_at_the_end_of_the_stream() -> None:
    with serving(saying(BAD, BAD, BAD)) as here, pytest.raises(openai.APIError, match="pattern at"):
        list(here.client.chat.completions.create(model="", stream=True, **body()))


@pytest.mark.parametrize("stream", [False, True])
def test_one_that_was_cut_says_length_as_at_openai(stream: bool) -> None:
    with serving(saying([Piece('{"year": "20'), end("length")])) as here:
        answer = here.post("/v1/chat/completions", body(max_tokens=5, stream=stream))

    assert answer.status_code == 200
    assert '"finish_reason":"length"' in answer.text


def test_every_choice_satisfies_it() -> None:
    with serving(Played(lambda asked: GOOD if len(asked.messages) > 1 else BAD), parallel=2) as here:
        done = here.client.chat.completions.create(model="", n=3, **body())

    assert [choice.message.content for choice in done.choices] == [GOOD] * 3


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": 3}, "not a JSON schema"),
        ([], "not a JSON schema object|should be a valid dictionary"),
        ({"$ref": "#/nowhere"}, "is not in it"),
        ({"$ref": "http://127.0.0.1:1/x"}, "nothing is fetched"),
        ({"pattern": "("}, "no pattern"),
        ({"enum": []}, "nothing satisfies"),
        ({"minLength": 3, "maxLength": 1, "type": "string"}, "nothing satisfies"),
        ({"enum": list(range(20_000))}, "more than 10,000 values"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("where", ["response_format", "tools"])
def test_what_cannot_be_used_is_told_before_a_model_loads(schema: Any, why: str, where: str) -> None:
    engine = Played()
    with serving(engine) as here:
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        asked = body(schema) if where == "response_format" else {"messages": HELLO, "tools": [tool]}
        if where == "tools":
            asked["tool_choice"] = "required"
        answer = here.post("/v1/chat/completions", asked)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(where)
    assert re.search(why, answer.json()["error"]["message"])
    assert not here.loads
    assert not engine.seen


@pytest.mark.parametrize(
    "schema", [{}, {"type": "object", "properties": {"x": True, "y": {"type": "integer"}}}]
)
def test_schemas_that_ask_for_little(schema: Any) -> None:
    engine = saying('{"x": 1}')
    with serving(engine) as here:
        done = here.client.chat.completions.create(model="", **body(schema))

    assert done.choices[0].message.content == '{"x": 1}'
    assert engine.seen[0].schema is not None


NOTE: Any = {
    "type": "function",
    "function": {
        "name": "note",
        "parameters": {
            "type": "object",
            "properties": {"year": {"$ref": "#/$defs/year"}},
            "required": ["year"],
            "$defs": {"year": {"type": "string", "pattern": r"^\d{4}$"}},
        },
    },
}


class TestForcedCalls:
    def ask(self, here: Here, *more: Any) -> Any:
        return here.client.chat.completions.create(
            model="", messages=HELLO, tools=[NOTE, *more], tool_choice="required"
        )

    @pytest.mark.parametrize("more", [0, 1])
    def test_arguments_satisfy_the_parameters(self, more: int) -> None:
        other: Any = {"type": "function", "function": {"name": "other"}}
        answers = [json.dumps({"name": "note", "arguments": json.loads(one)}) for one in (BAD, GOOD)]
        engine = saying(*answers)
        with serving(engine) as here:
            done = self.ask(here, *[other] * more)

        (call,) = done.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"year": "2024"}
        assert "$.arguments" in engine.seen[1].messages[-1]["content"]

    def test_where_they_never_do_the_client_is_told(self) -> None:
        bad = json.dumps({"name": "note", "arguments": {"year": "24"}})
        with serving(saying(bad, bad, bad)) as here, pytest.raises(openai.UnprocessableEntityError):
            self.ask(here)


class TestBesideTools:
    """Tools that may be called, and a schema for the answer."""

    CALL = Piece(kind="tool_call", call=ToolCall("1", "note", {"year": "2024"}))

    def test_a_call_is_one(self) -> None:
        with serving(saying([self.CALL, end("tool_calls")])) as here:
            done = here.client.chat.completions.create(model="", tools=[NOTE], **body())

        assert done.choices[0].finish_reason == "tool_calls"
        assert done.choices[0].message.tool_calls[0].function.name == "note"

    @pytest.mark.parametrize("free", [GOOD, "It was in 2024."])
    def test_the_schema_holds_for_the_answer(self, free: str) -> None:
        with serving(saying(free, GOOD)) as here:
            chunks = list(here.client.chat.completions.create(model="", tools=[NOTE], stream=True, **body()))

        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == GOOD
