"""OpenAI's Responses API, over a model whose answers are written down: what a client sends reaches the model
as messages, and what it says comes back as items and events of OpenAI's own types."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from qwen_cli.engines.core.base import Capabilities, Piece, TokenLogprob, ToolCall, Usage
from qwen_cli.serve.api import auth
from qwen_cli.serve.scheduling.response_store import ResponseStore, Stored
from tests.serve.played import Asked, Here, Played, end

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def ask(here: Here, input: Any = "2 + 2?", **fields: Any) -> httpx.Response:
    return here.post("/v1/responses", {"model": "", "input": input, **fields})


def answered(here: Here, input: Any = "2 + 2?", **fields: Any) -> Response:
    answer = ask(here, input, **fields)
    assert answer.status_code == 200, answer.text
    return Response.model_validate(answer.json(), strict=True)


def events(here: Here, input: Any = "2 + 2?", **fields: Any) -> list[Any]:
    text = ask(here, input, stream=True, **fields).text
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    found = [EVENT.validate_json(line.removeprefix("data: ")) for line in lines]
    assert names == [one.type for one in found]
    return found


def messages(model: Played) -> list[dict[str, Any]]:
    return model.seen[-1].messages


class TestAnswers:
    def test_a_text(self, here: Here) -> None:
        done = answered(here)

        assert [item.type for item in done.output] == ["reasoning", "message"]
        assert (done.output_text, done.status, done.error) == ("four", "completed", None)
        assert done.output[0].content[0].text == "Hm, easy."
        assert done.usage is not None
        assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (10, 3, 13)
        assert done.usage.output_tokens_details.reasoning_tokens == 3

    def test_calls(self, here: Here) -> None:
        done = answered(here, tools=[WEATHER])

        calls = [item for item in done.output if item.type == "function_call"]
        assert [(call.name, call.arguments) for call in calls] == [
            ("weather", '{"city": "Paris"}'),
            ("weather", '{"city": "Rome"}'),
        ]
        assert len({call.call_id for call in calls} | {call.id for call in calls}) == 4

    def test_one_call_alone(self, here: Here) -> None:
        done = answered(here, tools=[WEATHER], parallel_tool_calls=False)

        assert [item.type for item in done.output] == ["reasoning", "function_call"]

    @pytest.mark.parametrize("reason", ["length", "context"])
    @pytest.mark.parametrize("stream", [False, True])
    def test_one_that_was_cut(self, here: Here, model: Played, reason: str, stream: bool) -> None:
        model.answer = lambda asked: [Piece("fo"), end(reason)]
        done = events(here)[-1].response if stream else answered(here)

        assert (done.status, done.output[-1].status) == ("incomplete", "incomplete")
        assert done.incomplete_details.reason == "max_output_tokens"

    @pytest.mark.parametrize(
        "fields", [{"include": ["message.output_text.logprobs"]}, {"top_logprobs": 1}], ids=str
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_log_probabilities(self, here: Here, model: Played, fields: Any, stream: bool) -> None:
        other = TokenLogprob("five", (102,), -3.0)
        known = TokenLogprob("four", (102,), -0.5, (other,))
        model.answer = lambda asked: [Piece("four", logprobs=(known,)), end()]
        came = events(here, **fields) if stream else []
        done = came[-1].response if stream else answered(here, **fields)

        (told,) = done.output[0].content[0].logprobs
        assert (told.token, told.logprob, told.top_logprobs[0].token) == ("four", -0.5, "five")
        assert [one.logprobs[0].token for one in came if one.type.endswith("text.delta")] == ["four"] * stream

    def test_nothing_at_all_is_an_empty_text(self, here: Here, model: Played) -> None:
        model.answer = lambda asked: [end()]

        assert [item.type for item in answered(here).output] == ["message"]

    def test_the_cache_is_told(self, here: Here, model: Played) -> None:
        usage = Usage(prompt_tokens=10, cached_tokens=7, generated_tokens=1)
        model.answer = lambda asked: [Piece("4"), Piece(usage=usage)]
        told = answered(here).usage

        assert told is not None
        assert told.input_tokens_details.cached_tokens == 7

    def test_what_was_asked_is_said_again(self, here: Here) -> None:
        fields: dict[str, Any] = {
            "instructions": "Be brief.", "metadata": {"a": "b"}, "temperature": 0.5, "max_output_tokens": 9,
            "tool_choice": "none", "tools": [WEATHER], "truncation": "auto", "store": False,
            "reasoning": {"effort": "low", "summary": "auto"},
        }  # fmt: skip
        told = ask(here, **fields).json()

        assert {name: told[name] for name in fields} == fields
        formed = ask(here, text={"verbosity": "low"}).json()["text"]
        assert formed == {"format": {"type": "text"}, "verbosity": "low"}


class TestEvents:
    def test_of_thinking_and_text(self, here: Here) -> None:
        came = events(here)

        assert [one.type.removeprefix("response.") for one in came] == [
            "created", "in_progress",
            "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
            "reasoning_text.done", "content_part.done", "output_item.done",
            "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
            "output_text.done", "content_part.done", "output_item.done",
            "completed",
        ]  # fmt: skip
        assert [one.sequence_number for one in came] == list(range(len(came)))
        assert [one.delta for one in came if one.type.endswith(".delta")] == ["Hm, ", "easy.", "fo", "ur"]
        assert came[0].response.output == []
        assert came[-1].response.output_text == "four"
        assert came[-1].response.id == came[0].response.id

    def test_of_calls(self, here: Here) -> None:
        came = [one for one in events(here, tools=[WEATHER]) if getattr(one, "output_index", 0) == 1]

        assert [one.type.removeprefix("response.") for one in came] == [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        assert came[0].item.arguments == ""
        assert came[1].delta == came[2].arguments == came[3].item.arguments == '{"city": "Paris"}'
        assert len({came[0].item.id, came[1].item_id, came[2].item_id, came[3].item.id}) == 1

    def test_of_a_summary(self, here: Here) -> None:
        came = events(here, reasoning={"summary": "auto"})

        assert [one.type.removeprefix("response.") for one in came[2:9]] == [
            "output_item.added", "reasoning_summary_part.added",
            "reasoning_summary_text.delta", "reasoning_summary_text.delta", "reasoning_summary_text.done",
            "reasoning_summary_part.done", "output_item.done",
        ]  # fmt: skip
        assert came[8].item.summary[0].text == "Hm, easy."
        assert came[8].item.content is None

    def test_of_a_fault_on_the_way(self, here: Here, model: Played) -> None:
        def broken(asked: Asked) -> Iterator[Piece]:
            yield Piece("fo")
            raise RuntimeError("the model broke")

        model.answer = broken
        last = events(here)[-1]

        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert last.response.error.code == "server_error"
        assert here.client.responses.create(model="", input="x", store=False, stream=True)

    def test_the_client_reads_them(self, here: Here) -> None:
        with here.client.responses.stream(model="played", input="2 + 2?") as stream:
            texts = [one.delta for one in stream if one.type == "response.output_text.delta"]
            final = stream.get_final_response()

        assert texts == ["fo", "ur"]
        assert final.output_text == "four"


class TestRequests:
    def test_instructions_come_first_in_one_message(self, here: Here, model: Played) -> None:
        items = [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
            {"role": "system", "content": "Be right."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"role": "developer", "content": "Be glad."},
            {"role": "assistant", "content": "Hello"},
            {"role": "developer", "content": "Now in French."},
            {"role": "user", "content": "Bye"},
            {"role": "developer", "content": "Now in Latin."},
        ]
        answered(here, items, instructions="Be brief.")

        assert messages(model) == [
            {"role": "system", "content": "Be brief.\n\nBe kind.\n\nBe right.\n\nBe glad."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Now in French."},
            {"role": "user", "content": "Now in Latin.\nBye"},
        ]

    def test_a_turn_is_one_message(self, here: Here, model: Played) -> None:
        items = [
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [],
             "content": [{"type": "reasoning_text", "text": "Ask."}]},
            {"type": "message", "id": "m", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{\"city\": \"Rome\"}"},
            {"type": "function_call", "call_id": "b", "name": "weather", "arguments": ""},
            {"type": "function_call_output", "call_id": "a", "output": "sun"},
            {"type": "function_call_output", "call_id": "b",
             "output": [{"type": "input_text", "text": "rain"}]},
            {"role": "assistant", "content": "Sun and rain."},
            {"role": "user", "content": "Thanks"},
        ]  # fmt: skip
        answered(here, items, tools=[WEATHER])

        turn = messages(model)[1]
        assert [m["role"] for m in messages(model)] == [
            "user", "assistant", "tool", "tool", "assistant", "user",
        ]  # fmt: skip
        assert (turn["content"], turn["reasoning_content"]) == ("I look.", "Ask.")
        assert [call["function"]["arguments"] for call in turn["tool_calls"]] == ['{"city": "Rome"}', "{}"]
        assert [m["content"] for m in messages(model)[2:4]] == ["sun", "rain"]

    @pytest.mark.parametrize("dumped", [False, True])
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"reasoning": {"summary": "auto"}},
            {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"], "store": False},
        ],
    )
    def test_our_own_items_are_taken_back(
        self, here: Here, model: Played, dumped: bool, fields: dict[str, Any]
    ) -> None:
        items: list[Any] = [{"role": "user", "content": "Weather?"}]
        for _ in range(2):
            done = here.client.responses.create(model="", input=items, tools=[WEATHER], **fields)
            items += [item.model_dump() for item in done.output] if dumped else done.output
            items += [
                {"type": "function_call_output", "call_id": item.call_id, "output": "sun"}
                for item in done.output
                if item.type == "function_call"
            ]

        turns = messages(model)
        assert [m["role"] for m in turns] == ["user", "assistant", "tool", "tool"]
        assert turns[1]["reasoning_content"] == "Hm, easy."
        assert [c["id"] for c in turns[1]["tool_calls"]] == [m["tool_call_id"] for m in turns[2:]]

    def test_thinking_that_only_we_can_read(self, here: Here, model: Played) -> None:
        """Clients that keep nothing of a reasoning item but what is sealed."""
        done = answered(here, include=["reasoning.encrypted_content"], store=False)
        sealed = done.output[0].encrypted_content
        item = {"type": "reasoning", "summary": [], "encrypted_content": sealed}
        answered(here, [{"role": "user", "content": "a"}, item, {"role": "user", "content": "b"}])

        assert messages(model)[1]["reasoning_content"] == "Hm, easy."
        item["encrypted_content"] = "gAAAAABo"  # another server's
        assert ask(here, [item, {"role": "user", "content": "b"}]).status_code == 200

    def test_pictures(self, here: Here, model: Played) -> None:
        model.capabilities = Capabilities(4096, vision=True)
        shown: list[Any] = []
        items = [
            {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL, "detail": "low"}]},
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a",
             "output": [{"type": "input_image", "image_url": PIXEL}]},
            {"role": "user", "content": "And now?"},
        ]  # fmt: skip
        from qwen_cli.serve.api import responses_request

        shown = responses_request.read({"input": items}, lambda id: None, lambda id: None).chat["messages"]

        picture = {"type": "image_url", "image_url": {"url": PIXEL}}
        low = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
        assert shown[0]["content"] == [low]
        assert shown[2]["role"] == "tool"
        assert isinstance(shown[2]["content"], str)
        assert shown[3]["content"] == [picture, {"type": "text", "text": "And now?"}]
        model.capabilities = Capabilities(4096)
        assert "sees no pictures" in ask(here, items).json()["error"]["message"]

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"max_output_tokens": 7}, lambda asked: asked.sampling.max_tokens == 7),
            ({"temperature": 0.25, "top_p": 0.5, "top_k": 3}, lambda asked: asked.sampling.top_k == 3),
            ({"reasoning": {"effort": "none"}}, lambda asked: asked.thinking is False),
            ({"reasoning": {"effort": "low"}}, lambda asked: asked.thinking == 1_638),
            ({"text": {"format": {"type": "json_object"}}}, lambda asked: asked.schema == {"type": "object"}),
            ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, lambda asked: asked.schema is None),
            ({"tools": [WEATHER], "tool_choice": "none"}, lambda asked: asked.tools is None),
            ({"tools": [], "tool_choice": "auto", "include": []}, lambda asked: asked.tools is None),
            ({"store": None, "previous_response_id": None, "tools": None}, lambda asked: True),
        ],
    )
    def test_fields(self, here: Here, model: Played, fields: dict[str, Any], expected: Any) -> None:
        model.answer = lambda asked: "{}"
        answered(here, **fields)

        assert expected(model.seen[-1]), model.seen[-1]

    def test_a_schema(self, here: Here, model: Played) -> None:
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
        model.answer = lambda asked: '{"x": 1}'
        form = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}

        assert answered(here, text={"format": form}).output_text == '{"x": 1}'
        assert model.seen[-1].schema is not None
        refusal = ask(here, text={"format": {**form, "schema": {"type": 3}}})
        assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "text.format")

    def test_a_schema_that_is_not_satisfied(self, here: Here, model: Played) -> None:
        model.answer = lambda asked: '{"x": "one"}'
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
        refusal = ask(here, text={"format": {"type": "json_schema", "name": "x", "schema": schema}})

        assert refusal.status_code == 422
        assert refusal.json()["error"]["param"] == "text.format"

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
    def test_a_forced_call(self, here: Here, model: Played, choice: Any, stream: bool) -> None:
        model.answer = lambda asked: '{"name": "weather", "arguments": {"city": "Rome"}}'
        tools = [WEATHER, {**WEATHER, "name": "other"}]
        done = (
            events(here, tools=tools, tool_choice=choice)[-1].response
            if stream
            else answered(here, tools=tools, tool_choice=choice)
        )

        assert [(item.type, item.name) for item in done.output] == [("function_call", "weather")]

    def test_tools_that_are_allowed(self, here: Here, model: Played) -> None:
        choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}
        answered(here, tools=[WEATHER, {**WEATHER, "name": "other"}], tool_choice=choice)

        assert [one["function"]["name"] for one in model.seen[-1].tools] == ["weather"]

    def test_tools_in_a_namespace_and_of_a_text(self, here: Here, model: Played) -> None:
        """Codex's own."""
        space = {"type": "namespace", "name": "agents", "description": "", "tools": [WEATHER]}
        custom = {"type": "custom", "name": "run", "description": "Runs a line."}
        calls = [
            ToolCall("1", "agents__weather", {"city": "Rome"}),
            ToolCall("2", "run", {"input": "ls -l"}),
        ]
        model.answer = lambda asked: [*(Piece(kind="tool_call", call=call) for call in calls), end()]
        done = events(here, tools=[space, custom, {"type": "web_search"}])[-1].response

        names = [one["function"]["name"] for one in model.seen[-1].tools]
        assert names == ["agents__weather", "run"]
        assert (done.output[0].namespace, done.output[0].name) == ("agents", "weather")
        assert (done.output[1].type, done.output[1].input) == ("custom_tool_call", "ls -l")
        assert [tool.type for tool in done.tools] == ["namespace", "custom"]  # what is offered
        back = [item.model_dump() for item in done.output]
        back.append({"type": "custom_tool_call_output", "call_id": "2", "output": "total 0"})
        answered(here, [{"role": "user", "content": "x"}, *back], tools=[space, custom])
        sent = [c["function"] for c in messages(model)[1]["tool_calls"]]
        assert [(c["name"], json.loads(c["arguments"])) for c in sent] == [
            ("agents__weather", {"city": "Rome"}),
            ("run", {"input": "ls -l"}),
        ]


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
            ({"tools": [WEATHER, {"type": "file_search", "vector_store_ids": ["x"]}]}, "tools.1.type"),
            ({"tools": [WEATHER, {"type": "mcp", "server_label": "x"}]}, "tools.1.type"),
            ({"tools": [{"type": "shell"}]}, "tools.0.type"),
            ({"tools": [{"type": "function"}]}, "tools.0.name"),
            ({"tools": ["weather"]}, "tools.0"),
            ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice"),
            ({"background": True}, "background"),
            ({"conversation": "conv_1"}, "conversation"),
            ({"prompt": {"id": "pmpt_1"}}, "prompt"),
            ({"previous_response_id": "resp_gone"}, "previous_response_id"),
            ({"temperature": "hot"}, "temperature"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"input": []}, "input"),
            ({"input": None}, "input"),
            ({"input": 3}, "input"),
            ({"input": ["hi"]}, "input.0"),
            ({"input": [{"type": "web_search_call", "id": "x"}]}, "input.0.type"),
            ({"input": [{"type": "item_reference", "id": "msg_gone"}]}, "input.0"),
            ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
            ({"input": [{"role": "user", "content": 3}]}, "input.0.content"),
            (
                {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
                "input.0.content.0.type",
            ),
            (
                {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
                "input.0.content.0",
            ),
            ({"input": [{"type": "function_call", "name": "x", "arguments": "{}"}]}, "input.0.call_id"),
        ],
        ids=str,
    )
    def test_it_names_what_is_wrong(
        self, here: Here, model: Played, fields: dict[str, Any], param: str
    ) -> None:
        refusal = here.post("/v1/responses", {"input": "hi", **fields})

        assert refusal.status_code == 400
        assert refusal.json()["error"]["param"] == param
        assert not model.seen


class TestKept:
    def test_a_conversation_goes_on(self, here: Here, model: Played) -> None:
        client = here.client
        first = client.responses.create(model="", input="Weather?", instructions="Be brief.", tools=[WEATHER])
        results: Any = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "sun"}
            for item in first.output
            if item.type == "function_call"
        ]
        second = client.responses.create(
            model="", input=results, tools=[WEATHER], previous_response_id=first.id
        )
        client.responses.create(model="", input="Thanks", previous_response_id=second.id)

        assert [m["role"] for m in messages(model)] == [
            "user", "assistant", "tool", "tool", "assistant", "user",
        ]  # fmt: skip  # instructions are of one request alone

    def test_it_is_read_again_and_forgotten(self, here: Here) -> None:
        client = here.client
        done = client.responses.create(model="", input="2 + 2?")

        assert client.responses.retrieve(done.id) == done
        assert [item.role for item in client.responses.input_items.list(done.id)] == ["user"]  # type: ignore[union-attr]
        client.responses.delete(done.id)
        for forgotten in (client.responses.retrieve, client.responses.delete):
            with pytest.raises(openai.NotFoundError):
                forgotten(done.id)
        with pytest.raises(openai.BadRequestError, match="send the whole conversation"):
            client.responses.create(model="", input="x", previous_response_id=done.id)

    @pytest.mark.parametrize("stream", [False, True])
    def test_not_where_that_is_not_wanted(self, here: Here, stream: bool) -> None:
        done = events(here, store=False)[-1].response if stream else answered(here, store=False)

        assert httpx.get(f"{here.url}/v1/responses/{done.id}").status_code == 404

    def test_an_item_may_be_named(self, here: Here, model: Played) -> None:
        done = answered(here)
        references = [{"type": "item_reference", "id": item.id} for item in done.output]
        question = {"role": "user", "content": "2 + 2?"}
        for _ in range(2):  # the second finds them where the first referred to them
            answered(here, [question, *references, question])

        assert messages(model)[1] == {
            "role": "assistant",
            "content": "four",
            "reasoning_content": "Hm, easy.",
        }

    def test_tokens_are_counted(self, here: Here, model: Played) -> None:
        counted = here.client.responses.input_tokens.count(model="", input="2 + 2?")

        assert counted.input_tokens == 10
        assert not model.seen

    def test_each_key_has_its_own(self) -> None:
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(auth.key_of(Request(scope)))
            await PlainTextResponse("in")(scope, receive, send)

        async def ask_all() -> None:
            transport = httpx.ASGITransport(auth.Guard(app, auth.Rules(("one", "two"))))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                for headers in (
                    {"Authorization": "Bearer one"},
                    {"x-api-key": "one"},
                    {"Authorization": "Bearer two"},
                    {"Authorization": "Bearer three"},
                ):
                    await client.get("/v1/responses/x", headers=headers)

        asyncio.run(ask_all())
        assert seen[0] == seen[1] != seen[2]
        assert len(seen) == 3  # nobody comes in with a third
        assert "one" not in seen[0]


class TestTruncation:
    def test_the_oldest_turns_go(self, model: Played, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
        model.capabilities = Capabilities(1000)
        monkeypatch.setattr(model, "count_tokens", lambda prompt, **rest: 200 * len(prompt))
        items = [{"role": role, "content": f"{n}"} for n in range(3) for role in ("user", "assistant")]
        items = [{"role": "system", "content": "S"}, *items, {"role": "user", "content": "last"}]
        answered(here, items, truncation="auto", max_output_tokens=100)

        assert [m["content"] for m in messages(model)] == ["S", "2", "2", "last"]
        answered(here, items, truncation="disabled", max_output_tokens=100)
        assert len(messages(model)) == 8


class TestStore:
    def stored(self, size: int, previous: str | None = None, name: str = "x") -> Stored:
        return Stored({"output": [{"id": name}]}, [{"q": name}], previous, size)

    def test_bounds(self) -> None:
        store = ResponseStore(most=3, most_bytes=100)
        for name in "abcd":
            store.put("key", name, self.stored(10))
        assert [store.get("key", name) is not None for name in "abcd"] == [False, True, True, True]
        store.put("key", "e", self.stored(85))
        assert [store.get("key", name) is not None for name in "bcde"] == [False, False, True, True]
        store.put("key", "f", self.stored(101))
        assert store.get("key", "f") is None

    def test_an_item_is_there_as_long_as_its_answer(self) -> None:
        store = ResponseStore(most=2)
        store.put("k", "a", self.stored(1, None, "x"))
        store.put("k", "b", self.stored(1, None, "y"))
        assert store.item("k", "x") == {"id": "x"}
        store.put("k", "c", self.stored(1, None, "y"))  # sent again: the newer answer has it too
        assert store.item("k", "x") is None
        store.delete("k", "b")
        assert store.item("k", "y") == {"id": "y"}
        store.delete("k", "c")
        assert store.item("k", "y") is None

    def test_keys_see_their_own(self) -> None:
        store = ResponseStore()
        store.put("one", "a", self.stored(1))

        assert store.get("other", "a") is None
        assert store.item("other", "x") is None
        assert store.conversation("other", "a") is None
        assert not store.delete("other", "a")
        assert store.get("one", "a")

    def test_the_beginning_of_a_conversation_in_use_stays(self) -> None:
        store = ResponseStore(most=3)
        store.put("k", "a", self.stored(1, None, "a"))
        store.put("k", "b", self.stored(1, "a", "b"))
        store.put("k", "x", self.stored(1))
        assert store.conversation("k", "b") == [{"q": "a"}, {"id": "a"}, {"q": "b"}, {"id": "b"}]
        store.put("k", "c", self.stored(1, "b", "c"))

        assert store.conversation("k", "c") is not None
        store.delete("k", "a")
        assert store.conversation("k", "c") is None
