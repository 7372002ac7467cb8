"""One server of the starter model for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from served import Server, serving


@pytest.fixture(scope="session")
def server(starter_gguf: Path) -> Iterator[Server]:
    with serving("--context", "4096", "--parallel", "4", "--max-body", "1") as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> openai.OpenAI:
    return server.client
