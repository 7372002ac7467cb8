"""`--help` of every command, word by word: what a newcomer reads first does not change by accident.

After a change that was meant: `QWEN_WRITE_HELP=1 pytest tests/commands/test_help.py` writes the texts anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from qwen_cli.commands.main import app

TEXTS = Path(__file__).with_name("help")
WIDTH = 80


def commands() -> Iterator[tuple[str, ...]]:
    """The path of every command and group below `qwen`."""
    yield ()
    group: Any = typer.main.get_command(app)
    yield from _below(group, ())


def _below(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    context = group.context_class(group)
    for name in group.list_commands(context):
        yield (*path, name)
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _below(command, (*path, name))


COMMANDS = list(commands())


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
