"""The starter model in a context so small that a few turns fill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import small_models

from qwen_cli.engines.core.base import Engine
from qwen_cli.models.hub.resolve import Weights

CONTEXT = 256


@pytest.fixture(scope="session")
def small_engine(starter_gguf: Path) -> Iterator[Engine]:
    """llama.cpp with 256 tokens of context. One conversation at a time, as everywhere."""
    from qwen_cli.engines.llamacpp.engine import LlamaCpp
    from qwen_cli.models.hub import resolve

    with LlamaCpp(resolve.resolve(str(starter_gguf)), context=CONTEXT) as engine:
        yield engine


@pytest.fixture(scope="session")
def endless(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A model of random weights, for what depends on no words: it is quick, and never done."""
    folder = tmp_path_factory.mktemp("endless")
    return Weights("endless", small_models.make_endless(folder, starter_safetensors), "gguf", None)


@pytest.fixture(scope="session")
def endless_engine(endless: Weights) -> Iterator[Engine]:
    """The same in a context of 256 tokens."""
    from qwen_cli.engines.llamacpp.engine import LlamaCpp

    with LlamaCpp(endless, context=CONTEXT) as engine:
        yield engine


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    return tmp_path
