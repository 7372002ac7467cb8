"""Answers that are sent as they come: to who reads, to who does not, and to who has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from qwen_cli.serve import running
from qwen_cli.serve.running import Streamed


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
    monkeypatch.setattr(running, "PATIENCE", 0.05)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    assert sent_by(send).ended


def test_who_has_left_is_no_error() -> None:
    async def send(message: Any) -> None:
        raise OSError("gone")

    assert sent_by(send).ended
