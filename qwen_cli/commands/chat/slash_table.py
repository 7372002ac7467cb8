"""The slash commands of a conversation: one table, from which /help and completion come.

A command is a function of the talk and its argument; the first line of its docstring is its help. One that
asks the model something returns the events of the answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_cli.commands.chat import slash_messages, slash_sessions, slash_settings
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat.conversation import Events
from qwen_cli.ui.line_editor import Word, complete_path, unquoted

if TYPE_CHECKING:
    from qwen_cli.commands.chat.state import ReplState


@dataclass(frozen=True)
class Command:
    """`argument` is how /help writes it; `values` completes it; `offered` says whether this talk has it."""

    run: Callable[[ReplState, str], Events | None]
    argument: str = ""
    values: Callable[[str], Iterable[str]] | None = None
    offered: Callable[[ReplState], bool] = lambda talk: True

    @property
    def help(self) -> str:
        return (self.run.__doc__ or "").partition("\n")[0].rstrip(".")


def help_(talk: ReplState, argument: str) -> None:
    """List the commands and keys."""
    shown = {name: command for name, command in COMMANDS.items() if command.offered(talk)}
    if argument:
        name = argument.removeprefix("/")
        shown = {name: _find(name)}
    forms = {name: f"/{name} {command.argument}".rstrip() for name, command in shown.items()}
    width = max(len(form) for form in forms.values())
    for name, command in shown.items():
        say(f"{forms[name]:<{width}}  {command.help}")
    if not argument:
        say(f"{'Alt-Enter':<{width}}  A new line; or put several lines between two " + '"""')
        say(f"{'Ctrl-R':<{width}}  Search what was said before")
        say(f"{'Ctrl-C':<{width}}  Stop the answer and keep it")
        say(f"{'Ctrl-D':<{width}}  Leave")


def quit_(talk: ReplState, argument: str) -> None:
    """Leave; the session is kept."""
    talk.leaving = True


COMMANDS: Mapping[str, Command] = {
    "help": Command(help_, "[COMMAND]", lambda typed: _starting(COMMANDS, typed)),
    "retry": Command(slash_messages.retry),
    "edit": Command(slash_messages.edit),
    "undo": Command(slash_messages.undo),
    "clear": Command(slash_messages.clear),
    "file": Command(slash_messages.file, "[PATH | -]", complete_path),
    "image": Command(slash_messages.image, "PATH | URL", complete_path, slash_messages.sees_images),
    "copy": Command(slash_messages.copy, "[code]", lambda typed: _starting(("code",), typed)),
    "system": Command(slash_settings.system, "[TEXT | -]"),
    "model": Command(slash_settings.model, "[NAME]", slash_settings.model_names),
    "set": Command(slash_settings.set_, "[NAME [VALUE | default]]", slash_settings.parameter_names),
    "think": Command(
        slash_settings.think,
        "[on | off | N | show | hide]",
        lambda typed: _starting(slash_settings.THINK_WORDS, typed),
    ),
    "tokens": Command(slash_settings.tokens),
    "stats": Command(slash_settings.stats),
    "save": Command(slash_sessions.save, "NAME"),
    "load": Command(slash_sessions.load, "NAME", slash_sessions.names),
    "sessions": Command(slash_sessions.list_),
    "export": Command(slash_sessions.export, "md|json [FILE]", slash_sessions.export_values),
    "quit": Command(quit_),
}

# What other programs call them.
_ALSO = {"exit": "quit", "bye": "quit", "?": "help"}


def is_command(line: str) -> bool:
    """Whether `line` is for us. "/usr/bin is full" and a pasted "// comment" are for the model."""
    return re.match(r"/[A-Za-z?]+(\s|\Z)", line) is not None


def run(talk: ReplState, line: str) -> Events | None:
    """Do what `line` says; the answer's events where it asks the model. Raises `QwenError`."""
    name, *argument = line[1:].split(maxsplit=1)
    return _find(name).run(talk, unquoted("".join(argument)).strip())


def words(talk: ReplState) -> dict[str, Word]:
    """The commands as completion needs them."""
    return {
        name: Word(name, command.help, command.values)
        for name, command in COMMANDS.items()
        if command.offered(talk)
    }


def _find(name: str) -> Command:
    lower = _ALSO.get(name.lower(), name.lower())
    if lower in COMMANDS:
        return COMMANDS[lower]
    near = difflib.get_close_matches(lower, COMMANDS, n=1, cutoff=0.4)
    hint = f"did you mean /{near[0]}?" if near else "/help lists them"
    raise UsageError(f"no command is called /{name}", hint)


def _starting(words: Iterable[str], typed: str) -> list[str]:
    return [word for word in words if word.startswith(typed)]
