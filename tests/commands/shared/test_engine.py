"""Opening an engine for a command: what no engine can do is told before anything is fetched or asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scripted import Scripted

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


@pytest.mark.parametrize("name", ["qwen3-embedding:0.6b", "qwen3-omni:30b-a3b-thinking", "qwen3-reranker:8b"])
def test_a_model_that_answers_nobody_is_refused_first(nobody: None, name: str) -> None:
    with pytest.raises(UsageError, match="for answers name another"):
        engine.open_engine({"model": name}, Loading())
    with pytest.raises(UsageError, match="for answers name another"):
        load.load(name)


def test_a_speech_recogniser_is_for_who_listens(nobody: None) -> None:
    with pytest.raises(UsageError, match="`qwen listen FILE` uses it"):
        engine.open_engine({"model": "qwen3-asr:0.6b"}, Loading())
    with pytest.raises(AssertionError, match="nothing was to be looked for"):
        engine.open_engine({"model": "qwen3-asr:0.6b"}, Loading(no_server=True), hears=True)


@pytest.mark.parametrize(
    ("model", "tools", "line"),
    [
        ("starter", True, "starter is poor at calling tools: qwen3:4b and larger models do it well"),
        ("qwen3:0.6b", True, "qwen3:0.6b is poor at calling tools: qwen3:4b and larger models do it well"),
        ("qwen3:8b", True, None),
        ("somebody's own", True, None),
        ("qwen3:8b", False, "the chat template of qwen3:8b has no place for tools: it will hardly call any"),
    ],
)
def test_a_model_that_is_poor_at_tools_is_said_to_be(model: str, tools: bool, line: str | None) -> None:
    loaded = Scripted()
    loaded.model = model
    loaded.capabilities = replace(loaded.capabilities, tools=tools)
    assert engine.poor_at_tools(loaded) == line
