"""Ask before a tool runs: in a command that answers once, and at a prompt."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from qwen_cli.commands.shared.output import StreamView, say
from qwen_cli.engines.core.base import ToolCall
from qwen_cli.sanitize import strip_escapes
from qwen_cli.ui.line_editor import LineEditor


def ask(call: ToolCall) -> bool:
    """Show the call and take yes or no from the terminal, which standard input need not be."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    typer.echo(strip_escapes(f"run {call.name}({arguments})? [y/N] "), err=True, nl=False)
    try:
        with Path("CON" if sys.platform == "win32" else "/dev/tty").open(encoding="utf-8") as terminal:
            return terminal.readline().strip().lower() in ("y", "yes")
    except OSError:
        typer.echo("no terminal to ask on", err=True)
        return False


class Approval:
    """Asks before a tool runs: yes, no, or always for this tool."""

    def __init__(self, editor: LineEditor) -> None:
        self._editor = editor
        self._always: set[str] = set()
        self.answer: StreamView | None = None  # whose lines stand above the question

    def __call__(self, call: ToolCall) -> bool:
        if self.answer is not None:
            self.answer.end()
        if call.name in self._always:
            say(f"runs {call_line(call)}")
            return True
        while True:
            try:
                word = self._editor.ask(f"run {call_line(call)}? [y]es, [n]o, [a]lways ").strip().lower()
            except EOFError:
                return False
            if word in ("a", "always"):
                self._always.add(call.name)
            if word in ("y", "yes", "a", "always"):
                return True
            if word in ("n", "no"):
                return False


def call_line(call: ToolCall) -> str:
    """Return the call as one line, whole: it is what the person agrees to."""
    arguments = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
    )
    return strip_escapes(f"{call.name}({arguments})")
