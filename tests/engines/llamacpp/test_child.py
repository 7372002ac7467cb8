"""The user's llama-server as a process of ours, over one that computes nothing."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_llama_server
import psutil
import pytest

from qwen_cli.engines.llamacpp import child, load
from qwen_cli.engines.llamacpp.child import Child
from qwen_cli.engines.llamacpp.pool import Pool
from qwen_cli.engines.llamacpp.slot import Slot
from qwen_cli.errors import EngineError, RequestRefused, UsageError
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.models.planning import llama_server

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program is a script")
KEY = "k" * 20


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return fake_llama_server.put(tmp_path)


def started(program: Path, does: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Child:
    monkeypatch.setenv("FAKE_LLAMA_SERVER", does)
    return Child(program, ["--model", str(program)], key=KEY, label="small", **more)


def words(server: Any, enough: int = 100) -> list[str]:
    """What a stream writes, closed after `enough` words."""
    said: list[str] = []

    def on_chunk(chunk: dict[str, Any]) -> bool:
        said.append(chunk["choices"][0]["text"])
        return len(said) >= enough

    server.handle_completions({"prompt": "x", "stream": True}, on_chunk)
    return said


def program_of(server: Child) -> psutil.Process:
    (one,) = psutil.Process(server._process.pid).children()
    return one


def gone(process: psutil.Process, seconds: float = 5.0) -> bool:
    """Whether a process ends by itself."""
    end = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.02)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_it_answers_as_the_server_in_the_process_does(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = Slot(started(program, "", monkeypatch), KEY, 0, tmp_path, Pool(64, 1, drafted=0))
    chunks = [chunk for _, chunk in slot.stream("handle_completions", {"prompt": [1], "stream": True})]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "a b c"
    assert slot.http("POST", "/tokenize", {"content": "x"})["tokens"] == [1, 2, 3]


def test_nothing_is_answered_without_its_key(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = started(program, "", monkeypatch)
    assert KEY not in " ".join(program_of(server).cmdline())
    with pytest.raises(EngineError, match="Invalid API Key"):
        Slot(server, "other", 0, tmp_path, Pool(64, 1, drafted=0)).http("POST", "/tokenize", {})


def test_what_it_refuses_is_refused(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Slot(started(program, "refuses", monkeypatch), KEY, 0, tmp_path, Pool(64, 1, drafted=0))
    with pytest.raises(RequestRefused, match="no such sampler"):
        list(slot.stream("handle_completions", {"prompt": [1], "stream": True}))


def test_a_start_that_fails_says_why_in_its_own_words(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError) as caught:
        started(program, "fails", monkeypatch)
    assert caught.value.message == (
        "llama-server ended while it loaded small: tensor 'blk.0.ffn' is not within the file"
    )
    assert caught.value.hint


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (["0.1 I load", "0.2 E srv  x: failed to load model"], "srv  x: failed to load model"),
        (["error: invalid argument: --frob"], "invalid argument: --frob"),
        (["error while loading shared libraries: libcudart.so.12: cannot open"],
         "error while loading shared libraries: libcudart.so.12: cannot open"),
        (["cannot be started: Exec format error"], "Exec format error"),
        (["Illegal instruction"], "Illegal instruction"),
        ([], None),
    ],
)  # fmt: skip
def test_the_useful_line_of_a_log(log: list[str], reason: str | None) -> None:
    assert child.reason_in(log) == reason


@pytest.mark.parametrize("content", ["not a program", "#!/no/such/interpreter\n"])
def test_what_is_no_program_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "llama-server"
    path.write_text(content)
    path.chmod(0o755)
    with pytest.raises(EngineError, match="llama-server ended while it loaded small: "):
        started(path, "", monkeypatch)


def test_a_death_in_the_middle_is_told_with_its_last_words(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = Slot(started(program, "dies", monkeypatch), KEY, 0, tmp_path, Pool(64, 1, drafted=0))
    told = "llama-server ended while it ran small: ggml_cuda: CUDA error: out of memory"
    with pytest.raises(EngineError, match=told):
        list(slot.stream("handle_completions", {"prompt": [1], "stream": True}))
    with pytest.raises(EngineError, match=told):  # and so it stays
        slot.http("POST", "/tokenize", {"content": "x"})


def test_closing_a_stream_stops_the_computation(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = started(program, "slow", monkeypatch)
    assert words(server, enough=3) == ["a"] * 3
    assert until(lambda: any("cancel task" in line for line in list(server._log)))


def test_it_ends_with_the_last_reference(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = started(program, "", monkeypatch)
    process = program_of(server)
    del server
    gc.collect()
    assert gone(process)


def test_it_ends_when_this_process_is_killed(program: Path) -> None:
    script = (
        "import os, psutil, sys; from pathlib import Path\n"
        "from qwen_cli.engines.llamacpp.child import Child\n"
        "one = Child(Path(sys.argv[1]), ['--model', sys.argv[1]], key='k', label='small')\n"
        "print(psutil.Process(one._process.pid).children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.Popen([sys.executable, "-c", script, str(program)], stdout=subprocess.PIPE, text=True)
    assert killed.stdout
    number = int(killed.stdout.readline())
    assert killed.wait() == -signal.SIGKILL
    assert not psutil.pid_exists(number) or gone(psutil.Process(number))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends it")
def test_it_ends_when_its_keeper_is_killed(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = started(program, "", monkeypatch)
    process = program_of(server)
    server._process.kill()
    assert gone(process)
    with pytest.raises(EngineError, match="llama-server ended while it ran small"):
        words(server)


def test_ctrl_c_of_the_terminal_does_not_reach_it(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = started(program, "", monkeypatch)
    assert os.getpgid(program_of(server).pid) != os.getpgrp()


def test_ctrl_c_while_it_loads_leaves_no_orphan(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def note(*given: Any, **named: Any) -> Any:
        made.append(popen(*given, **named))
        return made[-1]

    def interrupt(self: Child) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", note)
    monkeypatch.setattr(Child, "_healthy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        started(program, "", monkeypatch)
    assert made[0].poll() is not None


def test_of_a_long_log_the_last_lines_are_kept(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = started(program, "chatters", monkeypatch)
    assert words(server) == ["a", " b", " c"]
    assert len(server._log) <= 200
    assert max(map(len, server._log)) <= 500


def test_who_else_answers_on_the_port_is_sent_nothing(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is taken by another program's server before ours gets there."""
    other = started(program, "", monkeypatch)
    monkeypatch.setattr(child, "_free_port", lambda: other._port)
    with pytest.raises(EngineError, match=r"llama-server ended while it loaded small: .*in use"):
        started(program, "", monkeypatch)


class TestArguments:
    def program(self, *, lacks: tuple[str, ...] = ()) -> Any:
        return SimpleNamespace(path=Path("/x/llama-server"), takes=lambda flag: flag not in lacks)

    def params(self, file: Path, **more: Any) -> Any:
        weights = Weights("small", file, "gguf", None, more.pop("eyes", None))
        given: dict[str, Any] = {"context": 512, "adapters": (), "threads": 3, "parallel": 2} | more
        return load.parameters(weights, slots=file.parent, key="secret", gpu=False, **given)

    def flags(self, params: Any, **more: Any) -> dict[str, str | None]:
        words = child.arguments(params, self.program(**more))
        pairs = zip(words, [*words[1:], "--"], strict=True)
        return {
            word: (None if after.startswith("--") else after)
            for word, after in pairs
            if word.startswith("--")
        }

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        import gguf_files

        return gguf_files.write(tmp_path / "plain.gguf", **{"qwen2.context_length": 32_768})

    def test_they_say_what_is_said_in_the_process(self, file: Path) -> None:
        flags = self.flags(self.params(file))
        expected = {
            "--model": str(file), "--host": "127.0.0.1", "--ctx-size": "512", "--parallel": "2",
            "--kv-unified": None, "--threads": "3", "--fit": "off", "--cache-ram": "0",
            "--slot-save-path": f"{file.parent}/", "--spec-type": "ngram-simple",
            "--spec-ngram-simple-size-n": "12", "--spec-ngram-simple-size-m": "16",
        }  # fmt: skip
        assert {name: flags[name] for name in expected} == expected
        assert not {"--mmproj", "--cache-type-k", "--rope-scaling", "--lora", "--api-key"} & set(flags)

    def test_what_was_asked_for_is_asked_of_it(self, file: Path) -> None:
        params = self.params(file, eyes=file, kv="q8_0", chat_template="{{ x }}", draft="mtp",
                             rope={"factor": 4.0, "original_max_position_embeddings": 32_768})  # fmt: skip
        flags = self.flags(params)
        expected = {
            "--mmproj": str(file), "--cache-type-k": "q8_0", "--cache-type-v": "q8_0", "--flash-attn": "on",
            "--chat-template": "{{ x }}", "--spec-type": "draft-mtp", "--spec-draft-n-max": "3",
            "--rope-scaling": "yarn", "--rope-freq-scale": "0.25", "--yarn-orig-ctx": "32768",
        }  # fmt: skip
        assert {name: flags[name] for name in expected} == expected

    def test_a_draft_model_is_named(self, file: Path) -> None:
        flags = self.flags(self.params(file, draft=Weights("tiny", file, "gguf", None)))
        assert (flags["--spec-type"], flags["--spec-draft-model"]) == ("draft-simple", str(file))

    def test_what_it_need_not_have_is_left_out(self, file: Path) -> None:
        lacks = ("--fit", "--no-ui", "--cache-ram", "--offline")
        assert not set(lacks) & set(self.flags(self.params(file), lacks=lacks))

    def test_what_was_asked_for_and_it_lacks_is_refused(self, file: Path) -> None:
        with pytest.raises(UsageError, match=r"has no --mmproj, which this needs. Update llama.cpp, or take"):
            self.flags(self.params(file, eyes=file), lacks=("--mmproj",))
        with pytest.raises(EngineError, match=r"has no --kv-unified: it is too old"):
            self.flags(self.params(file), lacks=("--kv-unified",))


def test_its_environment_says_where_it_computes_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_PORT", "1")
    monkeypatch.setenv("LLAMA_ARG_N_GPU_LAYERS", "20")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    environment = llama_server.environment()
    assert "LLAMA_ARG_PORT" not in environment
    assert environment["LLAMA_ARG_N_GPU_LAYERS"] == "20"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"


def test_signals_are_as_before(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    started(program, "", monkeypatch)
    assert signal.getsignal(signal.SIGINT) is before
