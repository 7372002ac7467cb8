"""Ask before a tool runs, in a command that answers once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.sanitize import strip_escapes


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
