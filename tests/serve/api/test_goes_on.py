"""A conversation that ends with the assistant is gone on with, whichever API it comes by: as at llama.cpp,
Ollama and Anthropic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.serve.played import Asked, Here, Played

CUT = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}]


@pytest.fixture(autouse=True)
def renders(model: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model tells its prompts, as both local engines do."""

    def render(messages: Any, **ways: Any) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"

    model.capabilities = replace(model.capabilities, render=True)
    monkeypatch.setattr(model, "render", render)
    model.answer = lambda asked: " three."


def ask(here: Here, messages: Any = CUT, **fields: Any) -> httpx.Response:
    return here.post("/v1/chat/completions", {"messages": messages, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"continue_final_message": True},
        {"continue_final_message": True, "add_generation_prompt": False},
        {"n": 2},
        {"reasoning_effort": "none"},
    ],
)
def test_the_model_sees_it_as_its_own_beginning(here: Here, model: Played, fields: Any) -> None:
    answer = ask(here, **fields)

    assert answer.json()["choices"][0]["message"]["content"] == " three."
    expected = Asked([{"role": "prompt", "content": "<user>Count.<assistant>One, two,"}])
    assert all(asked.messages == expected.messages for asked in model.seen)


def test_as_parts_too(here: Here, model: Played) -> None:
    parts = [{"type": "text", "text": "One, "}, {"type": "text", "text": "two,"}]
    ask(here, [CUT[0], {"role": "assistant", "content": parts}])

    assert model.seen[0].messages[0]["content"].endswith("<assistant>One, two,")


def test_streamed(here: Here) -> None:
    assert '" three."' in ask(here, stream=True).text


def test_at_the_other_routes(here: Here, model: Played) -> None:
    here.post("/v1/messages", {"messages": CUT, "max_tokens": 9})
    here.post("/v1/responses", {"input": CUT})

    assert [asked.messages[0]["content"] for asked in model.seen] == ["<user>Count.<assistant>One, two,"] * 2


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        (CUT, {"continue_final_message": False}),
        (CUT, {"add_generation_prompt": True}),
        (CUT, {"continue_final_message": True, "add_generation_prompt": True}),
        (CUT[:1], {"continue_final_message": True}),
        (CUT, {"response_format": {"type": "json_object"}}),
    ],
)
def test_what_cannot_be_is_refused(here: Here, model: Played, messages: Any, fields: Any) -> None:
    assert ask(here, messages, **fields).status_code == 400
    assert not model.seen


def test_what_says_the_usual_is_not(here: Here, model: Played) -> None:
    fields = {"continue_final_message": False, "add_generation_prompt": True}

    assert ask(here, CUT[:1], **fields).status_code == 200
    assert model.seen[0].messages == CUT[:1]
