"""`--help` in groups with headings and examples; in plain text, because rich takes long to import."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from qwen_cli.commands.shared import flags

EXAMPLES = "\nExamples:\n"
"""Begins the last part of a docstring: command lines, one a line, shown as they are written."""


def parts(text: str | None) -> tuple[str, list[str]]:
    """Split a docstring into its prose and its example lines."""
    prose, _, examples = inspect.cleandoc(text or "").partition(EXAMPLES)
    return prose.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


def groups(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """Return each heading of `command` with its rows (name, help), in the order in which they are declared.

    Arguments come first, then options without a heading of their own.
    """
    rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            heading = getattr(parameter, "rich_help_panel", None) or usual
            # The bounds stand beside the help: "<int range>" says no more than "<int>".
            rows.setdefault(heading, []).append((record[0].replace(" range>", ">"), record[1]))
    return {heading: lines for heading, lines in rows.items() if lines}


def _write_text(command: Any, formatter: Any) -> None:
    prose, examples = parts(command.help)
    if prose:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(prose)
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def _write_groups(command: Any, context: Any, formatter: Any) -> None:
    for heading, rows in groups(command, context).items():
        with formatter.section(heading):
            formatter.write_dl(rows)


class Command(TyperCommand):
    """A command whose help has headings and examples, and whose options messages name."""

    def invoke(self, ctx: Any) -> Any:
        flags.declare(self.get_params(ctx))
        return super().invoke(ctx)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _write_text(self, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_groups(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose help has headings and examples."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _write_text(self, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_groups(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with the whole first sentence of its help, which Typer cuts short."""
        commands: list[Any] = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(each.name, each.get_short_help_str(limit=300)) for each in commands])


class App(typer.Typer):
    """A Typer group that makes `Command`s and shows its help when it is called alone, or does something then
    (`alone`)."""

    def __init__(self, help: str, *, alone: bool = False) -> None:
        # Plain help: rich would take as long to import as everything else together.
        super().__init__(
            cls=Group,
            help=help,
            no_args_is_help=not alone,
            invoke_without_command=alone,
            rich_markup_mode=None,
        )

    def command(self, name: str | None = None, **given: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=Command, **given)
