"""No request stops the others: what is asked for in vain is not fetched, who waits holds no thread of
another, and work ends with the client that it is for."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from PIL import Image

from qwen_cli.engines.core.base import Capabilities, Piece
from qwen_cli.media import images as pictures
from qwen_cli.serve.api import body as api_body
from qwen_cli.serve.api import chat_request, sse
from qwen_cli.serve.scheduling import threads
from tests.serve.played import Asked, Here, Played, end, serving

HELLO = [{"role": "user", "content": "hello"}]
SEEING = Capabilities(4096, vision=True, video=True, tools=True)


def png(wide: int, high: int) -> bytes:
    """A white picture: 32 MB of pixels are a few kB."""
    written = io.BytesIO()
    Image.new("1", (wide, high)).save(written, "PNG")
    return written.getvalue()


def inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def looking(*urls: str, **more: Any) -> dict[str, Any]:
    """A request about pictures."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "what?"}]}], **more}


class Pictures:
    """A web server that gives its picture once it is `open`; `asked` says how often it was asked."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.open.wait(60)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(png(56, 56))

            def log_message(self, *anything: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *anything: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/x.png"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Pictures]:
    pictures = Pictures()
    yield pictures
    pictures.close()


def until(true: Callable[[], bool]) -> None:
    late = time.monotonic() + 20
    while not true():
        assert time.monotonic() < late
        time.sleep(0.01)


class TestPictures:
    @pytest.mark.parametrize("kind", ["image_url", "video_url"])
    def test_a_model_that_sees_nothing_is_asked_first(
        self, web: Pictures, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        web.open.set()
        monkeypatch.setattr(Image, "open", None)
        with serving(Played(), allow_local_urls=True) as here:
            for url in (web.url, inline(png(10, 10))):
                body = {"messages": [{"role": "user", "content": [{"type": kind, kind: {"url": url}}]}]}
                answer = here.post("/v1/chat/completions", body)

                assert answer.status_code == 400
                assert "sees no pictures" in answer.json()["error"]["message"]
        assert not web.asked

    @pytest.mark.parametrize("wrong", ["file:///etc/passwd", "/etc/passwd", "ftp://x/y", ""])
    def test_nothing_is_fetched_beside_what_is_no_address(self, web: Pictures, wrong: str) -> None:
        web.open.set()
        with serving(Played(capabilities=SEEING), allow_local_urls=True) as here:
            answer = here.post("/v1/chat/completions", looking(web.url, wrong))

        assert answer.status_code == 400
        assert not web.asked

    def test_all_are_measured_before_one_is_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        decoded = []
        plain = pictures._plain
        monkeypatch.setattr(chat_request, "_MOST_PIXELS", 3_000_000)
        monkeypatch.setattr(pictures, "_plain", lambda *given: decoded.append(1) or plain(*given))
        million = inline(png(1000, 1000))
        with serving(Played(capabilities=SEEING)) as here:
            fits = here.post("/v1/chat/completions", looking(*[million] * 3))
            assert (fits.status_code, len(decoded)) == (200, 3)

            too_large = here.post("/v1/chat/completions", looking(*[million] * 4))
            assert too_large.status_code == 400
            assert "4,000,000 pixels together, more than 3,000,000" in too_large.json()["error"]["message"]
            assert len(decoded) == 3

    def test_so_are_frames_and_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chat_request, "_MOST_PIXELS", 3_000_000)
        moving, scan, document = io.BytesIO(), io.BytesIO(), io.BytesIO()
        frames = [Image.new("1", (1000, 500), number % 2) for number in range(8)]
        frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
        frames[0].save(scan, "TIFF", save_all=True, append_images=frames[1:])
        frames[0].save(document, "PDF", save_all=True, append_images=frames[1:], resolution=200)
        with serving(Played(capabilities=SEEING)) as here:
            for data in (moving, scan, document):
                answer = here.post("/v1/chat/completions", looking(inline(data.getvalue())))

                assert answer.status_code == 400
                assert "pixels together, more than 3,000,000" in answer.json()["error"]["message"]

    def test_twenty_bombs_take_no_room(self) -> None:
        """Each is within what one picture may have, all together 3.4 thousand million pixels."""
        script = """
import base64, resource, sys
from types import SimpleNamespace
from qwen_cli.engines.core.base import Capabilities
from qwen_cli.errors import UsageError
from qwen_cli.media import images, inputs, pdf
from qwen_cli.serve.api import chat_request
from qwen_cli.tasks.vision import prepare as vision
url = "data:image/png;base64," + base64.b64encode(sys.stdin.buffer.read()).decode()
content = [{"type": "image_url", "image_url": {"url": url}}] * 20
engine = SimpleNamespace(capabilities=Capabilities(4096, vision=True), model="x")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    chat_request.with_visual_parts([{"role": "user", "content": content}], engine, allow_local_urls=False,
                       scratch=None, stopped=lambda: False)
except UsageError as fault:
    print(fault)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=png(13_000, 13_000),
            capture_output=True,
            timeout=120,
            check=True,
        )
        said, peak = done.stdout.decode().splitlines()

        assert "3,380,000,000 pixels together" in said
        assert int(peak) << 10 < 100 << 20

    def test_a_place_comes_before_a_fetch(self, web: Pictures) -> None:
        """One runs and one waits; the third is turned away before its picture is asked for."""
        with (
            serving(Played(capabilities=SEEING), parallel=1, max_queue=1, allow_local_urls=True) as here,
            ThreadPoolExecutor(4) as clients,
        ):
            first = [clients.submit(here.post, "/v1/chat/completions", looking(web.url)) for _ in range(2)]
            until(lambda: web.asked == 2)
            turned_away = here.post("/v1/chat/completions", looking(web.url))

            assert turned_away.status_code == 429
            assert turned_away.headers["retry-after"]
            assert web.asked == 2
            assert httpx.get(f"{here.url}/health").status_code == 200
            web.open.set()
            assert [one.result().status_code for one in first] == [200, 200]
            assert here.post("/v1/chat/completions", looking(web.url)).status_code == 200

    @pytest.mark.parametrize("more", [{}, {"n": 2}, {"stream": True}, {"n": 3, "stream": True}], ids=str)
    def test_a_client_that_leaves_ends_its_fetch(self, web: Pictures, more: dict[str, Any]) -> None:
        engine = Played(capabilities=SEEING)
        with serving(engine, parallel=1, max_queue=0, allow_local_urls=True) as here:
            with pytest.raises(httpx.ReadTimeout):
                here.post("/v1/chat/completions", looking(web.url, **more), timeout=1)
            until(lambda: not [one for one in threading.enumerate() if one.name == "fetch"])
            until(lambda: here.post("/v1/chat/completions", {"messages": HELLO}).status_code == 200)

        assert len(engine.seen) == 1  # the model was never asked about the picture


QUEUED = (
    *("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions", "/v1/math", "/infill"),
    *("/completion", "/completions", "/chat/completions", "/api/chat", "/api/generate"),
)


@contextmanager
def full(here: Here, going: threading.Event) -> Iterator[None]:
    """Have all places of a server taken, whose model waits for `going`."""
    with ThreadPoolExecutor(2) as clients:
        sent = [clients.submit(here.post, "/v1/chat/completions", {"messages": HELLO}) for _ in range(2)]
        try:
            until(lambda: here.lanes._inside == 2)
            yield
        finally:
            going.set()
        assert [one.result().status_code for one in sent] == [200, 200]


class TestTurnedAway:
    """Who finds no place is told before anybody has looked at what he sends."""

    def test_neither_read_nor_parsed(self) -> None:
        going = threading.Event()
        with serving(Played(lambda asked: str(going.wait(20))), parallel=1, max_queue=1) as here:
            with full(here, going):
                for path in QUEUED:
                    answer = httpx.post(f"{here.url}{path}", content=b"no JSON", timeout=20)

                    assert answer.status_code == 429, path
                    assert answer.headers["retry-after"]
                place = here.url.removeprefix("http://").split(":")
                with socket.create_connection((place[0], int(place[1])), timeout=20) as one:
                    head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n"
                    one.sendall(head.encode())  # and nothing more
                    assert one.recv(100).startswith(b"HTTP/1.1 429")
                for path in ("/tokenize", "/v1/chat/completions/input_tokens", "/v1/messages/count_tokens"):
                    body = {"content": "a", "messages": HELLO}
                    assert here.post(path, body).status_code == 200, path  # they wait for nobody
            assert here.post("/v1/chat/completions", {"messages": HELLO}).status_code == 200
            assert free(here)

    def test_of_a_flood_that_comes_at_once_few_are_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        going, checked = threading.Event(), []
        read = chat_request.read

        def slowly(sent: Any) -> Any:
            checked.append(1)
            time.sleep(0.02)
            return read(sent)

        monkeypatch.setattr(chat_request, "read", slowly)
        monkeypatch.setattr(api_body, "_READERS", ThreadPoolExecutor(2))
        with (
            serving(Played(lambda asked: str(going.wait(20))), parallel=1, max_queue=1) as here,
            ThreadPoolExecutor(60) as clients,
        ):
            body = {"messages": HELLO}
            sent = [clients.submit(here.post, "/v1/chat/completions", body) for _ in range(60)]
            until(lambda: sum(one.done() for one in sent) == 58)
            going.set()
            answers = sorted(one.result().status_code for one in sent)

        assert answers == [200] * 2 + [429] * 58
        assert len(checked) < 30


class TestChoices:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
    def test_requests_that_hold_all_threads_are_answered(
        self, path: str, stream: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Choices that had to wait for a thread of the requests' own pool waited for ever: 540 requests with
        two choices and a slow picture were enough for 512 threads."""
        few = ThreadPoolExecutor(2)
        monkeypatch.setattr(threads, "THREADS", few)
        monkeypatch.setattr(sse, "THREADS", few, raising=False)
        with serving(Played(), max_queue=64) as here, ThreadPoolExecutor(8) as clients:
            body = {"messages": HELLO, "prompt": "a", "n": 2, "stream": stream, "logprobs": None}
            if path == "/v1/chat/completions":
                body["logprobs"] = True  # without them, and without a stream, they are sampled together
            sent = [clients.submit(here.post, path, body, 20) for _ in range(8)]

            assert [one.result().status_code for one in sent] == [200] * 8

    @pytest.mark.parametrize("n", [1, 2, 5, 73, 128])
    def test_as_many_choices_as_openai_allows(self, n: int) -> None:
        """From 73 on an idle server turned them away: they were more than its lanes and its queue."""
        with serving(Played(lambda asked: time.sleep(0.01) or "yes"), parallel=2, max_queue=4) as here:
            chunks = here.client.chat.completions.create(model="", messages=HELLO, n=n, stream=True)  # type: ignore[arg-type]
            said = [(c.choices[0].index, c.choices[0].delta.content) for c in chunks]

        assert sorted(index for index, text in said if text == "yes") == list(range(n))

    def test_who_has_many_choices_holds_one_place(self) -> None:
        going = threading.Event()

        def slowly(asked: Asked) -> Iterator[Piece]:
            assert going.wait(20)
            yield Piece("yes")
            yield end()

        with serving(Played(slowly), parallel=2, max_queue=1) as here, ThreadPoolExecutor(4) as clients:

            def ask(n: int) -> Future[httpx.Response]:
                body = {"messages": HELLO, "n": n, "stream": True}
                return clients.submit(here.post, "/v1/chat/completions", body)

            sent = [ask(8)]
            until(lambda: here.lanes.running == 2)
            sent += [ask(8), ask(1)]
            until(lambda: here.lanes.waiting == 3)
            assert here.post("/v1/chat/completions", {"messages": HELLO}).status_code == 429
            going.set()
            assert [one.result().status_code for one in sent] == [200] * 3

    def test_a_client_that_leaves_ends_all_of_them(self) -> None:
        engine = Played(lambda asked: (Piece("x") for _ in iter(lambda: time.sleep(0.01), 1)))
        with serving(engine, parallel=2, max_queue=4) as here:
            body = {"messages": HELLO, "n": 6, "stream": True}
            with httpx.stream("POST", f"{here.url}/v1/chat/completions", json=body) as answer:
                next(answer.iter_bytes())
            until(lambda: not here.lanes.running and not here.lanes.waiting)
            until(lambda: not [one for one in threading.enumerate() if one.name == "choice"])

        assert len(engine.seen) == 2  # the other four were not begun

    def test_one_that_fails_ends_the_others(self) -> None:
        def failing(asked: Asked) -> list[Piece]:
            if asked.sampling.seed == 3:
                raise RuntimeError("broken")
            return [Piece("x"), end()]

        with serving(Played(failing), parallel=1) as here:
            body = {"messages": HELLO, "n": 5, "seed": 1, "stream": True}
            text = here.post("/v1/chat/completions", body).text
            assert "the server failed" in text
            assert "[DONE]" not in text
            assert here.post("/v1/chat/completions", {"messages": HELLO}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/completion", "/api/chat"])
def test_what_no_context_can_hold_is_not_counted(path: str) -> None:
    """To tokenize tens of megabytes stops everybody for seconds."""
    engine = Played()
    with serving(engine) as here:
        words = "word " * 300_000
        asked = {"messages": [{"role": "user", "content": words}], "prompt": words}
        answer = here.post(path, {**asked, "stream": False, "model": "played"})

        assert answer.status_code == 400
        assert "4,096" in answer.text
        assert not engine.seen
        assert free(here)


@pytest.mark.parametrize(
    "path", ["/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1/chat/completions/input_tokens"]
)
def test_nor_is_it_where_nothing_but_the_count_is_asked_for(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    monkeypatch.setattr(Played, "count_tokens", lambda self, prompt, **rest: counted.append(prompt) or 7)
    with serving(Played()) as here:
        for words, status in (("word " * 300_000, 400), ("word " * 100_000, 200)):
            said = [{"role": "user", "content": words}]
            answer = here.post(path, {"model": "played", "messages": said, "input": words})

            assert answer.status_code == status, answer.text
            assert (("4,096" in answer.text) is (status == 400)) and (len(counted) == (status == 200))


def test_everything_is_given_back(web: Pictures) -> None:
    """Errors, refusals and clients that leave: the places are free afterwards."""
    web.open.set()
    with serving(Played(capabilities=SEEING), parallel=1, max_queue=1, allow_local_urls=True) as here:
        for _ in range(4):
            for body in (
                looking("data:image/png;base64,AAAA"),
                looking("http://127.0.0.1:1/x.png"),
                looking(web.url, n=3, stream=True),
                {"messages": []},
                {"messages": HELLO, "n": 2},
                {"messages": HELLO, "n": 2, "logprobs": True},
            ):
                here.post("/v1/chat/completions", body)
            here.post("/v1/completions", {"prompt": ["a", "b"], "best_of": 2})
        assert free(here)


def free(here: Here) -> bool:
    return here.lanes._inside == 0 and not here.lanes.running and not here.lanes.waiting
