"""Filling in through servers: a real llama.cpp server, and what a server without one's marks is sent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from programs import is_fibonacci
from scripted import Scripted

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.remote.engine import Remote
from qwen_cli.errors import UsageError
from qwen_cli.tasks.fim import complete
from qwen_cli.tasks.fim.complete import Hole

HOLE = Hole("def fib(n):\n    if n < 2:\n        return n\n    return ", "\n", "fib.py")

_SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.verbosity, params.n_parallel = sys.argv[1], 1024, -1, 1
params.model_alias = ["some-model"]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address(starter_gguf: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(starter_gguf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait(timeout=30)


def test_a_server_is_sent_the_layout_whatever_it_calls_its_model(address: str) -> None:
    with Remote(address) as engine:
        assert engine.model == "some-model"
        assert is_fibonacci(HOLE, complete.complete(engine, HOLE, mode="line").text)


def test_a_model_with_unknown_marks_is_asked_through_infill(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Remote, "count_tokens", lambda self, text: 3)  # its tokenizer has other marks
    with Remote(address) as engine:
        middle = complete.complete(engine, HOLE, mode="line")
    assert is_fibonacci(HOLE, middle.text) and "\n" not in middle.text
    assert middle.stop == "line"


@pytest.fixture
def completions() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of another kind: it lists a model and completes; what it was asked is kept."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

        def do_GET(self) -> None:
            self.answer(
                "application/json", {"object": "list", "data": [{"id": "codestral", "object": "model"}]}
            )

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            choice = {"index": 0, "text": " a + b", "finish_reason": "stop"}
            chunk = {"id": "1", "created": 1, "model": "m", "object": "text_completion", "choices": [choice]}
            self.answer("text/event-stream", chunk)

        def answer(self, kind: str, body: dict[str, Any]) -> None:
            text = json.dumps(body)
            data = (f"data: {text}\n\ndata: [DONE]\n\n" if "event" in kind else text).encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    server.shutdown()
    server.server_close()


def test_elsewhere_the_suffix_goes_beside_the_prompt(
    completions: tuple[str, list[dict[str, Any]]],
) -> None:
    address, asked = completions
    with Remote(address) as engine:
        middle = complete.complete(
            engine, Hole("def add(a, b):\n    return ", "\n"), sampling=Sampling(max_tokens=9)
        )
    assert middle.text == "a + b"
    assert asked[0]["prompt"] == "def add(a, b):\n    return"
    assert asked[0]["suffix"] == "\n"
    assert asked[0]["max_tokens"] == 9
    assert asked[0]["temperature"] == 0


def test_a_model_that_cannot_is_refused_before_it_is_asked() -> None:
    talker = Scripted(context=512)
    talker.model = "qwq:32b"
    with pytest.raises(UsageError, match=r"qwq:32b was not trained.*qwen2\.5-coder"):
        complete.complete(talker, HOLE)
