"""The verbs of `qwen`: a module is imported when its verb is called, and none for the list of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

# verb: (module in `commands`, what it is called there, what it does in a line of 80 columns)
VERBS = {
    "chat": ("chat.command", "chat", "Talk with a Qwen model."),
    "code-fim": ("fim.command", "code_fim", "Fill in code at a place in a file."),
    "math": ("math.command", "math", "Solve a problem with words and sandboxed Python."),
    "vision": ("vision.command", "vision", "Ask about pictures, documents and videos."),
    "serve": ("serve.command", "serve", "Serve models to programs (OpenAI's API, /infill)."),
    "ps": ("serve.daemon", "ps", "Show the server of this user and its models."),
    "stop": ("serve.daemon", "stop", "Stop the server of this user, once its answers have ended."),
    "eval": ("eval.command", "app", "Measure a model on tasks with known answers."),
    "models": ("models.command", "app", "List, plan, fetch, show, remove and convert models."),
    "doctor": ("models.doctor", "doctor", "Check this machine and what works on it."),
    "config": ("config.command", "app", "Read and write settings."),
    "sandbox": ("sandbox.command", "app", "Contain model-written Python: check the layers, run a program."),
}


class Verbs(TyperGroup):
    """The group of them. Typer's own imports every command to list their names."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict.fromkeys(VERBS)  # type: ignore[assignment]  # names alone, for what is close to one

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module, name, _ = VERBS[cmd_name]
        found = getattr(import_module(f"qwen_cli.commands.{module}"), name)
        group = typer.Typer(rich_markup_mode=None, add_completion=False)
        group.callback()(lambda: None)  # else a single command would be no group
        if isinstance(found, typer.Typer):
            group.add_typer(found, name=cmd_name)
        else:
            group.command(cmd_name)(found)
        made: Any = typer.main.get_command(group)
        return made.get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, _, line) in VERBS.items()])
