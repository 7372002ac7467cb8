"""A server whose engine another package offers: how a model is to be loaded arrives as it was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import other_package
import pytest
from served import Server, serving

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.daemon import client
from qwen_cli.errors import QwenError

FILES = LoadOptions("starter", engine="files")


@pytest.fixture(scope="module")
def server(starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    packages = tmp_path_factory.mktemp("packages")
    other_package.install(packages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(packages))
        with serving("--engine", "files", "--context", "4096") as running:
            patch.setenv("XDG_RUNTIME_DIR", str(running.runtime))
            yield running


def opened(options: LoadOptions) -> client.DaemonEngine:
    found = client.connect(options)
    assert found
    return found


def says(engine: Engine) -> str:
    return "".join(piece.text for piece in engine.chat([{"role": "user", "content": "Who are you?"}]))


def test_who_asks_for_nothing_gets_the_first_model(server: Server) -> None:
    engine = opened(LoadOptions())
    assert (engine.name, says(engine)) == ("files", "I am starter, context 4096.")
    assert engine.capabilities.interrupt


def test_a_context_that_is_left_open_is_that_of_the_model_that_is_loaded(server: Server) -> None:
    assert says(opened(FILES)) == "I am starter, context 4096."


def test_options_arrive(server: Server) -> None:
    engine = opened(LoadOptions("starter", engine="files", context=99))
    assert engine.capabilities.context == 99
    assert says(engine) == "I am starter, context 99."


def test_the_same_asked_for_otherwise_is_the_same_model(server: Server) -> None:
    for quant, n in ((None, 8), ("q4_k_m", 8), ("Q4_K_M", 3)):
        opened(LoadOptions("starter", engine="files", context=99, quant=quant, parallel=n))
    running = client.request("/engine/status")
    assert running and [one["context"] for one in running["models"]].count(99) == 1


def test_what_is_reused_of_the_cache_is_said(server: Server) -> None:
    engine = opened(FILES)
    for reuse in ("prefix", "shift"):
        text = "".join(piece.text for piece in engine.complete("go on", reuse=reuse))  # type: ignore[arg-type]
        assert text == f"go on, {reuse}"


def test_what_the_engine_cannot_is_its_own_word(server: Server) -> None:
    engine = opened(FILES)
    assert not engine.capabilities.render and not engine.capabilities.state
    with pytest.raises(QwenError, match="does not tell its prompts"):
        engine.render([{"role": "user", "content": "Hello"}])


def test_a_command_uses_it(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qwen_cli", "chat", "--engine", "files", "-m", "starter", "Who?"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "I am starter, context 4096."), done.stderr
