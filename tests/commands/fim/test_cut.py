"""Code that a limit cut is told, has its reason, and is written only where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filling import Filling
from typer.testing import CliRunner, Result

from qwen_cli.commands.fim import command
from qwen_cli.commands.main import app
from qwen_cli.errors import QwenError
from qwen_cli.tasks.fim import complete

BODY = "    total = a\n    total += b\n"
WHOLE = "def add(a, b):\n\n\nprint(add(1, 2))\n"


def run(monkeypatch: pytest.MonkeyPatch, engine: Filling, *arguments: str) -> Result:
    monkeypatch.setattr(command, "open_engine", lambda *_: engine)
    return CliRunner().invoke(app, ["code-fim", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "add.py"
    path.write_text(WHOLE)
    return path


REASONS = [
    ("length", "cut after 8 tokens. Raise --max-tokens"),
    ("context", "cut after 8 tokens: the context is full. Raise --context"),
]


@pytest.mark.parametrize(("reason", "says"), REASONS)
@pytest.mark.parametrize("output", [(), ("--diff",), ("--full",), ("-n", "2")])
def test_a_cut_is_told_on_stderr(
    monkeypatch: pytest.MonkeyPatch, file: Path, reason: str, says: str, output: tuple[str, ...]
) -> None:
    done = run(monkeypatch, Filling(BODY, stop_reason=reason), str(file), "--at", "2", *output)
    assert done.exit_code == 0
    assert says.replace("8 tokens", "3 tokens" if "-n" in output else "8 tokens") in done.stderr
    assert "was cut" not in done.stdout


@pytest.mark.parametrize("reason", ["length", "context"])
def test_json_has_the_reason(monkeypatch: pytest.MonkeyPatch, file: Path, reason: str) -> None:
    done = run(monkeypatch, Filling(BODY, stop_reason=reason), str(file), "--at", "2", "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["stop_reason"] == answer["candidates"][0]["stop_reason"] == reason
    assert "cut after" in done.stderr


@pytest.mark.parametrize("reason", ["length", "context"])
def test_a_cut_is_not_written_and_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, file: Path, reason: str
) -> None:
    done = run(monkeypatch, Filling(BODY, stop_reason=reason), str(file), "--at", "2", "--write")
    assert isinstance(done.exception, QwenError)
    assert "Nothing was written" in str(done.exception)
    assert "--yes" in str(done.exception)
    assert file.read_text() == WHOLE


def test_with_yes_it_is_written_and_told_all_the_same(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    done = run(monkeypatch, Filling(BODY, stop_reason="length"), str(file), "--at", "2", "--write", "--yes")
    assert done.exit_code == 0
    assert "total = a" in file.read_text()
    assert "cut after 8 tokens" in done.stderr


def test_what_the_model_ended_is_written_without_a_word_about_cuts(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    done = run(monkeypatch, Filling(BODY), str(file), "--at", "2", "--write")
    assert done.exit_code == 0
    assert "cut" not in done.stderr
    assert "total = a" in file.read_text()


def test_yes_alone_is_refused(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    done = run(monkeypatch, Filling(BODY), str(file), "--at", "2", "--yes")
    assert "--yes does nothing without --write" in str(done.exception)


def test_the_help_tells_the_limits_that_are_in_force() -> None:
    done = CliRunner().invoke(app, ["code-fim", "--help"])
    told = " ".join(done.stdout.split())
    alone, several = complete._MAX_TOKENS, complete._MAX_SAMPLE_TOKENS
    assert f"if not given {alone['auto']}, with --mode line {alone['line']}" in told
    assert f"with --mode block {alone['block']} (with -n: {several['auto']}, {several['line']}" in told
    assert f"and {several['block']})" in told
