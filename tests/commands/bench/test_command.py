"""`qwen bench`: its table, its file and what it refuses, over measurements that are written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.commands.bench import command, output
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.planning import benched
from qwen_cli.models.planning.benched import Rates
from qwen_cli.tasks.bench import measure
from qwen_cli.tasks.bench.measure import Result, Row

ROWS = [Row(128, 500.0, 40.0, 10**9), Row(8_192, skipped="no time")]


def measured(model: str, engine: str, *, fault: str = "") -> Result:
    rows = [] if fault else list(ROWS)
    return Result(model, engine, "Q4_K_M", None if fault else 0.5, None if fault else 0.2, 10**9, rows, fault)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models, which keeps what it measures to itself."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "qwen"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    return tmp_path


@pytest.fixture
def written_down(own: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    asked: list[tuple[str | None, str]] = []

    def run(options: Any, lengths: Any, *, seconds: float, tell: Any) -> Result:
        asked.append((options.model, options.engine))
        result = measured(options.model, options.engine)
        tell(result)
        if options.model == "last":
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(measure, "run", run)
    monkeypatch.setattr(command, "_check_here", lambda one: None)
    return asked


def test_each_model_on_each_engine(written_down: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    command.bench(["a", "b"], ["llamacpp", "llama-server"], as_json=True)
    assert written_down == [
        ("a", "llamacpp"), ("a", "llama-server"), ("b", "llamacpp"), ("b", "llama-server")
    ]  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told[0]["rows"][0] == {
        "tokens": 128, "prefill": 500.0, "decode": 40.0, "memory": 10**9, "skipped": ""
    }  # fmt: skip
    assert benched.rates("a", "Q4_K_M", "llama-server") == (Rates(128, 500.0, 40.0),)


def test_the_table(written_down: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    command.bench(["a"], ["llamacpp"])
    assert capsys.readouterr().out == (
        "a Q4_K_M on llamacpp\n"
        "  load         0.50 s\n"
        "  first token  0.20 s\n"
        "  memory       1.00 GB\n"
        "    prompt  read tok/s  written tok/s\n"
        "       128       500.0           40.0\n"
        "     8,192  left out: no time\n"
    )


def test_ctrl_c_keeps_what_was_measured(written_down: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    command.bench(["a", "last", "never"], ["llamacpp"])
    assert [model for model, _ in written_down] == ["a", "last"]
    out = capsys.readouterr().out
    assert "a Q4_K_M" in out
    assert "last Q4_K_M" in out
    assert benched.rates("last", "Q4_K_M", "llamacpp")


def test_a_model_that_does_not_load_is_told_and_the_others_go_on(
    written_down: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    fails = lambda options, lengths, **more: measured(options.model, "llamacpp", fault="no memory")  # noqa: E731
    monkeypatch.setattr(measure, "run", fails)
    with pytest.raises(typer.Exit) as ended:
        command.bench(["a"], ["llamacpp"])
    assert ended.value.exit_code == 1
    assert "ended early: no memory" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "a", "8", "128,,512", "-128", "1e3", "2000000"])
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--lengths must be whole numbers from 16 to 1,000,000"):
        command._lengths(text)


def test_lengths_in_any_order() -> None:
    assert command._lengths("2k, 512,128,512") == [128, 512, 2_000]


def test_nothing_is_fetched(own: Path) -> None:
    with pytest.raises(ModelError, match="qwen3:8b"):
        command.measure_all(["qwen3:8b"], ["auto"], [128], seconds=1)
    with pytest.raises(UsageError, match="remote is elsewhere"):
        command.measure_all(["qwen3:8b"], ["remote"], [128], seconds=1)


class TestPlot:
    def test_a_picture_of_all_that_was_measured(self, tmp_path: Path) -> None:
        path = tmp_path / "speed.png"
        output.check_plot(path)
        output.draw([measured("a", "llamacpp"), measured("b", "llama-server", fault="x")], path)
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_what_cannot_be_drawn_is_said_before_anything_is_measured(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = tmp_path / "there.png"
        there.touch()
        for path, why in (
            (tmp_path / "x.jpg", r"must name a \.png file"),
            (there, "is there already"),
            (tmp_path / "no" / "x.png", "there is no folder"),
        ):
            with pytest.raises(UsageError, match=why):
                output.check_plot(path)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UsageError, match=r"needs matplotlib, which is not installed. Run `pip install"):
            output.check_plot(tmp_path / "x.png")
