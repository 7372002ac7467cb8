"""Twelve runs of a model of Qwen3's own architecture and template, with random weights: it is allowed what
the cards say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.math import solve
from qwen_cli.tasks.math.answer import Judge

CARD = 32_768


@pytest.fixture(scope="module")
def engine(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transformers]:
    folder = tmp_path_factory.mktemp("thinks") / "model"
    small_models.make("Qwen3", folder, starter_safetensors, small_models.SWITCH)
    weights = Weights("qwen3:8b", folder, "safetensors", lookup.find("qwen3:8b"))
    with Transformers(weights, context=600) as opened:
        yield opened


WAYS = [(None, CARD), (True, CARD), (50, 50), (False, None)]


@pytest.mark.parametrize(("thinking", "most"), WAYS, ids=["own", "on", "budget", "off"])
@pytest.mark.parametrize("way", ["cot", "tir", "samples"])
def test_limits_are_the_card_s(
    engine: Transformers,
    way: str,
    thinking: bool | int | None,
    most: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Sampling] = []
    for name in ("chat", "complete", "sample"):
        monkeypatch.setattr(engine, name, _watched(getattr(engine, name), asked))
    options = solve.SolveOptions(
        mode="cot" if way == "cot" else "tir", samples=2 if way == "samples" else 1, thinking=thinking
    )
    with Judge() as judge:
        checked = drain(solve.solve(engine, "What is 6 times 7?", judge, options))
    # In words alone the engine ends the thought at its budget, and the model its answer.
    expected = None if (way, most) == ("cot", 50) else most
    assert asked[0].max_tokens == expected
    assert checked.answer is None
    assert checked.solution.stop == "length"
    assert "<think>" not in checked.solution.text


def _watched(method: Any, asked: list[Sampling]) -> Any:
    """Return `method`, which notes what is asked for and writes less of it."""

    def call(*given: Any, **named: Any) -> Any:
        asked.append(named["sampling"])
        return method(*given, **{**named, "sampling": replace(named["sampling"], max_tokens=8)})

    return call
