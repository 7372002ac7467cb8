"""`qwen stop` always ends the server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from qwen_cli.commands.main import app
from qwen_cli.commands.serve import daemon
from qwen_cli.engines.daemon import client

_DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
)


@pytest.fixture
def deaf() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not heed SIGTERM."""
    with subprocess.Popen([sys.executable, "-c", _DEAF], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("flags", "running", "killed"), [([], 0, True), (["--now"], 3, True), ([], 3, False)]
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes at once")
def test_one_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch,
    deaf: subprocess.Popen[bytes],
    flags: list[str],
    running: int,
    killed: bool,
) -> None:
    """Answers that run are waited for, unless `--now` says not to."""
    status = {"pid": deaf.pid, "models": [{"running": running}]}
    monkeypatch.setattr(client, "request", lambda path, **_: status)
    monkeypatch.setattr(daemon, "_STOP", 0.3)
    monkeypatch.setattr(daemon, "_STOP_NOW", 0.3)
    if not killed:
        until = time.monotonic() + 1
        monkeypatch.setattr(daemon, "_lives", lambda pid: time.monotonic() < until)
    done = CliRunner().invoke(app, ["stop", *flags])

    assert done.exit_code == 0, done.output
    assert ("was killed" in done.output) == killed
    assert (deaf.poll() is not None or deaf.wait(5) is not None) if killed else deaf.poll() is None
