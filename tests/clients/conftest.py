"""Real clients against `qwen serve` with an engine that answers by rules. They are tried where that is asked
for: `QWEN_CLIENTS=FOLDER pytest tests/clients` installs them into environments in FOLDER (1: a temporary
one)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rules_engine
from served import Server, serving

PYTHON = {
    "packages": (
        "openai",
        "litellm",
        "langchain-openai",
        "llama-index-llms-openai-like",
        "instructor",
        "anthropic",
        "ollama",
        "llm",
    ),
    # These want versions of their own.
    "pydantic-ai": ("pydantic-ai-slim[openai]",),
    "openai-agents": ("openai-agents",),
    "aider": ("aider-chat",),
    "lm-eval": ("lm-eval[api]", "transformers"),
}
NODE = ("openai", "ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "zod")

Environment = Callable[[str], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("QWEN_CLIENTS"):
        return
    here = f"{Path(__file__).parent}{os.sep}"
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.skip(reason="set QWEN_CLIENTS to a folder to install clients into"))


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ["QWEN_CLIENTS"]
    folder = tmp_path_factory.mktemp("clients") if named == "1" else Path(named).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def environment(environments: Path) -> Environment:
    """The folder with the programs of an environment, installed if it is not."""

    def installed(name: str) -> Path:
        folder = environments / name
        done = folder / "installed"
        if not done.exists() and name == "node":
            folder.mkdir(exist_ok=True)
            run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *NODE])
        elif not done.exists():
            run([sys.executable, "-m", "venv", str(folder)])
            run([str(folder / "bin" / "pip"), "install", "-q", *PYTHON[name]])
        done.touch()
        return folder if name == "node" else folder / "bin"

    return installed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rules_engine.install(tmp_path_factory.mktemp("engine")).items():
            patch.setenv(name, value)
        with serving("--engine", rules_engine.NAME) as running:
            yield running


def run(command: list[str], *, cwd: Path | None = None, **variables: str) -> str:
    """What a command prints. Raises where it fails, with all that it said."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, cwd=cwd, env={**environ, **variables}
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout
