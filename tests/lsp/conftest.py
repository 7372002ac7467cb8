"""The starter model in the process, with a record of what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded import Recorded

from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub.resolve import Weights


@pytest.fixture(scope="module")
def loaded(starter_gguf: Path) -> Iterator[Recorded]:
    weights = Weights("starter", starter_gguf, "gguf", lookup.find("qwen2.5-coder:0.5b"))
    with Recorded(weights, context=4096, parallel=1) as engine:
        yield engine


@pytest.fixture
def engine(loaded: Recorded) -> Recorded:
    loaded.prompts = []
    return loaded
