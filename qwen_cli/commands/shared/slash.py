"""Slash commands: how a line names one, which of them a prompt has, and what /help and completion tell.

A command is a function of the prompt's state and its argument; the first line of its docstring is its help.
One that asks the model something returns the events of the answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias

from qwen_cli.commands.shared.output import say
from qwen_cli.errors import UsageError
from qwen_cli.ui.line_editor import Word, unquoted

Events: TypeAlias = Generator[Any, None, None]
"""What comes of an answer, as a view shows it."""


@dataclass(frozen=True)
class Command:
    """`argument` is how /help writes it; `values` completes it; `offered` says whether this prompt has it
    now.

    `about` is its help where the docstring says it for another prompt. `here`: this prompt has it at all.
    `sets` are the options that it sets: one, its argument, or several, with whose name its argument begins.
    """

    run: Callable[[Any, str], Events | None]
    argument: str = ""
    values: Callable[[str], Iterable[str]] | None = None
    offered: Callable[[Any], bool] = lambda state: True
    about: str = ""
    here: bool = True
    sets: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        return self.about or (self.run.__doc__ or "").partition("\n")[0].rstrip(".")


Commands: TypeAlias = Mapping[str, Command]


class PromptState(Protocol):
    """What commands are given: `name` is the prompt's verb (`chat`), `commands` all of every prompt."""

    name: ClassVar[str]
    commands: Commands
    leaving: bool


# What other programs call them.
_ALSO = {"exit": "quit", "bye": "quit", "?": "help"}


_FORM = 24  # columns of a command with its argument that stands before its help, and not above
_NEAR = 0.7  # of what names a command, against one that is misspelt


def is_command(commands: Commands, line: str) -> bool:
    """Return whether `line` is for us: it begins with a command, or with what is close to one, or is one word
    that asks nothing else. "/tmp is full" is for the model, and so are a pasted "// comment" and lines, the
    first of which is "/quit"."""
    if re.fullmatch(r"/[A-Za-z?]*", line.strip()):
        return True
    match = re.match(r"/([A-Za-z?]+)(?:\s|\Z)", line)
    if match is None:
        return False
    name = _ALSO.get(match[1].lower(), match[1].lower())
    if "\n" in line.strip():
        return name in commands and bool(commands[name].argument)
    return name in commands or bool(difflib.get_close_matches(name, [*commands, *_ALSO], n=1, cutoff=_NEAR))


def run(state: PromptState, line: str) -> Events | None:
    """Do what `line` says; the answer's events where it asks the model. Raises `QwenError`."""
    name, *argument = line[1:].split(maxsplit=1) or [""]
    return _find(state, name)[1].run(state, unquoted("".join(argument)).strip())


def spelling(commands: Commands) -> dict[str, str]:
    """Return how each option that can be set at a prompt with `commands` is set there: "/set seed"."""
    return {
        option: f"/{name} {option}" if len(command.sets) > 1 else f"/{name}"
        for name, command in commands.items()
        if command.here
        for option in command.sets
    }


def words(state: PromptState) -> dict[str, Word]:
    """Return the commands as completion needs them."""
    offered = _offered(state)
    completions = {name: Word(name, command.help, command.values) for name, command in offered.items()}
    if "help" in completions:
        completions["help"] = replace(completions["help"], values=lambda typed: starting(offered, typed))
    return completions


def only(commands: Commands, names: Iterable[str]) -> dict[str, Command]:
    """Return `commands` for a prompt that has those of `names` and answers the others with a line."""
    kept = set(names)
    return {name: replace(command, here=name in kept) for name, command in commands.items()}


def starting(words: Iterable[str], typed: str) -> list[str]:
    """Return those of `words` that `typed` may become."""
    return [word for word in words if word.startswith(typed)]


def help_(state: PromptState, argument: str) -> None:
    """List the commands and keys."""
    listed = dict([_find(state, argument.removeprefix("/"))]) if argument else _offered(state)
    forms = {name: f"/{name} {command.argument}".rstrip() for name, command in listed.items()}
    rows = [(forms[name], command.help) for name, command in listed.items()]
    rows += [] if argument else _keys()
    width = max(len(form) for form, _ in rows if len(form) <= _FORM or len(rows) == 1)
    for form, does in rows:
        if len(form) > width:
            say(form, indent=4)
            form = ""
        say(f"{form:<{width}}  {does}", indent=width + 2)


def quit_(state: PromptState, argument: str) -> None:
    """Leave."""
    state.leaving = True


def _keys() -> Iterator[tuple[str, str]]:
    yield "Alt-Enter", 'A new line; or put several lines between two """'
    yield "Ctrl-R", "Search what was said before"
    yield "Ctrl-C", "Stop the answer"
    yield "Ctrl-D", "Leave"


def _offered(state: PromptState) -> dict[str, Command]:
    return {name: one for name, one in state.commands.items() if one.here and one.offered(state)}


def _find(state: PromptState, name: str) -> tuple[str, Command]:
    """Return the command that `name` means, under its own name. Raises `UsageError`."""
    if not name:
        raise UsageError("there is no command behind the /", "/help lists them")
    lower = _ALSO.get(name.lower(), name.lower())
    command = state.commands.get(lower)
    if command is None:
        here = [known for known, one in state.commands.items() if one.here]
        near = difflib.get_close_matches(lower, here, n=1, cutoff=0.4)
        raise UsageError(
            f"no command is called /{name}", f"did you mean /{near[0]}?" if near else "/help lists them"
        )
    if not command.here:
        raise UsageError(
            f"/{lower} is not for the prompt of `qwen {state.name}`", "/help lists what it takes"
        )
    return lower, command
