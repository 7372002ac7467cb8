"""Commands that use the model of a running server: the same answers, and nothing loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from served import Server

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.daemon import client
from qwen_cli.engines.daemon.client import DaemonEngine
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.errors import ContextFull, EngineError
from qwen_cli.models.hub.resolve import resolve

GREEDY = Sampling(temperature=0, max_tokens=16)
STORY = [{"role": "user", "content": "Tell me in one sentence what a lighthouse is for."}]

# What only an engine in this process needs; a command that uses the server must not pay for it.
_HEAVY = ("xllamacpp", "torch", "transformers", "fastapi", "uvicorn", "openai", "httpx", "pydantic")
_LIST = f"""
import sys
from qwen_cli.commands import main as cli
sys.argv = ["qwen", *sys.argv[1:]]
try:
    cli.main()
finally:
    print([name for name in {_HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def engine(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonEngine]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(server.runtime))
    found = client.connect(LoadOptions("starter"))
    assert found
    with found:
        yield found


def running() -> bool:
    """Whether the server computes for anybody."""
    said = client.request("/engine/status")
    return bool(said and said["models"][0]["running"])


def qwen(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _LIST, *words],
        input="",
        capture_output=True,
        text=True,
        env=server.environ,
        timeout=300,
        check=False,
    )


class TestCommands:
    ASKED = ("chat", "Name three fruits.", "-t", "0", "--max-tokens", "24")

    def test_the_warm_answer_is_the_cold_one_and_nothing_is_loaded(self, server: Server) -> None:
        cold = qwen(server, *self.ASKED, "--context", "4096", "--no-server")
        warmed = qwen(server, *self.ASKED)

        assert warmed.stdout == cold.stdout
        assert warmed.stdout.strip()
        assert warmed.stderr.splitlines()[-1] == "[]"
        assert "xllamacpp" in cold.stderr

    def test_the_json_tells_the_same_of_it(self, server: Server) -> None:
        said = json.loads(qwen(server, *self.ASKED, "--json").stdout)

        assert said["text"]
        assert said["model"] == "starter"

    def test_code_is_filled_in(self, server: Server, tmp_path: Path) -> None:
        file = tmp_path / "area.py"
        file.write_text("def area(width, height):\n    return <|fim|>\n\n\nprint(area(2, 3))\n")

        asked = ("code-fim", str(file), "-m", "starter", "--no-repo")
        done = qwen(server, *asked)

        assert done.stdout.strip()
        assert done.stdout == qwen(server, *asked, "--no-server").stdout
        assert done.stderr.splitlines()[-1] == "[]"

    def test_mathematics_with_programs(self, server: Server) -> None:
        done = qwen(server, "math", "What is 12 times 12?", "-m", "starter", "--quiet")

        assert done.stdout.strip() == "144"
        assert "xllamacpp" not in done.stderr.splitlines()[-1]

    def test_what_the_server_cannot_have_is_told_as_ever(self, server: Server) -> None:
        done = qwen(server, "chat", "hi", "-m", "/nowhere/model.gguf")

        assert done.returncode == 1
        assert "there is no file or folder /nowhere/model.gguf" in done.stderr

    def test_a_session_keeps_its_cache(self, server: Server, tmp_path: Path) -> None:
        asked = ("chat", "--session", "warmed", "-t", "0", "--max-tokens", "12", "--json")
        env = {**server.environ, "QWEN_HOME": ""}
        env.pop("QWEN_HOME")
        qwen(server, *asked, "My name is Ada. What is a good name for a cat?")
        second = json.loads(qwen(server, *asked, "And for a dog?").stdout)
        try:
            assert second["usage"]["cached_tokens"] > 30
        finally:
            from qwen_cli.tasks.chat import sessions

            sessions.path("warmed").unlink(missing_ok=True)
            sessions.kv_path("warmed").unlink(missing_ok=True)


class TestEngine:
    def test_it_is_what_it_stands_for(self, engine: DaemonEngine) -> None:
        assert (engine.name, engine.model) == ("llamacpp", "starter")
        assert engine.capabilities.context == 4096
        assert engine.capabilities.render
        assert engine.capabilities.state

    def test_a_closed_stream_stops_the_server(self, engine: DaemonEngine, server: Server) -> None:
        stream = engine.complete("one, two, three,", sampling=Sampling(temperature=0, max_tokens=2000))
        next(stream)
        stream.close()

        until = time.monotonic() + 20  # 2,000 tokens take longer
        while running():
            assert time.monotonic() < until, "it goes on for nobody"
            time.sleep(0.05)

    def test_it_is_interrupted_while_it_reads_a_prompt(self, engine: DaemonEngine) -> None:
        pieces: list[object] = []
        thread = threading.Thread(
            target=lambda: pieces.extend(engine.complete("word " * 3000, sampling=GREEDY)), daemon=True
        )
        thread.start()
        while not running():
            time.sleep(0.05)
        engine.interrupt()
        thread.join(60)

        assert not thread.is_alive()
        assert pieces == [], "it was read to its end"

    def test_errors_come_as_they_are(self, engine: DaemonEngine) -> None:
        with pytest.raises(ContextFull) as full:
            list(engine.chat([{"role": "user", "content": "word " * 9000}], sampling=GREEDY))

        assert full.value.limit == 4096

    def test_lanes_answer_at_once(self, engine: DaemonEngine) -> None:
        from concurrent.futures import ThreadPoolExecutor

        lanes = engine.lanes(8)
        assert len(lanes) == 4  # as many as the server has

        # Not one question for all: sums of a batch are rounded otherwise than alone, and near ties turn.
        words = ["apple", "river", "stone", "tiger"]

        def said(lane: DaemonEngine, word: str) -> str:
            messages = [{"role": "user", "content": f"Say only this word: {word}"}]
            return "".join(piece.text for piece in lane.chat(messages, sampling=GREEDY)).lower()

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(said, lanes, words))

        assert [[word for word in words if word in answer] for answer in answers] == [[w] for w in words]

    def test_without_a_server_there_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

        assert client.connect(LoadOptions("starter")) is None
        assert client.request("/engine/status") is None

    def test_a_folder_that_others_may_enter_is_not_trusted(
        self, engine: DaemonEngine, server: Server
    ) -> None:
        folder = server.runtime / "qwen"
        folder.chmod(0o755)
        try:
            assert client.connect(LoadOptions("starter")) is None
        finally:
            folder.chmod(0o700)


def test_the_answers_are_token_for_token_the_engines_own(engine: DaemonEngine, starter_gguf: Path) -> None:
    with LlamaCpp(resolve("starter"), context=4096) as own:
        for prompt in ("one, two, three,", "def fibonacci(n):\n"):
            ours = [piece.text for piece in engine.complete(prompt, sampling=GREEDY)]
            theirs = [piece.text for piece in own.complete(prompt, sampling=GREEDY)]
            assert ours == theirs
        assert engine.render(STORY) == own.render(STORY)
        assert engine.count_tokens(STORY) == own.count_tokens(STORY)
        assert engine.defaults == own.defaults
        # One model of a process has llguidance, and tokens are no matter between a client and its server.
        apart = {"whole_schemas": own.capabilities.whole_schemas, "tokens": own.capabilities.tokens}
        assert replace(engine.capabilities, **apart) == own.capabilities


def test_a_server_that_ends_in_the_middle_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from served import serving

    with serving("--context", "1024") as server:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(server.runtime))
        found = client.connect(LoadOptions())
        assert found
        stream = found.complete("one, two, three,", sampling=Sampling(temperature=0, max_tokens=900))
        next(stream)
        server.process.kill()
        with pytest.raises(EngineError, match="closed the connection before the answer was complete"):
            list(stream)
