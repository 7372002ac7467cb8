"""Ask once whether what a project's folder says of `qwen` may hold."""

from __future__ import annotations

import sys

import typer

from qwen_cli import project, settings
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import one_line

_SHOWN = 100  # characters of a value


def ask(there: project.Project) -> bool | None:
    """Return whether the person at the terminal trusts a project, told all that it sets; `None`, with a
    remark, where there is nobody or nothing in it could hold."""
    try:
        told = facts(there)
    except UsageError as fault:
        relay(f"{fault}. Until then what the project sets is ignored")
        return None
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        say(
            f"{there.root} has settings of its own that nobody has trusted yet: they are ignored. "
            "See `qwen config project`"
        )
        return None
    say(f"{there.root} has settings of its own:")
    for line in told:
        say(f"  {line}")
    return bool(typer.confirm("Trust them, as they are now?", default=False, err=True))


def facts(there: project.Project) -> list[str]:
    """Return what a project sets, a line each, and what that means where it is more than taste. Raises
    `UsageError`."""
    values = settings.of_project(there)
    lines = [f"{name} = {_short(str(value))}" for name, value in values.items()]
    if "endpoint" in values:
        lines.append(f"that sends what you ask to the server you call {_short(values['endpoint'])}")
    if "mcp" in values:
        lines.append(
            "that starts the programs which this MCP file lists, and offers their tools to the model"
        )
    if there.templates:
        lines.append(f"templates: {_short(', '.join(there.templates))}")
    return lines


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
