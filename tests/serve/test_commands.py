"""`qwen serve`, `qwen ps`, `qwen stop`: how a server begins, is seen, and ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from served import Server, serving

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(starter_gguf: Path) -> Iterator[Run]:
    """The program, in a runtime folder of its own; a server that was left is stopped."""
    runtime = tempfile.mkdtemp(prefix="qs-")

    def qwen(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "qwen_cli", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": runtime, **environ},
            timeout=120,
            check=False,
        )

    yield qwen
    if any(Path(runtime).iterdir()):
        qwen("stop", "--now")
    shutil.rmtree(runtime, ignore_errors=True)


def test_in_the_background_seen_used_and_stopped(run: Run) -> None:
    began = run("serve", "starter", "--port", "0", "--context", "1024", "--daemon", "--api-key", "secret")
    assert began.returncode == 0, began.stderr
    seen = json.loads(run("ps", "--json").stdout)
    table = run("ps")
    again = run("serve", "starter", "--port", "0", "--daemon")
    said = run("chat", "What is the capital of France? One word.", "-t", "0", "--max-tokens", "5")

    assert seen["address"] in began.stderr
    assert [(m["model"], m["engine"], m["context"]) for m in seen["models"]] == [
        ("starter", "llamacpp", 1024)
    ]
    assert "starter" in table.stdout
    assert "0.5 GB" in table.stdout
    assert (again.returncode, "runs already" in again.stderr) == (1, True)
    assert "Paris" in said.stdout and said.stdout.count("\n") == 1
    headers = {"Authorization": "Bearer secret"}
    assert httpx.get(f"{seen['address']}/v1/models", headers=headers).status_code == 200

    stopped = run("stop")

    assert stopped.returncode == 0
    assert run("ps").returncode == 1
    assert run("stop").returncode == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{seen['address']}/health")


def test_a_background_server_that_cannot_start_says_why(run: Run) -> None:
    failed = run("serve", "/nowhere/model.gguf", "--daemon")

    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "there is no file or folder /nowhere/model.gguf" in failed.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--host", "0.0.0.0"), "a key is needed"),
        (("--host", "0.0.0.0", "--no-key"), "a key is needed"),
        (("--no-key", "--api-key", "x"), "exclude each other"),
        (("--api-key", " "), "--api-key is empty"),
        (("-m", "starter"), "named twice"),
        (("--endpoint", "http://localhost:1"), "leave out --endpoint"),
        (("--host", "no.such.host.invalid", "--api-key", "x"), "is no address"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, flags: tuple[str, ...], told: str) -> None:
    refused = run("serve", "starter", *flags)

    assert refused.returncode == 2
    assert told in refused.stderr.lower()
    assert refused.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run("serve", "starter", "--port", port)

    assert refused.returncode == 2
    assert port in refused.stderr
    assert "--port" in refused.stderr


@pytest.fixture(scope="module")
def narrow(starter_gguf: Path) -> Iterator[Server]:
    """One request at a time, one may wait."""
    with serving("--context", "2048", "--parallel", "1", "--max-queue", "1") as running:
        yield running


LONG: dict[str, Any] = {
    "model": "starter",
    "prompt": "one, two, three, four,",
    "temperature": 0,
    "stream": True,
}


def idle(server: Server) -> None:
    """Wait until the server computes for nobody."""
    load(server, running=0, waiting=0)


def load(server: Server, *, running: int, waiting: int) -> None:
    """Wait until so many requests are answered and so many wait in the queue."""
    wanted = (f'qwen_running{{model="starter"}} {running}.0', f'qwen_waiting{{model="starter"}} {waiting}.0')
    until = time.monotonic() + 60
    while True:
        text = httpx.get(f"{server.url}/metrics", headers=server.headers).text
        if all(line in text for line in wanted):
            return
        assert time.monotonic() < until, text
        time.sleep(0.05)


class TestLoad:
    def test_who_does_not_fit_the_queue_is_told_when_to_come_back(self, narrow: Server) -> None:
        running = narrow.client.completions.create(**LONG, max_tokens=1500)
        next(iter(running))
        waiting = threading.Thread(
            target=lambda: narrow.client.completions.create(**{**LONG, "stream": False}, max_tokens=1),
            daemon=True,
        )
        waiting.start()
        load(narrow, running=1, waiting=1)

        with pytest.raises(openai.RateLimitError) as refused:
            narrow.client.completions.create(**LONG, max_tokens=1)

        assert refused.value.code == "queue_full"
        assert int(refused.value.response.headers["retry-after"]) >= 1
        running.close()
        waiting.join(60)
        assert not waiting.is_alive()  # it got its turn

    @pytest.mark.parametrize("stream", [True, False])
    def test_nothing_is_computed_for_a_client_that_has_left(self, narrow: Server, stream: bool) -> None:
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream(
                "POST",
                f"{narrow.url}/v1/completions",
                json={**LONG, "stream": stream, "max_tokens": 1500},
                headers=narrow.headers,
                timeout=httpx.Timeout(20, read=1.5 if not stream else 20),
            ) as answer,
        ):
            for _, _line in zip(range(3), answer.iter_lines(), strict=False):
                pass
            raise httpx.ReadTimeout("enough")

        idle(narrow)

    def test_a_client_that_waits_in_the_queue_may_leave_too(self, narrow: Server) -> None:
        running = narrow.client.completions.create(**LONG, max_tokens=1500)
        next(iter(running))
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{narrow.url}/v1/completions",
                json={**LONG, "max_tokens": 1},
                headers=narrow.headers,
                timeout=1,
            )
        running.close()

        idle(narrow)

    def test_a_client_that_never_reads_holds_up_nobody(self, narrow: Server) -> None:
        host, port = narrow.url.removeprefix("http://").split(":")
        body = json.dumps({**LONG, "max_tokens": 200})
        with socket.create_connection((host, int(port))) as mute:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {narrow.key}\r\n"
            mute.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            done = narrow.client.completions.create(**{**LONG, "stream": False}, max_tokens=4)

        assert done.choices[0].text
        idle(narrow)


class TestEnding:
    def test_a_running_answer_is_finished_and_a_new_one_refused(self, starter_gguf: Path) -> None:
        with serving("--context", "1024") as server:
            stream = server.client.completions.create(**LONG, max_tokens=60)
            said = [next(iter(stream)).choices[0].text]
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises((openai.APIConnectionError, openai.APIStatusError)):
                server.client.completions.create(**LONG, max_tokens=1)
            chunks = list(stream)

            assert chunks[-1].choices[0].finish_reason == "length"
            assert len("".join([*said, *(chunk.choices[0].text for chunk in chunks)])) > 100
            assert server.process.wait(60) == 0
            assert "Traceback" not in server.log.read_text()

    def test_a_second_signal_ends_at_once(self, starter_gguf: Path) -> None:
        with serving("--context", "1024") as server:
            stream = server.client.completions.create(**LONG, max_tokens=1000)
            next(iter(stream))
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGINT)

            assert server.process.wait(30) == 130  # 900 tokens take longer
            assert not (server.runtime / "qwen" / "serve.key").exists()
            assert "Traceback" not in server.log.read_text()


def test_an_idle_model_is_dropped_and_loaded_again_when_it_is_asked_for(starter_gguf: Path) -> None:
    with serving("--context", "1024", "--keep", "0.02") as server:

        def loaded() -> bool:
            card = server.client.models.retrieve("starter")
            return bool((card.model_extra or {})["loaded"])

        until = time.monotonic() + 60
        while loaded():
            assert time.monotonic() < until
            time.sleep(0.2)
        done = server.client.completions.create(**{**LONG, "stream": False}, max_tokens=3)

        assert done.choices[0].text.startswith(" five,")
        assert loaded()
