"""The starter in a server of the same user, loaded once for all tests of what is answered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from served import Server, serving

Qwen = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(scope="session")
def loaded(starter_gguf: Path) -> Iterator[Server]:
    with serving("--context", "2048") as running:
        yield running


@pytest.fixture
def warm(loaded: Server, home: Path, qwen: Qwen) -> Qwen:
    """Run the program as `qwen` does, with the starter loaded in the server, as `qwen serve` has it."""
    return functools.partial(qwen, XDG_RUNTIME_DIR=loaded.for_this_home())
