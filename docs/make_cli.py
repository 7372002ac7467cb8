"""Write docs/cli.md from the commands themselves; a test holds the page to them.

python docs/make_cli.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from qwen_cli.commands.main import app
from qwen_cli.commands.shared.help import groups, parts
from qwen_cli.commands.shared.options import LOADING

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Commands

Written by `docs/make_cli.py` from what `qwen COMMAND --help` says: change it there. The pages of the single
commands, such as [chat](chat.md), say more and show what comes out.
"""


def page() -> str:
    """Return the text of docs/cli.md."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="qwen")
    lines = [HEAD]
    loading: list[tuple[str, str]] = []
    for command, inner in _walk(root, context):
        shown = groups(command, inner)
        loading = shown.pop(LOADING, None) or loading
        lines += _section(command, inner, shown)
    lines += [f"## {LOADING}", "", "Of every command that loads a model.", "", *_table(loading), ""]
    return "\n".join(lines)


def _walk(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Yield `command` and all below it, each with a context that knows its path."""
    yield command, context
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            yield from _walk(below, below.context_class(below, info_name=name, parent=context))


def _section(command: Any, context: Any, shown: dict[str, list[tuple[str, str]]]) -> list[str]:
    prose, examples = parts(command.help)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"## {context.command_path}", "", prose, "", "```sh", *(examples or [usage]), "```", ""]
    if examples:
        lines += [f"Usage: `{usage}`", ""]
    for heading, rows in shown.items():
        rows = [row for row in rows if not row[0].endswith("--help")]
        if rows:
            lines += [f"**{heading}**", "", *_table(rows), ""]
    if hasattr(command, "list_commands"):
        names = [
            f"[{name}](#{_anchor(f'{context.command_path} {name}')})"
            for name in command.list_commands(context)
        ]
        lines += [f"Commands: {', '.join(names)}.", ""]
    if any(getattr(each, "rich_help_panel", None) == LOADING for each in command.params):
        lines += [f"**{LOADING}**: the options [below](#{_anchor(LOADING)}).", ""]
    return lines


def _table(rows: list[tuple[str, str]]) -> list[str]:
    lines = [f"| `{_cell(name)}` | {_cell(_prose(text))} |" for name, text in rows]
    return ["| name | meaning |", "|---|---|", *lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _prose(text: str) -> str:
    """Mark what Markdown would take for HTML or emphasis."""
    return text.replace("<", "&lt;").replace("*", "\\*")


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
