"""What may come over a connection before anybody has shown a key."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from qwen_cli.serve import connection
from qwen_cli.serve.process import SparingLog
from tests.serve.played import Here, Played, serving


@pytest.fixture
def here() -> Iterator[Here]:
    with serving(Played()) as running:
        yield running


def connected(here: Here) -> socket.socket:
    host, port = here.url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)))
    made.settimeout(20)
    return made


def is_closed_after(one: socket.socket, data: bytes, times: int) -> bool:
    """Whether the server has closed before all was sent, or says nothing more."""
    try:
        for _ in range(times):
            one.sendall(data)
        while one.recv(1 << 16):
            continue
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@pytest.mark.parametrize("line", [b"X-A: " + b"a" * 50_000 + b"\r\n", b"a" * 50_000], ids=["lines", "a line"])
@pytest.mark.parametrize("begin", [b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /health?"])
def test_a_head_without_end_is_ended(here: Here, begin: bytes, line: bytes) -> None:
    with closing(connected(here)) as one:
        one.sendall(begin)
        assert is_closed_after(one, line, 40)
    assert httpx.get(f"{here.url}/health").status_code == 200


def test_also_of_a_further_request(here: Here) -> None:
    with closing(connected(here)) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in one.recv(1 << 16)
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert is_closed_after(one, b"a" * 50_000, 40)


def test_a_long_body_is_no_head(here: Here) -> None:
    answer = here.post("/tokenize", {"content": "a" * 400_000})

    assert len(answer.json()["tokens"]) == 400_000


def test_long_headers_within_bounds_are_taken(here: Here) -> None:
    answer = httpx.get(f"{here.url}/health", headers={"X-Long": "a" * 40_000})

    assert answer.status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: x\r\nX: y\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, here: Here, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with closing(connected(here)) as one:
        began = time.monotonic()
        one.sendall(sent)
        assert one.recv(1000) == b""
        assert time.monotonic() - began < 10


def test_an_answer_that_takes_longer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)

    def slow(asked: object) -> str:
        time.sleep(0.6)
        return "yes"

    with serving(Played(slow)) as here:
        assert here.post("/completion", {"prompt": "a"}).json()["content"] == "yes"


def test_faults_of_the_loop_are_told_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    async def many() -> None:
        loop, log = asyncio.get_running_loop(), SparingLog()
        for _ in range(1000):
            log(
                loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "files")}
            )
        log(loop, {"message": "another"})

    asyncio.run(many())

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["socket.accept() out of system resource: [Errno 24] files", "another"]
