"""What may come over a connection before anybody has shown a key."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import httpx
import pytest

from qwen_cli.serve import connection
from qwen_cli.serve.sparing import LoopLog, SparingFilter
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


NOWHERE = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1000000\r\n"])
def test_a_body_that_was_answered_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, here: Here, head: bytes
) -> None:
    """It is answered at its head: a key that is wrong, a route that is not there."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with closing(connected(here)) as one:
        one.sendall(NOWHERE + head + b"\r\n")
        assert b"404" in one.recv(1000)
        assert is_closed_within(one, b"1\r\n \r\n", 5)


def test_nor_one_without_end(monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    monkeypatch.setattr(connection, "MOST_REST", 1_000_000)
    with closing(connected(here)) as one:
        one.sendall(NOWHERE + b"Content-Length: 1000000000\r\n\r\n")
        assert b"404" in one.recv(1000)
        assert is_closed_after(one, b"a" * 100_000, 1_000)


def test_who_sends_all_of_it_reads_the_answer_and_goes_on(here: Here) -> None:
    with closing(connected(here)) as one:
        one.sendall(NOWHERE + b"Content-Length: 300000\r\n\r\n")
        one.sendall(b"a" * 300_000)
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        came = b""
        while b"200 OK" not in came:
            came += one.recv(1000)
        assert b"404" in came


def test_blank_lines_keep_nothing_open(monkeypatch: pytest.MonkeyPatch, here: Here) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with closing(connected(here)) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in one.recv(1000)
        assert is_closed_within(one, b"\r\n", 5)


def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    with serving(Played(lambda asked: "a" * 20_000_000)) as here, closing(connected(here)) as one:
        body = b'{"prompt": "a"}'
        one.sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\n")
        one.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        while not here.loads or here.lanes.running:
            time.sleep(0.01)
        time.sleep(1.5)
        came = 0
        with suppress(OSError):  # reset
            while data := one.recv(1 << 20):
                came += len(data)
        assert came < 15_000_000


def test_requests_are_not_heaped_up(here: Here) -> None:
    with closing(connected(here)) as one:
        assert is_closed_after(one, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000, 1)


def test_some_sent_ahead_are_answered(here: Here) -> None:
    with closing(connected(here)) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        came = b""
        while came.count(b"200 OK") < 20:
            came += one.recv(1 << 16)


def test_of_too_many_the_one_that_waits_longest_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is being answered is not, however old it is."""
    monkeypatch.setattr(connection, "_most_connections", lambda: 20)
    monkeypatch.setattr(connection, "GRACE", 0.3)
    going = threading.Event()

    def slow(asked: object) -> str:
        going.wait(20)
        return "yes"

    with serving(Played(slow)) as here, ThreadPoolExecutor(1) as clients:
        asked = clients.submit(here.post, "/completion", {"prompt": "a"})
        while not here.lanes.running:
            time.sleep(0.01)
        held = [connected(here) for _ in range(60)]
        for one in held:
            one.settimeout(0)
        assert httpx.get(f"{here.url}/health").status_code == 200  # in the flood
        until = time.monotonic() + 20
        while sum(map(is_open, held)) > 19 and time.monotonic() < until:
            time.sleep(0.05)
        assert httpx.get(f"{here.url}/health").status_code == 200
        left = [is_open(one) for one in held]
        assert left == sorted(left)  # the first were closed
        assert sum(left) in (18, 19)  # with the one that asks, and the other that did at that moment
        going.set()
        assert asked.result().json()["content"] == "yes"
        for one in held:
            one.close()


def is_open(one: socket.socket) -> bool:
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def is_closed_within(one: socket.socket, drip: bytes, seconds: float) -> bool:
    """Whether the server closes although something always comes."""
    late = time.monotonic() + seconds
    while time.monotonic() < late:
        try:
            one.sendall(drip)
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_faults_of_the_loop_are_told_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    async def many() -> None:
        loop, log = asyncio.get_running_loop(), LoopLog()
        for _ in range(1000):
            log(
                loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "files")}
            )
        log(loop, {"message": "another"})

    asyncio.run(many())

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["socket.accept() out of system resource: [Errno 24] files", "another"]


def test_a_fault_that_clients_can_cause_fills_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(asked: object) -> str:
        raise RuntimeError("broken")

    with serving(Played(fails)) as here:
        for _ in range(5):
            assert here.post("/completion", {"prompt": "a"}).status_code == 500

    assert capsys.readouterr().err.count("RuntimeError: broken") == 1


def test_neither_do_requests_that_are_no_http() -> None:
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid HTTP request", (), None)
    log = SparingFilter()

    assert [log.filter(record) for _ in range(3)] == [True, False, False]
