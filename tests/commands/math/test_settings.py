"""What is kept for all commands holds for `qwen math` too, but for what would make it guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import typer
from scripted import Scripted, end

from qwen_cli.commands.math import command
from qwen_cli.engines.core.base import Piece, Sampling

Solve = Callable[..., Sampling]


@pytest.fixture
def solve(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Solve:
    """Solve a problem, and return the sampling that was asked for. `ends` is why the model ended."""
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.chdir(tmp_path)

    def run(*, ends: str = "stop", **flags: Any) -> Sampling:
        answer = [Piece("\\boxed{4}" if ends == "stop" else "2 and"), end(ends)]
        engine = Scripted(answer, context=4096)
        engine.model = "qwen2.5:0.5b"
        engine.capabilities = replace(engine.capabilities, thinking=None)
        monkeypatch.setattr(command, "open_engine", lambda *_, **__: nullcontext(engine))
        command.math(problem=["What is 2 + 2?"], mode="cot", model=engine.model, **flags)
        ((sampling, _),) = engine.asked
        return sampling

    return run


def keep(monkeypatch: pytest.MonkeyPatch, words: Sequence[tuple[str, str]]) -> None:
    for name, value in words:
        monkeypatch.setenv(f"QWEN_{name.upper()}", value)


def test_seed_lengths_and_what_is_cut_off_hold(solve: Solve, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(
        monkeypatch, [("seed", "5"), ("max_tokens", "99"), ("top_p", "0.5"), ("top_k", "7"), ("min_p", "0.1")]
    )
    asked = solve()
    assert (asked.seed, asked.max_tokens, asked.top_p, asked.top_k, asked.min_p) == (5, 99, 0.5, 7, 0.1)
    assert solve(seed=6).seed == 6, "a flag is stronger"


def test_a_temperature_and_penalties_kept_for_talking_do_not(
    solve: Solve, monkeypatch: pytest.MonkeyPatch
) -> None:
    penalties = [("repetition_penalty", "1.2"), ("presence_penalty", "1"), ("frequency_penalty", "1")]
    keep(monkeypatch, [("temperature", "0.9"), *penalties])
    asked = solve()
    assert asked.temperature == 0
    assert (asked.repetition_penalty, asked.presence_penalty, asked.frequency_penalty) == (None, None, None)
    assert solve(temperature=0.4).temperature == 0.4


def test_what_cut_an_answer_is_named_as_it_was_given(
    solve: Solve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**flags: Any) -> str:
        with pytest.raises(typer.Exit):
            solve(ends="length", **flags)
        return capsys.readouterr().err.strip()

    assert said() == (
        "no answer: it was cut after 2,048 tokens, the most that this model is given; "
        "--max-tokens gives another limit"
    )
    assert said(max_tokens=50) == "no answer: it was cut at --max-tokens 50"
    keep(monkeypatch, [("max_tokens", "60")])
    assert said() == "no answer: it was cut at the setting max_tokens = 60"
