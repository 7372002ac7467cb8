"""How the command that runs spells the options that messages name.

Below `commands` a message names an option as the library does, in backquotes, with a value if it has one:
`quant=4bit`. On a terminal it is read as --quant 4bit, and where a prompt can set it, as /set seed 1. An
option that this command does not have stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_OPTION = re.compile(r"`([a-z]\w*)(?:=([^`\n]+))?`")
# Of the command that runs: a process runs one. No context of click's: remarks come from other threads too.
_flags: dict[str, tuple[str, str | None]] = {}  # option: (how it is given, how it is turned off)
_slashes: dict[str, str] = {}


def declare(parameters: Iterable[Any]) -> None:
    """Take the options and arguments of the command that runs, as Typer declares them."""
    _flags.clear()
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            _flags[parameter.name] = (parameter.name.upper(), None)
            continue
        long = [name for name in parameter.opts if name.startswith("--")]
        off = next(iter(parameter.secondary_opts), None)
        for name in (parameter.name, *(name[2:].replace("-", "_") for name in long)):
            _flags[name] = ((*long, *parameter.opts)[0], off)  # `-n` has no long form


@contextmanager
def at_prompt(slashes: Mapping[str, str]) -> Iterator[None]:
    """Name the slash commands that set options until the end: `slashes` is {"seed": "/set seed"}."""
    _slashes.update(slashes)
    try:
        yield
    finally:
        _slashes.clear()


def spelled(message: str) -> str:
    """Return `message` with each option as whoever types here writes it."""
    return _OPTION.sub(_spell, message)


def _spell(match: re.Match[str]) -> str:
    name, value = match.groups()
    if name in _slashes:
        return _slashes[name] if value is None else f"{_slashes[name]} {value}"
    if name not in _flags:
        return match[0]
    flag, off = _flags[name]
    if value is None or value == "True":
        return flag
    if value == "False":
        return off or match[0]
    return f"{flag} {value}" if flag.startswith("-") else value
