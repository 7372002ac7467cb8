"""Every example of docs/python-api.md runs, and prints what stands below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import qwen_cli

PAGE = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text("utf-8")
EXAMPLES = re.findall(
    r"^## (.+?)\n.*?```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize(("heading", "code", "output"), EXAMPLES, ids=[heading for heading, *_ in EXAMPLES])
def test_the_example_runs(
    heading: str,
    code: str,
    output: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"docs/python-api.md: {heading}", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    if output:
        assert printed == output
    else:
        assert printed.strip() or "assert" in code


def test_every_block_is_an_example_that_runs() -> None:
    assert len(EXAMPLES) == PAGE.count("```python\n") == PAGE.count("\n## ")


def test_the_table_names_what_is_exported() -> None:
    names = set(re.findall(r"`(\w+)`", PAGE))
    assert set(qwen_cli.__all__) - {"__version__"} <= names
