"""Fixtures every room shares: the real starter model, once per test run, and the program itself."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import hypothesis
import pytest
from filelock import FileLock

# A shell starts background jobs with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each of several test processes computes with its share of the cores: more threads than cores spin while they
# wait for one another. llama.cpp and torch read this when they are imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # The limit is for llama.cpp, which asks for as many threads as there are cores. torch computes nonsense
    # where it gets fewer than it counts on: it counts on the other number.
    for name in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        os.environ[name] = str(max(1, (os.cpu_count() or 1) // workers))

# Several processes must find the same tests in the same order, also those made from a set of texts.
os.environ.setdefault("PYTHONHASHSEED", "0")

# Hundreds of tests start the program, and each process reads every test: both are compiled once, also where
# containers ask for no compiled files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What twelve thousand tests and torch are made of stays: no collection looks through it.
gc.disable()

# What tests ask is in nobody's log; a `home` of its own has one.
os.environ["QWEN_LOG"] = "off"
# A llama-server on the PATH would be taken by itself; tests of it take the one that is named here.
os.environ.setdefault("LLAMA_SERVER_OF_TESTS", os.environ.get("QWEN_LLAMA_SERVER", ""))
os.environ["QWEN_LLAMA_SERVER"] = "off"

# Each client of a server reads a file of certificates, which takes longer than most requests: those that read
# the same one share what the first has read.
_trusting = ssl.create_default_context


@functools.cache
def _read_once(file: str, changed: int) -> ssl.SSLContext:
    return _trusting(cafile=file)


def _context(*purpose: ssl.Purpose, **asked: Any) -> ssl.SSLContext:
    file = asked.get("cafile")
    alone = not purpose and len(asked) == 1 and file and Path(file).is_file()
    return _read_once(file, Path(file).stat().st_mtime_ns) if alone else _trusting(*purpose, **asked)


ssl.create_default_context = _context  # type: ignore[assignment]

# Speed is asserted nowhere, and a machine with two test processes may be slow. The same examples are tried
# each time: what a change broke is told from what a new example found.
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

Qwen = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run the tests: three for folders, since each also waits (for
    servers, terminals, limits). A file or a test that was named runs in this one (0), at once and with its
    output."""
    named = any("::" in argument or argument.endswith(".py") for argument in config.args)
    return 0 if named or os.cpu_count() == 1 else 3


# Without weights, and minutes long all the same.
LONG = ("sandbox/test_attacks.py", "tasks/math/test_answer.py", "media/test_video_backends.py")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the starter's weights `model`. Several processes begin with the files that take long:
    they end at about the same time."""
    for item in items:
        if {"starter_gguf", "starter_safetensors"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("model")
    if workers:
        long = {item.path for item in items if item.get_closest_marker("model")}
        long |= {item.path for item in items if item.path.as_posix().endswith(LONG)}
        items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """Let garbage be collected again, of what tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def nobody_but_this_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test that is not marked `network` connect to another machine."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def near(self: socket.socket, address: Any) -> None:
        host = str(address[0]) if isinstance(address, tuple) else "localhost"  # a socket in the file system
        assert host.startswith("127.") or host in ("localhost", "::1"), f"connects to {host}: mark it network"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", near)


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """The starter model as a GGUF file; fetched (and its hash checked) if this machine does not have it."""
    from qwen_cli.models.hub import starter

    return starter.fetch()


@pytest.fixture(scope="session")
def starter_safetensors(starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter's weights as a safetensors folder, converted once and kept beside the GGUF."""
    from qwen_cli.models.formats import gguf_import
    from qwen_cli.models.hub import starter

    folder = starter.safetensors_path()
    with FileLock(tmp_path_factory.getbasetemp().parent / "starter.lock"):  # of both test processes
        return (
            folder if (folder / "config.json").is_file() else gguf_import.to_safetensors(starter_gguf, folder)
        )


@pytest.fixture
def home(tmp_path: Path, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own folders, empty but for the starter model: sessions, settings and caches are theirs."""
    folder = tmp_path / "home"
    starter = folder / "models" / "starter"
    starter.parent.mkdir(parents=True)
    starter.symlink_to(starter_gguf.parent)
    for name in [n for n in os.environ if n.startswith("QWEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QWEN_LLAMA_SERVER", "off")
    monkeypatch.setenv("QWEN_HOME", str(folder))
    monkeypatch.setenv("QWEN_CONFIG", str(folder / "config.toml"))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    for name in ("HF_ENDPOINT", "MODELSCOPE_DOMAIN"):  # port 9 of this machine refuses at once
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


@pytest.fixture(scope="session")
def forks() -> Iterator[forked.Forks]:
    """Programs that begin with transformers imported."""
    with contextlib.closing(forked.Forks()) as server:
        yield server


@pytest.fixture
def qwen(home: Path, request: pytest.FixtureRequest) -> Qwen:
    """Run the program as a person's shell would: `qwen("chat", "hello", stdin="…")`."""

    def run(*arguments: str, stdin: str | bytes = "", **variables: str) -> subprocess.CompletedProcess[str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        env = {**os.environ, **variables}
        if {"transformers", "--rm"} & {*arguments}:
            return request.getfixturevalue("forks").run(*arguments, stdin=given, env=env)
        done = subprocess.run(
            [sys.executable, "-m", "qwen_cli", *arguments],
            input=given,
            capture_output=True,
            env=env,
            timeout=300,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run
