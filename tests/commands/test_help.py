"""`--help` of every command, word by word: what a newcomer reads first does not change by accident.

After a change that was meant: `QWEN_WRITE_HELP=1 pytest tests/commands/test_help.py` writes the texts anew.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from qwen_cli.commands.main import app
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.help import groups, parts

TEXTS = Path(__file__).with_name("help")
WIDTH = 80


def commands() -> Iterator[tuple[tuple[str, ...], bool]]:
    """The path of every command and group below `qwen`, and whether it is a group."""
    yield (), True
    group: Any = typer.main.get_command(app)
    yield from _below(group, ())


def _below(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    context = group.context_class(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        holds = hasattr(command, "list_commands")
        yield (*path, name), holds
        if holds:
            yield from _below(command, (*path, name))


_FOUND = list(commands())
COMMANDS = [path for path, _ in _FOUND]
LEAVES = [path for path, group in _FOUND if not group]


def found(path: tuple[str, ...]) -> tuple[Any, Any]:
    """The command at `path`, and a context of it."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="qwen")
    for name in path:
        command = command.get_command(context, name)
        context = command.context_class(command, info_name=name, parent=context)
    return command, context


LOADING = {field.name for field in fields(options.Loading)}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(("qwen", *path)))
def test_help_reads_as_it_is_kept(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    text = rendered(path, monkeypatch)
    kept = TEXTS / f"{'-'.join(('qwen', *path))}.txt"
    if os.environ.get("QWEN_WRITE_HELP"):
        kept.write_text(text, "utf-8")
    assert text == kept.read_text("utf-8"), (
        f"run with QWEN_WRITE_HELP=1 if the change was meant ({kept.name})"
    )


def test_no_text_is_kept_of_a_command_that_is_gone() -> None:
    kept = {file.stem for file in TEXTS.glob("*.txt")}
    assert kept == {"-".join(("qwen", *path)) for path in COMMANDS}


def rendered(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `qwen PATH --help` prints on a terminal of 80 columns."""
    from typer.testing import CliRunner

    for name in [name for name in os.environ if name.startswith("QWEN_") and name != "QWEN_WRITE_HELP"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERMINAL_WIDTH", str(WIDTH))
    done = CliRunner().invoke(app, [*path, "--help"], prog_name="qwen", terminal_width=WIDTH)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    for heading, rows in groups(*found(path)).items():
        for name, text in rows:
            assert re.match(r"[A-Z]|[a-z]+: ", text), (heading, name, text)  # "tir: reason and run Python"


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(("qwen", *path)))
def test_an_example_of_each_command_would_be_understood(path: tuple[str, ...]) -> None:
    prose, examples = parts(found(path)[0].help)
    assert prose and examples
    for line in examples:
        assert len(line) + 2 <= WIDTH
        words = shlex.split(re.split(r" [|<>] ", line[line.index("qwen ") :])[0])
        leaf = next(leaf for leaf in LEAVES if tuple(words[1 : 1 + len(leaf)]) == leaf)
        assert leaf[: len(path)] == path
        # Raises what is no option or no number.
        found(leaf)[0].make_context(leaf[-1], words[1 + len(leaf) :])


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_options_of_loading_are_one_group_at_the_end(path: tuple[str, ...]) -> None:
    command, context = found(path)
    loading = [each for each in command.params if each.name in LOADING]
    if {"model", "engine"} <= {each.name for each in loading}:
        assert {each.name for each in loading} == LOADING
        assert {each.rich_help_panel for each in loading} == {options.LOADING}
        assert list(groups(command, context))[-1] == options.LOADING


def test_examples_keep_their_lines_and_prose_is_filled() -> None:
    text = """Do it
    in one go.

    Examples:
      qwen it --now
      qwen it | cat
    """
    assert parts(text) == ("Do it\nin one go.", ["qwen it --now", "qwen it | cat"])
    assert parts(None) == ("", [])
