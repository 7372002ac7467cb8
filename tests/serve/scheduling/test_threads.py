"""Answers that are sent as they come: to who reads, to who does not, and to who has left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

from qwen_cli.serve.api.sse import HOLE, Stencil
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.threads import Running, Streamed


class Work:
    """What an answer is made by, so far as `Streamed` sees it."""

    ended = False

    def end(self) -> None:
        self.ended = True


async def chunks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


def sent_by(send: Any) -> Work:
    work = Work()
    answer = Streamed(chunks(), cast("Any", work), "text/event-stream")

    async def receive() -> Any:
        raise AssertionError("what runs watches the client, the answer does not")

    asyncio.run(asyncio.wait_for(answer({"type": "http"}, receive, send), 5))
    return work


def test_who_reads_gets_all_of_it() -> None:
    got: list[Any] = []

    async def send(message: Any) -> None:
        got.append(message)

    assert sent_by(send).ended
    assert b"".join(message.get("body", b"") for message in got) == b"onetwo"
    assert [message.get("more_body") for message in got] == [None, True, True, False]


def test_who_never_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.05)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    assert sent_by(send).ended


def test_who_has_left_is_no_error() -> None:
    async def send(message: Any) -> None:
        raise OSError("gone")

    assert sent_by(send).ended


class Request:
    """A client that stays."""

    async def receive(self) -> Any:
        await asyncio.sleep(3600)


def test_what_came_before_a_fault_is_given_first() -> None:
    def work() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    async def read() -> list[int]:
        got: list[int] = []
        pieces = Running(cast("Any", Request()), work, lambda: None)
        with pytest.raises(ValueError, match="three"):
            async for value in pieces:
                got.append(value)
        return got

    assert asyncio.run(asyncio.wait_for(read(), 5)) == [1, 2]


def test_a_slow_reader_gets_at_once_what_has_come_meanwhile() -> None:
    async def read() -> list[list[int]]:
        pieces = Running(cast("Any", Request()), lambda: iter(range(5)), lambda: None)
        await asyncio.sleep(0.2)
        return [values async for values in pieces.batches()]

    assert asyncio.run(asyncio.wait_for(read(), 5)) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("text", ['"quoted" \\ and\nbroken', "¿ünïcödé? 你好 🦊", "\x00\x1f</script>"])
def test_a_chunk_from_the_stencil_is_the_one_that_the_types_write(text: str) -> None:
    def written(text: str) -> str:
        choice = Choice(index=0, delta=ChoiceDelta(content=text))
        return ChatCompletionChunk(
            id="1", object="chat.completion.chunk", created=1, model="m", choices=[choice]
        ).model_dump_json()

    assert json.loads(Stencil(written(HOLE)).around(text)) == json.loads(written(text))
