"""Opening an engine for a command: what no engine can do is told before anything is fetched or asked."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_cli.commands.shared import engine
from qwen_cli.commands.shared.options import Loading
from qwen_cli.engines import load
from qwen_cli.errors import UsageError
from qwen_cli.models.hub import resolve, sources


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for weights or asks a server fails."""

    def looked(*args: Any, **keywords: Any) -> None:
        raise AssertionError("nothing was to be looked for")

    monkeypatch.setattr(resolve, "resolve", looked)
    monkeypatch.setattr(sources, "reachable", looked)
    monkeypatch.setattr(engine, "_warm", looked)


@pytest.mark.parametrize("name", ["qwen3-embedding:0.6b", "Qwen/Qwen3-ASR-1.7B", "qwen3-reranker:8b"])
def test_a_model_that_answers_nobody_is_refused_first(nobody: None, name: str) -> None:
    with pytest.raises(UsageError, match="for answers name another"):
        engine.open_engine({"model": name}, Loading())
    with pytest.raises(UsageError, match="for answers name another"):
        load.load(name)
