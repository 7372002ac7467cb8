"""A server for the tests of a file whose model thinks, then calls a tool or answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qwen_cli.engines.core.base import Capabilities, Piece, ToolCall, call_id
from tests.serve.played import Asked, Here, Played, end, serving


def said(asked: Asked) -> list[Piece]:
    """It thinks where it may, and calls a tool where there is one and nothing came of it yet."""
    thought = [] if asked.thinking is False else [Piece("Hm, ", "thinking"), Piece("easy.", "thinking")]
    if asked.tools and asked.messages[-1]["role"] == "user":
        calls = [ToolCall(call_id(), "weather", {"city": city}) for city in ("Paris", "Rome")]
        return [*thought, *(Piece(kind="tool_call", call=call) for call in calls), end("tool_calls")]
    return [*thought, Piece("fo"), Piece("ur"), end()]


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[Here, Played]]:
    model = Played()
    with serving(model) as running:
        yield running, model


@pytest.fixture
def model(started: tuple[Here, Played]) -> Played:
    """The model, as if it had never been asked."""
    model = started[1]
    model.answer = said
    model.capabilities = Capabilities(4096, thinking="switch", tools=True, logprobs=True, constrained=True)
    model.seen.clear()
    return model


@pytest.fixture
def here(started: tuple[Here, Played], model: Played) -> Here:
    return started[0]
