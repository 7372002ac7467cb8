"""What an editor may set, in `initializationOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

_MODES = ("line", "block", "auto")


@dataclass(frozen=True)
class Settings:
    """The editor writes the names in camel case (`timeLimitMs`). Defaults are llama.vim's where it has one.

    `debounce_ms`: how long the text must rest before a completion is made that nobody asked for by hand.
    `time_limit_ms`: how long one may be written, from its first token on (llama.vim: `t_max_predict_ms`);
    what is there then is used if it has a whole line. `max_tokens`: its length (`n_predict`).
    `max_line_suffix`: characters to the right of the cursor up to which one is made by itself.
    `context_tokens`, `hole_tokens`: how much of the repository and of the file itself the model sees.
    `idle_ms`: how long the text must rest before files of the repository are read into the cache.
    `edit_instructions`: what code actions offer to change where the editor cannot ask for an instruction.
    """

    mode: str = "auto"
    debounce_ms: int = 100
    time_limit_ms: int = 1_000
    max_tokens: int = 128
    max_line_suffix: int = 8
    repository: bool = True
    context_tokens: int = 1_024
    hole_tokens: int = 1_024
    idle_ms: int = 1_000
    speculate: bool = True
    edit_instructions: tuple[str, ...] = (
        "Fix the mistakes in this code",
        "Simplify this code",
        "Add documentation comments",
        "Handle errors and edge cases",
    )


DEFAULTS = Settings()

_LIMITS = {
    "debounce_ms": (0, 5_000),
    "time_limit_ms": (50, 60_000),
    "max_tokens": (1, 4_096),
    "max_line_suffix": (0, 1_000),
    "context_tokens": (0, 100_000),
    "hole_tokens": (64, 100_000),
    "idle_ms": (0, 600_000),
}


def read(options: object, given: Settings = DEFAULTS) -> tuple[Settings, list[str]]:
    """Return the settings in `initializationOptions` over those given, and a line for each that cannot be
    used."""
    if options is None:
        return given, []
    if not isinstance(options, Mapping):
        return given, ["initializationOptions is not an object. All settings keep their defaults"]
    names = {_camel(f.name): f.name for f in fields(Settings)}
    taken: dict[str, Any] = {}
    faults = []
    for option, value in options.items():
        name = names.get(option)
        if name is None:
            faults.append(f"{option} is no setting. There are {', '.join(names)}")
        elif (wish := _wish(name, value)) is not None:
            faults.append(f"{option} is {value!r}. {wish}")
        else:
            taken[name] = tuple(value) if isinstance(value, list) else value
    return replace(given, **taken), faults


def _wish(name: str, value: Any) -> str | None:
    """Return what to give instead of a value that cannot be used."""
    if name == "edit_instructions":
        words = isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)
        return None if words else "Give a list of instructions"
    if name == "mode":
        return None if value in _MODES else f"Choose {', '.join(_MODES)}"
    if name not in _LIMITS:
        return None if isinstance(value, bool) else "Give true or false"
    low, high = _LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        return f"Give a number from {low:,} to {high:,}"
    return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
