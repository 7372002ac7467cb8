"""Ollama's routes, with the fields that its clients write and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from qwen_cli.engines.core.base import Piece, ToolCall, call_id
from tests.serve.played import Asked, Here, Played, end, serving

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def said(asked: Asked) -> list[Piece]:
    if asked.tools and asked.messages[-1]["role"] == "user":
        return [
            Piece(kind="tool_call", call=ToolCall(call_id(), "weather", {"city": "Rome"})),
            end("tool_calls"),
        ]
    if asked.schema:
        return [Piece('{"year": 2024}'), end()]
    thought = [Piece("hm", "thinking")] if asked.thinking else []
    return [*thought, Piece("four"), Piece("teen"), end()]


@pytest.fixture
def model() -> Played:
    return Played(said)


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def chat(here: Here, **fields: Any) -> httpx.Response:
    return here.post("/api/chat", {"model": "played", "messages": HELLO, "stream": False, **fields})


class TestChat:
    def test_whole(self, here: Here, model: Played) -> None:
        answer = chat(here).json()

        assert answer["message"] == {"role": "assistant", "content": "fourteen"}
        assert (answer["done"], answer["done_reason"], answer["model"]) == (True, "stop", "played")
        assert (answer["prompt_eval_count"], answer["eval_count"]) == (10, 3)
        assert answer["created_at"].endswith("Z")
        assert model.seen[0].messages == HELLO

    def test_it_streams_where_nothing_is_said(self, here: Here) -> None:
        *pieces, last = lines(here.post("/api/chat", {"model": "played", "messages": HELLO}))

        assert [piece["message"]["content"] for piece in pieces] == ["four", "teen"]
        assert [piece["done"] for piece in pieces] == [False, False]
        assert (last["done"], last["message"]["content"], last["eval_count"]) == (True, "", 3)

    def test_options(self, here: Here, model: Played) -> None:
        options = {
            "num_predict": 5,
            "temperature": 0,
            "seed": 3,
            "stop": ["x"],
            "top_k": 4,
            "num_ctx": 2048,
            "num_gpu": 9,
        }
        chat(here, options=options)

        sampling = model.seen[0].sampling
        assert (sampling.max_tokens, sampling.temperature, sampling.seed) == (5, 0, 3)
        assert (sampling.stop, sampling.top_k) == (("x",), 4)

    @pytest.mark.parametrize("limit", [-1, -2])
    def test_no_limit(self, here: Here, model: Played, limit: int) -> None:
        chat(here, options={"num_predict": limit})

        assert model.seen[0].sampling.max_tokens is None

    @pytest.mark.parametrize(
        "fields",
        [
            {"options": {"num_ctx": 8192}},  # it was loaded with 4,096
            {"options": {"num_ctx": "x"}},
            {"options": {"frobnicate": 1}},
            {"options": {"temperature": "hot"}},
            {"options": {"mirostat": 3}},
            {"think": True},  # it cannot
            {"think": "very"},
            {"format": "xml"},
            {"format": {"type": "hiccup"}},
            {"keep_alive": "soon"},
            {"messages": [{"role": "user", "content": "x", "images": [7]}]},
            {"messages": [{"role": "user", "content": "x", "images": [PIXEL]}]},  # it sees nothing
            {"messages": [{"role": "tool", "content": "x", "tool_name": "weather"}]},
            {"messages": [{"role": "wizard", "content": "x"}]},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_what_cannot_be_had(
        self, here: Here, model: Played, fields: dict[str, Any], stream: bool
    ) -> None:
        answer = chat(here, stream=stream, **fields)

        assert answer.status_code == 400
        assert isinstance(answer.json()["error"], str)  # as its clients read it
        assert not model.seen

    @pytest.mark.parametrize(
        "form", ["json", {"type": "object", "properties": {"year": {"type": "integer"}}}], ids=str
    )
    def test_a_form(self, here: Here, model: Played, form: Any) -> None:
        answer = chat(here, format=form).json()

        assert json.loads(answer["message"]["content"]) == {"year": 2024}
        assert model.seen[0].schema == ({"type": "object"} if form == "json" else form)

    def test_tools_and_their_results(self, here: Here, model: Played) -> None:
        message = chat(here, tools=[WEATHER]).json()["message"]
        assert message["tool_calls"] == [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]

        result = {"role": "tool", "tool_name": "weather", "content": "sun"}
        answer = chat(here, tools=[WEATHER], messages=[*HELLO, message, result]).json()

        assert answer["message"]["content"] == "fourteen"
        _, call, told = model.seen[-1].messages
        assert call["tool_calls"][0]["id"] == told["tool_call_id"]
        assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}

    def test_results_belong_to_calls_in_their_order(self, here: Here, model: Played) -> None:
        calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a")]
        results = [{"role": "tool", "tool_name": name, "content": name} for name in ("b", "a", "a")]
        chat(here, messages=[*HELLO, {"role": "assistant", "content": "", "tool_calls": calls}, *results])

        _, said, *told = model.seen[0].messages
        ids = [call["id"] for call in said["tool_calls"]]
        assert [one["tool_call_id"] for one in told] == [ids[1], ids[0], ids[2]]

    def test_thinking(self, model: Played) -> None:
        model.capabilities = replace(model.capabilities, thinking="switch")
        with serving(model) as here:
            answer = chat(here, think=True).json()["message"]
            chat(here, think=False)
            taken = [{"role": "assistant", "content": "four", "thinking": "hm"}]
            chat(here, messages=[*HELLO, *taken, *HELLO])

        assert answer == {"role": "assistant", "content": "fourteen", "thinking": "hm"}
        assert [asked.thinking for asked in model.seen] == [True, False, None]
        assert model.seen[2].messages[1]["reasoning_content"] == "hm"


class TestGenerate:
    def ask(self, here: Here, **fields: Any) -> Any:
        answer = here.post("/api/generate", {"model": "played", "stream": False, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def test_a_prompt_is_a_turn(self, here: Here, model: Played) -> None:
        answer = self.ask(here, prompt="hello", system="be brief")

        assert (answer["response"], answer["done"]) == ("fourteen", True)
        assert model.seen[0].messages == [{"role": "system", "content": "be brief"}, *HELLO]

    def test_a_raw_prompt_is_none(self, here: Here, model: Played) -> None:
        assert self.ask(here, prompt="hello", raw=True)["response"] == "fourteen"
        assert model.seen[0].messages == [{"role": "prompt", "content": "hello"}]

    def test_it_streams(self, here: Here) -> None:
        for raw in (False, True):
            made = lines(here.post("/api/generate", {"model": "played", "prompt": "x", "raw": raw}))
            assert [one["response"] for one in made] == ["four", "teen", ""]

    def test_without_a_prompt_it_loads(self, here: Here, model: Played) -> None:
        answer = self.ask(here)

        assert (answer["response"], answer["done_reason"]) == ("", "load")
        assert here.loads and not model.seen

    @pytest.mark.parametrize("field", ["template", "context"])
    def test_what_cannot_be_had(self, here: Here, field: str) -> None:
        answer = here.post("/api/generate", {"model": "played", "prompt": "x", field: [1]})

        assert answer.status_code == 400
        assert field in answer.json()["error"]


class TestOfTheServer:
    def test_somebody_is_there(self, here: Here) -> None:
        assert "Ollama is running" in httpx.get(here.url).text
        assert httpx.head(here.url).status_code == 200
        assert httpx.get(f"{here.url}/api/version").json()["version"]

    def test_how_long_a_model_stays(self, here: Here) -> None:
        chat(here, keep_alive="1h30m")
        (one,) = httpx.get(f"{here.url}/api/ps").json()["models"]

        assert (one["name"], one["context_length"]) == ("played", 4096)
        chat(here, keep_alive=-1)
        (later,) = httpx.get(f"{here.url}/api/ps").json()["models"]
        assert later["expires_at"] > one["expires_at"]

    def test_it_is_dropped(self, here: Here) -> None:
        answer = here.post("/api/generate", {"model": "played", "keep_alive": 0}).json()

        assert answer["done_reason"] == "unload"
