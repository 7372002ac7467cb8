"""The Vim plug-in, in a real Vim on a terminal, with a server whose answers are written down."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import language_server
import pexpect
import pytest

pytestmark = pytest.mark.skipif(shutil.which("vim") is None, reason="there is no Vim")

PLUGIN = Path(__file__).parents[2] / "editors" / "vim"
CODE = "def area(w, h):\n    return w * h\n\n\ntotal = area(\n"
ANSWER = "```python\ndef area(w, h):\n    return h * w\n```"
SECONDS = 30


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grün area.py"  # a name that a URI has to escape
    path.write_text(CODE)
    return path


@pytest.fixture
def vim(file: Path, tmp_path: Path) -> Iterator[pexpect.spawn]:
    command = [sys.executable, language_server.__file__, ANSWER, "1, 😋2)"]
    script = tmp_path / "vimrc"
    script.write_text(
        "set nocompatible encoding=utf-8\nfiletype on\n"
        f"let g:qwen_command = {json.dumps(command, ensure_ascii=False)}\n"
        "let g:qwen_delay = 10\n"
        f"set runtimepath^={PLUGIN}\n"
    )
    child = pexpect.spawn(
        "vim", ["-u", str(script), "-n", "-i", "NONE", str(file)], timeout=SECONDS, encoding="utf-8"
    )
    child.setwinsize(24, 80)
    if not _has_text_properties():
        child.close(force=True)
        pytest.skip("this Vim is too old or has no +textprop")
    yield child
    child.close(force=True)


def _has_text_properties() -> bool:
    output = pexpect.run(
        """vim -es -u NONE -c "verbose echo has('textprop') && has('patch-9.0.0185')" -c q""",
        encoding="utf-8",
    )
    return "1" in output


def leave(vim: pexpect.spawn) -> None:
    vim.send("\x1b:wq\r")
    vim.expect(pexpect.EOF)


def test_a_suggestion_is_shown_and_taken_with_tab(vim: pexpect.spawn, file: Path) -> None:
    vim.expect("total")
    vim.send("5GA")
    vim.expect("1, 😋")  # what follows a wide character is drawn with a move of its own
    vim.send("\t")
    leave(vim)
    assert file.read_text() == CODE.replace("area(\n", "area(1, 😋2)\n")


def test_tab_is_a_tab_where_nothing_is_suggested_and_a_suggestion_not_taken_leaves_no_trace(
    vim: pexpect.spawn, file: Path
) -> None:
    vim.expect("total")
    vim.send(":QwenToggle\r")
    vim.expect("suggestions are off")
    vim.send("3GA\t")
    vim.send("\x1b:QwenToggle\r")
    vim.expect("suggestions are on")
    vim.send("5GA")
    vim.expect("1, 😋")  # what follows a wide character is drawn with a move of its own
    leave(vim)
    assert file.read_text() == CODE.replace("\n\n\n", "\n\t\n\n")


def test_lines_are_edited_by_an_instruction(vim: pexpect.spawn, file: Path) -> None:
    vim.expect("total")
    vim.send(":1,2QwenEdit swap the factors\r")
    vim.expect(r"return h \* w")
    leave(vim)
    assert file.read_text() == CODE.replace("w * h", "h * w")


def test_the_whole_file_is_edited_where_no_lines_are_named_and_words_are_asked_for(
    vim: pexpect.spawn, file: Path
) -> None:
    vim.expect("total")
    vim.send(":QwenEdit\r")
    vim.expect("Edit with qwen:")
    vim.send("swap the factors\r")
    vim.expect(r"return h \* w")
    leave(vim)
    assert file.read_text() == "def area(w, h):\n    return h * w\n"
