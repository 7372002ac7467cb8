"""A server of one's own: `qwen serve` in a process, with a runtime folder that nothing else knows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from qwen_cli.engines.daemon import paths


@dataclass(frozen=True)
class Server:
    """Its address, the key that it made up, and the folder (`XDG_RUNTIME_DIR`) that commands find it by."""

    url: str
    key: str
    runtime: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=300)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def for_this_home(self) -> str:
        """Let commands of the test's own `QWEN_HOME` use it, and return their `XDG_RUNTIME_DIR`: by itself a
        server is for one home."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(self.runtime))
            here = paths.socket_path()
        if not here.exists():
            here.parent.mkdir(mode=0o700, exist_ok=True)
            here.symlink_to(self.runtime / "qwen" / here.name)
        return str(self.runtime)

    @property
    def environ(self) -> dict[str, str]:
        """For commands that are to use it."""
        return {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)}


@contextmanager
def serving(*flags: str, model: str = "starter") -> Iterator[Server]:
    """A server of `model`, ready."""
    runtime = Path(tempfile.mkdtemp(prefix="qs-"))  # short: the path of a socket holds a hundred characters
    log = runtime / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "qwen_cli", "serve", model, "--port", "0", *flags],
            env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        url = _said(log, "serving at ", process).removesuffix("/v1")
        key = _said(log, "key: ", process).partition(" ")[0]
        yield Server(url, key, runtime, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(runtime, ignore_errors=True)


def _said(log: Path, what: str, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for line in log.read_text().splitlines():
            if line.startswith(what):
                return line.removeprefix(what)
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
