"""What Tab offers where a file may be named."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from qwen_cli.ui import line_editor
from qwen_cli.ui.line_editor import Word


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("main.py", "my file.txt", "my dir/x.py", "src/a.py", "src/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    monkeypatch.chdir(tmp_path)


def offered(typed: str, *, mentions: bool = True) -> list[str]:
    """The lines that Tab may make of `typed`."""
    words = {"file": Word("file", "Attach", line_editor.complete_paths)}
    completer = line_editor._completer(lambda: words, mentions)
    found = completer.get_completions(Document(typed), CompleteEvent())
    return [typed[: len(typed) + one.start_position] + one.text for one in found]


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ("explain @ma", ["explain @main.py"]),
        ("@", ["@main.py", '@"my dir/"', '@"my file.txt"', "@src/"]),
        ("@main.py and @src/", ["@main.py and @src/a.py", "@main.py and @src/b.py"]),
        ("(@src/b", ["(@src/b.py"]),
        ('@"my f', ['@"my file.txt']),
        ('@"my dir/', ['@"my dir/x.py']),
        ("解释@ma", ["解释@main.py"]),
        ("two\nlines @ma", ["two\nlines @main.py"]),
        ("a@ma", []),
        (r"\@ma", []),
        ("@nothing", []),
        ("/file src/", ["/file src/a.py", "/file src/b.py"]),
        ("/file main.py src/b", ["/file main.py src/b.py"]),
        ("/file my", ['/file "my dir/"', '/file "my file.txt"']),
        ('/file "my f', ['/file "my file.txt"']),
        ("/file my\\ f", ['/file "my file.txt"']),
    ],
)
def test_the_names_of_files_are_completed(typed: str, lines: list[str]) -> None:
    assert offered(typed) == lines


def test_a_prompt_that_attaches_nothing_completes_no_mention() -> None:
    assert offered("@ma", mentions=False) == []
