"""Fixtures every room shares: the real starter model, once per test run, and the program itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# A shell starts background jobs with Ctrl-C ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

Qwen = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """The starter model as a GGUF file; fetched (and its hash checked) if this machine does not have it."""
    from qwen_cli.models.hub import starter

    return starter.fetch()


@pytest.fixture(scope="session")
def starter_safetensors(starter_gguf: Path) -> Path:
    """The starter's weights as a safetensors folder, converted once and kept beside the GGUF."""
    from qwen_cli.models.formats import gguf_import
    from qwen_cli.models.hub import starter

    folder = starter.safetensors_path()
    return folder if (folder / "config.json").is_file() else gguf_import.to_safetensors(starter_gguf, folder)


@pytest.fixture
def home(tmp_path: Path, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own folders, empty but for the starter model: sessions, settings and caches are theirs."""
    folder = tmp_path / "home"
    starter = folder / "models" / "starter"
    starter.parent.mkdir(parents=True)
    starter.symlink_to(starter_gguf.parent)
    for name in [n for n in os.environ if n.startswith("QWEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QWEN_HOME", str(folder))
    monkeypatch.setenv("QWEN_CONFIG", str(folder / "config.toml"))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    monkeypatch.setenv("NO_COLOR", "1")
    return folder


@pytest.fixture
def qwen(home: Path) -> Qwen:
    """Run the program as a person's shell would: `qwen("chat", "hello", stdin="…")`."""

    def run(*arguments: str, stdin: str | bytes = "", **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "qwen_cli", *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env={**os.environ, **variables},
            timeout=300,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run
