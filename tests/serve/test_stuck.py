"""`qwen ps`, `stop` and `serve` say the same of a server that is starting, or that no longer answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from qwen_cli.commands.serve import daemon
from qwen_cli.engines.daemon import client, paths
from qwen_cli.errors import EngineError, QwenError
from qwen_cli.serve import process

# A server as far as it has come: it has the lock, and it may listen; it never answers.
SERVER = """
import signal, socket, sys, time
from qwen_cli.engines.daemon import paths
from qwen_cli.serve import process
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with process._alone():
    listener = process._private_socket() if "listens" in sys.argv else None
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="qs-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.setattr(daemon, "_ANSWER", 0.3)
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["starts", "listens", "stubborn", "listens stubborn"])
def server(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    words = request.param.split()
    running = subprocess.Popen([sys.executable, "-c", SERVER, *words], stdout=subprocess.PIPE, text=True)
    assert running.stdout
    assert running.stdout.readline() == "here\n"
    yield running
    running.kill()
    running.wait()
    running.stdout.close()


def test_all_know_it_and_stop_ends_it(
    server: subprocess.Popen[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_STOP_NOW", 0.5)
    daemon.ps(as_json=False)
    assert f"process {server.pid} is your server" in capsys.readouterr().err
    daemon.ps(as_json=True)
    assert json.loads(capsys.readouterr().out)["pid"] == server.pid
    with pytest.raises(EngineError, match="runs already"), process._alone():
        pass

    daemon.stop(now=True)
    assert server.wait(5) != 0
    assert "stopped" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        daemon.ps(as_json=False)
    with pytest.raises(QwenError, match="no server is running"):
        daemon.stop(now=True)


def test_one_that_was_killed_is_in_nobodys_way(capsys: pytest.CaptureFixture[str]) -> None:
    paths.private_folder()
    paths.lock_path().touch()
    paths.pid_path().write_text(f"{os.getpid()}\n")  # of another that has the number now

    assert client.holder() is None
    with pytest.raises(typer.Exit):
        daemon.ps(as_json=False)
    with pytest.raises(QwenError, match="no server is running"):
        daemon.stop(now=True)
    with process._alone():
        assert client.holder() == os.getpid()
    assert not paths.pid_path().exists()


def test_to_look_keeps_nobody_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks has the lock for a moment."""
    from filelock import FileLock

    paths.private_folder()
    looking = FileLock(paths.lock_path())
    looking.acquire()
    began = time.monotonic()

    def let_go(seconds: float) -> None:
        looking.release()

    monkeypatch.setattr(time, "sleep", let_go)  # `FileLock` sleeps between two tries
    with process._alone():
        assert time.monotonic() - began < 10


STUCK = """
import asyncio, os, signal, sys, time
from qwen_cli.serve import process
async def main():
    process._on_signals(asyncio.get_running_loop(), lambda: None)
    if sys.argv[1] == "loop":
        stuck()
def stuck():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
    time.sleep(20)
asyncio.run(main())
stuck()
"""


@pytest.mark.parametrize("where", ["loop", "after it"])
def test_a_second_signal_ends_the_process_wherever_it_is(where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK, where], capture_output=True, text=True, timeout=15, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
