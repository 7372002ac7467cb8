"""What `--help` says of the longest answer is what is in force."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from qwen_cli.commands.main import app
from qwen_cli.tasks.math import allowance
from qwen_cli.tasks.vision import windows


def said(verb: str) -> str:
    """Return the help of a command as one line."""
    return " ".join(CliRunner().invoke(app, [verb, "--help"]).stdout.split())


def test_math_tells_the_limits_of_each_kind_of_model() -> None:
    assert f"if not given {allowance.ANSWER:,} for Qwen2.5-Math and models under 2 billion" in said("math")
    assert allowance._SMALL == 2e9
    assert f"{allowance.THOUGHT:,} for thinking" in said("math")


def test_vision_tells_the_limit_of_windows() -> None:
    assert windows._SAID == 0.5
    assert "windows of a long video, which have half of the context together" in said("vision")


@pytest.mark.parametrize("verb", ["chat"])
def test_without_a_limit_it_says_so(verb: str) -> None:
    assert "--max-tokens <int> Maximum length of the answer in tokens; no limit if not given." in said(verb)
