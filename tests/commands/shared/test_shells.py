"""What a shell is told, and what a real one makes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal import Terminal

from qwen_cli.commands.shared import shells


@pytest.mark.parametrize(
    ("words", "before", "typed", "kept"),
    [
        (["qwen", "chat", "-m", "qwen3", ":", "8"], ["chat", "-m"], "qwen3:8", 6),
        (["qwen", "chat", "-m", "qwen3", ":"], ["chat", "-m"], "qwen3:", 6),
        (["qwen", "chat", "-m", "qwen3:8"], ["chat", "-m"], "qwen3:8", 0),
        (["qwen", "chat", "-m", "qwen3"], ["chat", "-m"], "qwen3", 0),
        (["qwen", "chat", "-m", "a/b", ":", "q8", "hi"], ["chat", "-m", "a/b:q8"], "hi", 0),
        (["qwen", "chat", "--model", "=", "qwen3", ":", "8"], ["chat"], "--model=qwen3:8", 14),
        (["qwen", "chat", "--session", "my\\ fi"], ["chat", "--session"], "my\\ fi", 0),
        (["qwen", ""], [], "", 0),
        (["qwen", "chat", ""], ["chat"], "", 0),
    ],
)
def test_bash_parts_words_at_colons(words: list[str], before: list[str], typed: str, kept: int) -> None:
    assert shells._of_bash("\n".join(words), len(words) - 1) == (before, typed, kept)


@pytest.mark.parametrize(
    ("line", "before", "typed"),
    [
        ("qwen chat -m qwen3:8", ["chat", "-m"], "qwen3:8"),
        ("qwen chat -m ", ["chat", "-m"], ""),
        ("qwen chat --session my\\ fi", ["chat", "--session"], "my fi"),
        ("qwen chat --session 'my fi", ["chat", "--session"], "my fi"),
        ('qwen chat --session "my \\"fi', ["chat", "--session"], 'my "fi'),
        ("qwen", [], "qwen"),
    ],
)
def test_zsh_and_fish_hand_over_the_line(line: str, before: list[str], typed: str) -> None:
    assert shells._of_line(line) == (before, typed)


@given(st.text(max_size=30), st.integers(0, 6))
def test_any_line_is_read(line: str, number: int) -> None:
    shells._of_line(line)
    shells._of_bash(line, number)


@given(st.text(alphabet="ab \\'\":$`!*", min_size=1, max_size=10))
def test_a_name_comes_back_from_how_it_is_written(name: str) -> None:
    assert shells._plain(shells._escaped(name)) == name
    assert shells._plain(shells._quoted(name)) == name


SCRIPT = """
from typer._completion_shared import get_completion_script
print(get_completion_script(prog_name="qwen", complete_var="_QWEN_COMPLETE", shell={shell!r}))
"""


@pytest.fixture
def shell(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Terminal:
    """A shell at a terminal that completes `qwen`."""
    name = request.param
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not here")
    script = tmp_path / "complete"
    made = subprocess.run([sys.executable, "-c", SCRIPT.format(shell=name)], capture_output=True, check=True)
    script.write_bytes(made.stdout)
    start = {
        "bash": (["--noprofile", "--norc"], f"source {script}"),
        "zsh": (["-f"], f"autoload -Uz compinit; compinit -u -d {tmp_path}/z; source {script}"),
        "fish": (["--no-config"], f"source {script}"),
    }[name]
    (home / "sessions").mkdir()
    (home / "sessions" / "my first chat.json").write_text("{}")
    (tmp_path / "a file.py").touch()
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    terminal = Terminal([program, *start[0]], tmp_path, PS1="$ ", PATH=path, HOME=str(tmp_path))
    terminal.wait(r"[$#>] ?$")
    terminal.say(start[1] + "; echo begun")
    terminal.wait("^begun$")
    return terminal


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"], indirect=True)
def test_a_real_shell_completes_names_as_they_would_be_typed(shell: Terminal) -> None:
    for typed, whole in (
        ("qwen chat -m qwen3-next:80b-a3b-i", "qwen3-next:80b-a3b-instruct"),
        ("qwen models pull star", "pull starter"),
        ("qwen chat --session my", "my\\ first\\ chat"),
        ("qwen config set temp", "set temperature"),
        ("qwen chat -f a", "a\\ file.py"),
    ):
        shell.type(typed, "\t")
        shell.wait(rf"{re.escape(whole)}\s*$")
        shell.type("\x15")  # Ctrl-U: the line away
        shell.say("")
    shell.process.close(force=True)
