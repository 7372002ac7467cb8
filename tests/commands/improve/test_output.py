"""What a run prints: the figures of its models, side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.commands.improve import output
from qwen_cli.tasks.improve.judge import Judged
from qwen_cli.tasks.improve.rounds import Outcome, Round
from qwen_cli.tasks.train.settings import Evaluated, Resumed, Stepped


def rows(right: str, family: str = "sums") -> list[dict[str, Any]]:
    return [
        {"id": f"{family}{n}", "subject": family, "sample": 0, "correct": float(mark == "+"), "answer": "1",
         "text": r"\boxed{1}", "tokens": 10, "stop": "stop"}
        for n, mark in enumerate(right)
    ]  # fmt: skip


def test_the_table_compares_each_model_with_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    before = Judged([*rows("+---------"), *rows("++--", "dates")])
    better = Judged([*rows("++++++++--"), *rows("++--", "dates")])
    worse = Judged([*rows("----------"), *rows("++--", "dates")])
    adapter = Path("run/round-1/adapter")
    done = [Round(1, "", adapter, better, kept=True), Round(2, "", Path("x"), worse, kept=False)]
    output.show(Outcome(before, done, adapter, control=before), "small model", "short")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    cells = {name: rest for name, *rest in (re.split(r" {2,}", line) for line in lines)}
    assert cells["likeliest answer right"] == [
        "21.4 %",
        "71.4 %",
        "14.3 %",
        "21.4 %",
    ]
    assert cells["difference"] == ["+50.0 points", "-7.1 points", "+0.0 points"]
    # Seven were right after alone, none before alone: 2 / 2**7.
    assert cells["by chance (McNemar)"] == ["0.016", "1", "1"]
    assert cells["kept"] == ["yes", "no"]
    assert cells["sums"] == ["10", "10.0 %", "80.0 %", "+70.0 points"]
    assert f"qwen chat -m 'small model' --adapter {adapter}" in lines


def test_where_nothing_was_better_the_model_is_to_be_used_as_it_is() -> None:
    (line,) = output.advice(None, "small", "cot")
    assert "go on with the model as it is" in line


def test_a_training_is_told_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    with output.training(Path("adapter")) as report:
        report(Resumed(3, 20))
        report(Stepped(4, 20, 0, 1.5, 1e-4, 1.0, 900, 200, 2.0))
        report(Evaluated(4, 1.25, best=True, seconds=1.0))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "goes on after step 3 of 20\nstep 4: held-out loss 1.2500, the lowest\n"
