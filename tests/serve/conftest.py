"""One server of the starter model for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import small_models
from served import Server, serving


@pytest.fixture(scope="session")
def server(starter_gguf: Path) -> Iterator[Server]:
    with serving("--context", "4096", "--parallel", "4", "--max-body", "1") as running:
        yield running


@pytest.fixture(scope="session")
def quick(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A client of a server whose model has random weights, for what is counted and not read."""
    file = small_models.make_endless(tmp_path_factory.mktemp("quick"), starter_safetensors)
    with serving("--context", "2048", model=str(file)) as running:
        yield running.client


@pytest.fixture(scope="session")
def client(server: Server) -> openai.OpenAI:
    return server.client
