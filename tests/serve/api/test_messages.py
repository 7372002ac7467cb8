"""Anthropic's Messages API, over a model whose answers are written down. The shapes are those that
Anthropic's own client reads (`anthropic`), which the tests do without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from qwen_cli.engines.core.base import Piece, Progress, Usage
from qwen_cli.errors import ContextFull
from qwen_cli.serve.api import messages_request
from qwen_cli.serve.api.auth import Rules
from qwen_cli.serve.api.history import seal
from tests.serve.api.test_auth import ask as ask_guard
from tests.serve.played import Asked, Here, Played, end, serving

WEATHER = {"name": "weather", "description": "Tells.", "input_schema": {"type": "object"}}
HELLO = [{"role": "user", "content": "2 + 2?"}]
THOUGHT = "Hm, easy."


def ask(here: Here, messages: Any = HELLO, **fields: Any) -> httpx.Response:
    return here.post("/v1/messages", {"model": "", "max_tokens": 64, "messages": messages, **fields})


def answered(here: Here, messages: Any = HELLO, **fields: Any) -> dict[str, Any]:
    answer = ask(here, messages, **fields)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    return done


def events(here: Here, messages: Any = HELLO, **fields: Any) -> list[dict[str, Any]]:
    text = ask(here, messages, stream=True, **fields).text
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    found = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name.removeprefix("event: ") for name, _ in blocks] == [one["type"] for one in found]
    return found


ON = {"type": "enabled", "budget_tokens": 1024}


class TestAnswers:
    def test_a_text(self, here: Here) -> None:
        done = answered(here)

        assert done.pop("id").startswith("msg_")
        assert done == {
            "type": "message",
            "role": "assistant",
            "model": "played",
            "content": [{"type": "text", "text": "four"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 3,
            },
        }

    def test_thinking(self, here: Here) -> None:
        done = answered(here, thinking=ON)

        thought, text = done["content"]
        assert thought == {"type": "thinking", "thinking": THOUGHT, "signature": seal(THOUGHT)}
        assert text["text"] == "four"
        assert done["usage"]["output_tokens_details"] == {"thinking_tokens": 3}

    def test_calls(self, here: Here) -> None:
        done = answered(here, tools=[WEATHER])

        assert [(one["type"], one["name"], one["input"]) for one in done["content"]] == [
            ("tool_use", "weather", {"city": "Paris"}),
            ("tool_use", "weather", {"city": "Rome"}),
        ]
        assert done["stop_reason"] == "tool_use"

    @pytest.mark.parametrize(
        ("usage", "reason", "sequence"),
        [
            (Usage(stop_reason="length"), "max_tokens", None),
            (Usage(stop_reason="context"), "model_context_window_exceeded", None),
            (Usage(stop_string="\n\n"), "stop_sequence", "\n\n"),
            (Usage(), "end_turn", None),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_why_it_ended(
        self, here: Here, model: Played, usage: Usage, reason: str, sequence: str | None, stream: bool
    ) -> None:
        model.answer = lambda asked: [Piece("four"), Piece(usage=usage)]
        told = events(here)[-2]["delta"] if stream else answered(here)

        assert (told["stop_reason"], told["stop_sequence"]) == (reason, sequence)

    def test_what_the_cache_held_is_told_apart(self, here: Here, model: Played) -> None:
        usage = Usage(prompt_tokens=10, cached_tokens=7, generated_tokens=1)
        model.answer = lambda asked: [Piece("4"), Piece(usage=usage)]
        told = answered(here)["usage"]

        assert (told["input_tokens"], told["cache_read_input_tokens"]) == (3, 7)

    def test_nothing_at_all_is_an_empty_text(self, here: Here, model: Played) -> None:
        model.answer = lambda asked: [end()]

        assert answered(here)["content"] == [{"type": "text", "text": ""}]

    def test_models_are_listed(self, here: Here) -> None:
        listed = httpx.get(f"{here.url}/v1/models", headers={"anthropic-version": "2023-06-01"}).json()

        assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("played", "played", False)
        assert (listed["data"][0]["type"], listed["data"][0]["display_name"]) == ("model", "played")
        assert "T" in listed["data"][0]["created_at"]

    def test_tokens_are_counted(self, here: Here, model: Played) -> None:
        counted = here.post("/v1/messages/count_tokens?beta=true", {"model": "", "messages": HELLO})

        assert counted.json() == {"input_tokens": 10}
        assert not model.seen


class TestEvents:
    def test_of_thinking_and_text(self, here: Here) -> None:
        came = events(here, thinking=ON)

        assert [one["type"] for one in came] == [
            "message_start",
            "content_block_start", *["content_block_delta"] * 3, "content_block_stop",
            "content_block_start", *["content_block_delta"] * 2, "content_block_stop",
            "message_delta", "message_stop",
        ]  # fmt: skip
        assert came[0]["message"]["content"] == []
        assert came[1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
        assert [one["delta"] for one in came[2:5]] == [
            {"type": "thinking_delta", "thinking": "Hm, "},
            {"type": "thinking_delta", "thinking": "easy."},
            {"type": "signature_delta", "signature": seal(THOUGHT)},
        ]
        assert [one["index"] for one in came[1:-2]] == [0] * 5 + [1] * 4
        assert came[-2]["usage"]["output_tokens"] == 3

    def test_the_first_tells_of_the_prompt(self, here: Here, model: Played) -> None:
        model.capabilities = replace(model.capabilities, extras=("return_progress",))
        model.answer = lambda asked: (
            [Piece(progress=Progress(10, 7, read)) for read in (7, 10)] + [Piece("4"), end()]
        )
        start, *_ = came = events(here)

        assert start["message"]["usage"] == {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 7,
            "output_tokens": 0,
        }
        assert [one["type"] for one in came].count("message_start") == 1
        assert model.seen[0].sampling.extras == {"return_progress": True}

    @pytest.mark.parametrize("pieces", [[], [end()]], ids=["cut", "silent"])
    def test_an_answer_of_nothing_begins_and_ends(
        self, here: Here, model: Played, pieces: list[Piece]
    ) -> None:
        model.answer = lambda asked: pieces

        assert [one["type"] for one in events(here)] == [
            "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop",
        ]  # fmt: skip

    def test_of_calls(self, here: Here) -> None:
        came = [one for one in events(here, tools=[WEATHER]) if one.get("index") == 0]

        start, delta, _ = came
        assert start["content_block"]["input"] == {}
        assert json.loads(delta["delta"]["partial_json"]) == {"city": "Paris"}

    def test_of_thinking_that_is_left_out(self, here: Here, model: Played) -> None:
        came = events(here, thinking={**ON, "display": "omitted"})
        deltas = [one["delta"]["type"] for one in came if one["type"] == "content_block_delta"]

        assert deltas == ["signature_delta", "text_delta", "text_delta"]
        block = answered(here, thinking={**ON, "display": "omitted"})["content"][0]
        answered(here, [*HELLO, {"role": "assistant", "content": [block]}, *HELLO])
        assert model.seen[-1].messages[1]["reasoning_content"] == THOUGHT

    def test_of_a_fault_on_the_way(self, here: Here, model: Played) -> None:
        def broken(asked: Asked) -> Iterator[Piece]:
            yield Piece("fo")
            raise RuntimeError("the model broke")

        model.answer = broken
        last = events(here)[-1]

        assert (last["type"], last["error"]["type"]) == ("error", "api_error")


class TestRequests:
    def test_as_claude_code_sends_it(self, here: Here, model: Played) -> None:
        cached = {"cache_control": {"type": "ephemeral"}}
        messages = [
            {"role": "user", "content": [{"type": "text", "text": "Remember."},
                                         {"type": "text", "text": "say hi", **cached}]},
            {"role": "system", "content": "Agents: none."},
        ]  # fmt: skip
        answer = httpx.post(
            f"{here.url}/v1/messages?beta=true",
            json={
                "model": "claude-sonnet-4-6", "messages": messages, "max_tokens": 32_000, "stream": True,
                "system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1234;"},
                           {"type": "text", "text": "You are an agent.", **cached},
                           {"type": "text", "text": "Be brief.", **cached}],
                "tools": [{**WEATHER, **cached}], "thinking": {"type": "adaptive"},
                "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
                "output_config": {"effort": "high"}, "metadata": {"user_id": "{}"},
            },
            headers={"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        asked = model.seen[0]

        assert asked.messages == [
            {"role": "system", "content": "You are an agent.\n\nBe brief.\n\nAgents: none."},
            {"role": "user", "content": "Remember.\nsay hi"},
        ]
        assert asked.thinking is True
        assert [one["function"]["name"] for one in asked.tools] == ["weather"]

    @pytest.mark.parametrize("stream", [False, True])
    def test_our_own_blocks_are_taken_back(self, here: Here, model: Played, stream: bool) -> None:
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        for _ in range(2):
            done = answered(here, messages, tools=[WEATHER], thinking=ON)
            messages.append({"role": "assistant", "content": done["content"]})
            results = [
                {"type": "tool_result", "tool_use_id": one["id"], "content": "sun"}
                for one in done["content"]
                if one["type"] == "tool_use"
            ]
            messages.append({"role": "user", "content": results or "Thanks"})

        turns = model.seen[-1].messages
        assert [m["role"] for m in turns] == ["user", "assistant", "tool", "tool"]
        assert turns[1]["reasoning_content"] == THOUGHT
        assert [c["id"] for c in turns[1]["tool_calls"]] == [m["tool_call_id"] for m in turns[2:]]

    def test_results(self, here: Here, model: Played) -> None:
        calls = [{"type": "tool_use", "id": id, "name": "weather", "input": {}} for id in "abc"]
        results = [
            {"type": "tool_result", "tool_use_id": "a", "content": "no such city", "is_error": True},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "sun"}]},
            {"type": "tool_result", "tool_use_id": "c"},
            {"type": "text", "text": "Go on."},
        ]
        answered(
            here, [*HELLO, {"role": "assistant", "content": calls}, {"role": "user", "content": results}]
        )

        assert [(m["role"], m["content"]) for m in model.seen[-1].messages[2:]] == [
            ("tool", "The call failed:\nno such city"),
            ("tool", "sun"),
            ("tool", ""),
            ("user", "Go on."),
        ]

    def test_a_null_of_its_own_words_stays(self, here: Here, model: Played) -> None:
        schema = {"type": "object", "properties": {"unit": {"enum": ["C", None], "default": None}}}
        call = {"type": "tool_use", "id": "a", "name": "weather", "input": {"unit": None}, "caller": None}
        result = {"type": "tool_result", "tool_use_id": "a", "content": "sun", "is_error": None}
        turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        answered(here, [*HELLO, *turns], tools=[{**WEATHER, "input_schema": schema, "description": None}])

        asked = model.seen[-1]
        assert json.loads(asked.messages[1]["tool_calls"][0]["function"]["arguments"]) == {"unit": None}
        assert asked.tools[0]["function"] == {"name": "weather", "parameters": schema}
        assert asked.messages[2]["content"] == "sun"

    def test_pictures(self) -> None:
        data = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
        linked = {"type": "url", "url": "https://a.example/b.png"}
        seen = messages_request.read(
            {
                "max_tokens": 1,
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": linked}]},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "look"}]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "a",
                         "content": [{"type": "image", "source": data}]},
                        {"type": "text", "text": "What is it?"},
                    ]},
                ],
            }
        )["messages"]  # fmt: skip

        assert seen[0]["content"] == [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
        assert isinstance(seen[2]["content"], str)
        assert seen[3]["content"] == [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            {"type": "text", "text": "What is it?"},
        ]

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({}, lambda asked: asked.thinking is False),
            ({"thinking": {"type": "disabled"}}, lambda asked: asked.thinking is False),
            ({"thinking": ON}, lambda asked: asked.thinking == 1024),
            ({"thinking": {"type": "adaptive"}}, lambda asked: asked.thinking is None),
            (
                {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
                lambda asked: asked.thinking == 1_638,
            ),
            (
                {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
                lambda asked: asked.thinking is True,
            ),
            ({"stop_sequences": ["\n", "END"]}, lambda asked: asked.sampling.stop == ("\n", "END")),
            ({"max_tokens": 7}, lambda asked: asked.sampling.max_tokens == 7),
            ({"temperature": 0.5, "top_k": 3, "top_p": 0.9}, lambda asked: asked.sampling.top_k == 3),
            ({"system": "Be brief."}, lambda asked: asked.messages[0]["content"] == "Be brief."),
            ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, lambda asked: asked.tools is None),
            ({"tools": [], "stop_sequences": [], "metadata": {}}, lambda asked: asked.tools is None),
            ({"system": None, "tools": None, "thinking": None}, lambda asked: asked.thinking is False),
            ({"model": "claude-haiku-4-5"}, lambda asked: True),
        ],
    )
    def test_fields(self, here: Here, model: Played, fields: dict[str, Any], expected: Any) -> None:
        answered(here, **fields)

        assert expected(model.seen[-1]), model.seen[-1]

    @pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_forced_call(self, here: Here, model: Played, choice: Any, stream: bool) -> None:
        model.answer = lambda asked: '{"name": "weather", "arguments": {"city": "Rome"}}'
        came = events(here, tools=[WEATHER], tool_choice=choice) if stream else []
        reason = came[-2]["delta"] if stream else answered(here, tools=[WEATHER], tool_choice=choice)

        assert reason["stop_reason"] == "tool_use"

    def test_one_call_at_a_time(self, here: Here) -> None:
        choice = {"type": "auto", "disable_parallel_tool_use": True}

        assert len(answered(here, tools=[WEATHER], tool_choice=choice)["content"]) == 1

    def test_a_schema(self, here: Here, model: Played) -> None:
        model.answer = lambda asked: '{"x": 1}'
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
        config = {"format": {"type": "json_schema", "schema": schema}}

        assert answered(here, output_config=config)["content"][0]["text"] == '{"x": 1}'
        assert model.seen[-1].schema is not None


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"max_tokens": None}, "max_tokens"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"messages": None}, "messages"),
            ({"messages": []}, "message"),
            ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
            ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
            ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0.type"),
            (
                {"messages": [{"role": "user", "content": [
                    {"type": "document", "source": {"type": "base64", "data": ""}}]}]},
                "messages.0.content.0.source",
            ),
            (
                {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
                "messages.0.content.0.type",
            ),
            ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
            ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0.type"),
            ({"tools": [{"name": "x"}]}, "tools.0.input_schema"),
            ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice"),
            ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice.type"),
            ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
            ({"thinking": {"type": "much"}}, "thinking.type"),
            ({"stop_sequences": [""]}, "stop string"),
            ({"temperature": "hot"}, "temperature"),
            ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ],
        ids=str,
    )  # fmt: skip
    def test_it_names_what_is_wrong(
        self, here: Here, model: Played, fields: dict[str, Any], named: str
    ) -> None:
        refusal = ask(here, **fields)

        assert refusal.status_code == 400
        assert refusal.json()["type"] == "error"
        assert refusal.json()["error"]["type"] == "invalid_request_error"
        assert named in refusal.json()["error"]["message"]
        assert not model.seen

    def test_claude_code_learns_that_the_context_is_full(self, here: Here, model: Played) -> None:
        def full(asked: Asked) -> Iterator[Piece]:
            raise ContextFull(9000, 4096)
            yield

        model.answer = full
        refusal = ask(here)

        assert refusal.status_code == 400
        assert refusal.json()["error"]["message"].startswith("prompt is too long: ")

    def test_an_answer_that_does_not_satisfy_its_schema(self, here: Here, model: Played) -> None:
        model.answer = lambda asked: '{"x": "one"}'
        schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
        config = {"format": {"type": "json_schema", "schema": schema}}

        assert ask(here, output_config=config).status_code == 422

    def test_what_is_no_message_at_all(self, here: Here) -> None:
        for answer, status in (
            (httpx.post(f"{here.url}/v1/messages", content=b"{"), 400),
            (httpx.get(f"{here.url}/v1/messages"), 405),
            (here.post("/v1/messages/batches", {}), 404),
            (here.post("/messages", {}), 400),
        ):
            assert answer.status_code == status
            assert answer.json()["type"] == "error"

    def test_a_wrong_key_is_told_in_its_own_words(self) -> None:
        rules = Rules(("secret",))
        refusal = ask_guard(rules, "POST", "/v1/messages", x_api_key="wrong")

        assert refusal.json()["error"]["type"] == "authentication_error"
        assert ask_guard(rules, "POST", "/v1/messages", x_api_key="secret").text == "in"


def test_pings_come_while_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from qwen_cli.serve.scheduling import threads

    def slow(asked: Asked) -> Iterator[Piece]:
        time.sleep(0.3)
        yield Piece("four")
        yield end()

    monkeypatch.setattr(threads, "QUIET", 0.1)
    with serving(Played(slow)) as here:
        came = [one["type"] for one in events(here)]

    assert came[0] == "ping"
    assert came[-1] == "message_stop"
