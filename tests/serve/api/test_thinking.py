"""What requests say of thinking and of the template reaches the engine, in its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qwen_cli.engines.core.base import Capabilities
from tests.serve.played import Here, Played, serving

HELLO = [{"role": "user", "content": "hello"}]
EFFORTS = Capabilities(4096, thinking="switch", efforts=("xhigh", "medium", "low"), preserve_thinking=True)
SWITCH = Capabilities(4096, thinking="switch")


@pytest.fixture
def model() -> Played:
    return Played()


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def ask(here: Here, **fields: Any) -> httpx.Response:
    return httpx.post(f"{here.url}/v1/chat/completions", json={"messages": HELLO, **fields}, timeout=30)


@pytest.mark.parametrize(
    ("can", "fields", "thinking", "variables"),
    [
        (EFFORTS, {}, None, {}),
        (EFFORTS, {"reasoning_effort": "low"}, True, {"reasoning_effort": "low"}),
        (EFFORTS, {"reasoning_effort": "high"}, True, {"reasoning_effort": "xhigh"}),  # nearest
        (EFFORTS, {"reasoning_effort": "none"}, False, {}),
        (SWITCH, {"reasoning_effort": "low"}, 1_638, {}),
        (SWITCH, {"reasoning_effort": "high"}, True, {}),
        (
            EFFORTS,
            {"chat_template_kwargs": {"enable_thinking": False, "preserve_thinking": False}},
            False,
            {"preserve_thinking": False},
        ),
        (
            EFFORTS,
            {"chat_template_kwargs": {"reasoning_effort": "medium", "add_vision_id": True}},
            None,
            {"reasoning_effort": "medium", "add_vision_id": True},
        ),
        (
            EFFORTS,
            {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "medium"}},
            True,
            {"reasoning_effort": "low"},
        ),
        (EFFORTS, {"reasoning_effort": "low", "thinking_token_budget": 64}, 64, {"reasoning_effort": "low"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_fields(
    model: Played, here: Here, can: Capabilities, fields: Any, thinking: Any, variables: Any, stream: bool
) -> None:
    model.capabilities = can
    assert ask(here, stream=stream, **fields).status_code == 200
    assert (model.seen[-1].thinking, model.seen[-1].template_kwargs) == (thinking, variables)


@pytest.mark.parametrize("name", ["chat_template", "messages", "add_generation_prompt", "tools"])
def test_a_client_replaces_nothing_of_the_prompt(model: Played, here: Here, name: str) -> None:
    refusal = ask(here, chat_template_kwargs={name: "x"})
    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"] == "chat_template_kwargs"
    assert not model.seen


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_of_past_turns_comes_back(model: Played, here: Here, name: str) -> None:
    turns = [*HELLO, {"role": "assistant", "content": "hi", name: "They greet."}, *HELLO]
    assert ask(here, messages=turns).status_code == 200
    assert model.seen[-1].messages[1] == {
        "role": "assistant",
        "content": "hi",
        "reasoning_content": "They greet.",
    }
    assert ask(here, messages=[{"role": "assistant", "content": "", name: ["x"]}, *HELLO]).status_code == 400
