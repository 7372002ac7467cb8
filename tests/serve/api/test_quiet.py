"""A stream says that it is being worked on, from the moment that its request is taken: clients and proxies
give up on silence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from qwen_cli.engines.core.base import Piece
from qwen_cli.errors import EngineError
from qwen_cli.serve.api import sse
from qwen_cli.serve.scheduling import threads
from tests.serve.played import Asked, Here, Played, end, serving

BODY = {"messages": [{"role": "user", "content": "hi"}], "input": "hi", "stream": True}


def slow(asked: Asked) -> Iterator[Piece]:
    time.sleep(0.35)
    yield Piece("ye")
    time.sleep(0.35)
    yield Piece("s")
    yield end()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(threads, "QUIET", 0.1)
    with serving(Played(slow)) as running:
        yield running


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_before_and_between(here: Here, route: str) -> None:
    text = here.post(route, {"prompt": "hi", **BODY} if route == "/v1/completions" else BODY).text
    before, said, rest = text.partition('ye"')

    assert before.startswith(": ")
    assert said
    assert "\n: " in rest
    kinds = (":", "data: {", "data: [DONE]", "event: ")
    assert all(line.startswith(kinds) for line in text.split("\n") if line)


def test_what_fails_later_is_told_in_the_stream() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        raise EngineError("it broke", "try again")

    async def read() -> list[bytes]:
        return [chunk async for chunk in sse.told(chunks())]

    first, last = asyncio.run(read())
    assert first == b"one"
    assert json.loads(last.removeprefix(b"data: "))["error"]["message"] == "it broke. Try again"


def test_a_whole_answer_is_none_the_worse(here: Here) -> None:
    answer = here.post("/v1/chat/completions", {**BODY, "stream": False})

    assert answer.json()["choices"][0]["message"]["content"] == "yes"


def test_what_fails_at_once_has_a_status(here: Here) -> None:
    assert here.post("/v1/responses", {**BODY, "temperature": 9}).status_code == 400
