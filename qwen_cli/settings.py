"""Settings a person keeps: one TOML file, overridden by the project's (`project`), by `QWEN_*` variables, and
by options."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli import paths, project, reading
from qwen_cli.errors import QwenError, UsageError


@dataclass(frozen=True)
class Setting:
    """One key of the file. `low`/`high` bound a number, `choices` a word, to which come the entry points of
    `group` that other packages have."""

    name: str
    kind: type
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    group: str | None = None


ENDPOINTS, ALIASES = "endpoints", "aliases"
"""The tables of the file, which `qwen_cli.endpoints` and `qwen_cli.aliases` read."""

ENGINES = "qwen.engines"
"""The group of entry points with which packages offer engines (`engines.core.backend`)."""

SETTINGS: dict[str, Setting] = {
    s.name: s
    for s in (
        Setting("model", str, "model used when none is given"),
        Setting(
            "engine",
            str,
            "what runs the model",
            choices=("auto", "llamacpp", "llama-server", "transformers", "remote"),
            group=ENGINES,
        ),
        Setting("endpoint", str, "an OpenAI-compatible server: its address, or a name given to it"),
        Setting("api_key", str, "key for an endpoint that is an address", secret=True),
        Setting("context", int, "context window in tokens", low=256),
        Setting("system", str, "system prompt for chat"),
        Setting(
            "overflow", str, "what happens when the context is full", choices=("slide", "stop", "summarise")
        ),
        Setting("mcp", str, "path of an MCP servers file whose tools chat may use"),
        Setting("temperature", float, "sampling temperature, 0 is greedy", low=0, high=5),
        Setting("top_p", float, "nucleus sampling mass", low=0, high=1),
        Setting("top_k", int, "sample among the k likeliest tokens, 0 is all", low=0),
        Setting("min_p", float, "drop tokens below this share of the likeliest", low=0, high=1),
        Setting("repetition_penalty", float, "above 1 discourages repetition", low=0.01, high=10),
        Setting("presence_penalty", float, "flat penalty on seen tokens", low=-2, high=2),
        Setting("frequency_penalty", float, "penalty per time seen", low=-2, high=2),
        # llama.cpp's seeds have 32 bits, and it takes the last of them for "any" (LLAMA_DEFAULT_SEED).
        Setting("seed", int, "same seed, same answer", low=0, high=2**32 - 2),
        Setting("max_tokens", int, "longest answer in tokens", low=1),
        Setting("kv_cache_max", float, "most GB of models' states of sessions, files, system prompts", low=0),
        Setting("log", str, "whether questions are kept for qwen log", choices=("on", "off")),
        Setting("log_max", float, "most GB of the log of questions", low=0),
        Setting("thinking_budget", int, "thinking tokens before the answer is forced", low=1),
    )
}


def variable(name: str) -> str:
    """Return the environment variable of setting `name`."""
    return f"QWEN_{name.upper()}"


def origin(name: str) -> str:
    """Return what gives setting `name` its value: the variable, or the name of the file."""
    if os.environ.get(variable(name)):
        return variable(name)
    here = project.current()
    return project.FILE if here and name in here.values else paths.config_file().name


VARIABLES = (
    *map(variable, SETTINGS),
    *("QWEN_HOME", "QWEN_CONFIG", "QWEN_SERVE_KEY", "QWEN_DEBUG", "QWEN_LLAMA_SERVER"),
)
"""The environment variables that are read."""


def choices(name: str) -> list[str]:
    """Return the words that setting `name` may be, those of other packages last."""
    known = setting(name)
    if known.group is None:
        return list(known.choices)
    from importlib.metadata import entry_points  # 20 ms, only for a word that is not ours

    offered = (point.name for point in entry_points(group=known.group))
    return list(dict.fromkeys((*known.choices, *offered)))


def parse(name: str, text: str) -> Any:
    """Return `text` as the value of setting `name`, checked. Raises `UsageError`."""
    return check(name, _convert(setting(name), text))


def check(name: str, value: Any) -> Any:
    """Return `value` if setting `name` may have it. Raises `UsageError` naming the bounds."""
    known = setting(name)
    if known.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, known.kind):
        raise UsageError(f"{name} must be {_word(known)}, got {value!r}")
    if name in ("model", "endpoint", "mcp") and not str(value).strip():
        raise UsageError(f"{name} is empty", "give one, or leave it out")
    if known.choices and value not in known.choices and value not in choices(name):
        raise UsageError(f"{name} must be one of {', '.join(choices(name))}, got {value!r}")
    if isinstance(value, (int, float)) and not _within(known, value):
        upper = f" and at most {known.high:,}" if known.high is not None else ""
        raise UsageError(f"{name} must be at least {known.low or 0:g}{upper}, got {value!r}")
    return value


def load(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return every setting that is given: the file's values, those of a trusted project over them, and the
    environment's over both.

    Raises `UsageError` for a broken file or value, naming where it stands.
    """
    file = paths.config_file()
    values: dict[str, Any] = {}
    for name, value in read().items():
        if name in (ENDPOINTS, ALIASES):
            continue
        try:
            values[name] = check(name, value)
        except UsageError as fault:
            raise UsageError(f"{file}: {fault.message}", fault.hint) from None
    if here := project.current():
        values |= of_project(here)
    for name in SETTINGS:
        if text := environ.get(variable(name)):
            try:
                values[name] = parse(name, text)
            except UsageError as fault:
                raise UsageError(f"{variable(name)}: {fault.message}", fault.hint) from None
    return values


def of_project(here: project.Project) -> dict[str, Any]:
    """Return the settings of a project, paths in it taken from its folder. Raises `UsageError` for what a
    project may not set: keys, and where they are."""
    values: dict[str, Any] = {}
    for name, value in here.values.items():
        if name in (ENDPOINTS, ALIASES) or (name in SETTINGS and SETTINGS[name].secret):
            raise UsageError(
                f"{here.file} holds {name}, which a project may not", "keep it in your own: `qwen config`"
            )
        try:
            values[name] = check(name, value)
        except UsageError as fault:
            raise UsageError(f"{here.file}: {fault.message}", fault.hint) from None
    if re.search("[:/]", values.get("endpoint", "")):  # a key of yours would be sent to whatever it is
        raise UsageError(
            f"{here.file} holds the address of a server, {values['endpoint']!r}",
            "give the server a name with `qwen config endpoint add`, and the name there",
        )
    for name in ("model", "mcp"):
        if name in values and (name == "mcp" or values[name].startswith(".")):
            values[name] = str(here.root / Path(values[name]).expanduser())
    return values


def store(name: str, text: str | None) -> Path:
    """Write one setting (`None` removes it), keeping comments and order. Returns the file."""

    def write(document: Any) -> None:
        if text is None:
            setting(name)
            document.pop(name, None)
        else:
            document[name] = parse(name, text)

    return change(write)


def change(edit: Callable[[Any], None]) -> Path:
    """Let `edit` change the file as a tomlkit document, keeping comments and order. Returns the file.

    It is replaced whole or not at all. Raises `UsageError` for one that does not parse, and what `edit` does.
    """
    import tomlkit

    file = paths.config_file()
    read()  # refuse to touch a file that does not parse
    try:
        document = tomlkit.parse(reading.read(file).decode()) if file.exists() else tomlkit.document()
        edit(document)
        written = tomlkit.dumps(document)
    except OSError as fault:
        raise QwenError(f"cannot read {file}: {fault.strerror}", "check its permissions") from fault
    replace_file(file, written)
    return file


def replace_file(file: Path, text: str) -> None:
    """Make `text` all of `file`: at once, or not at all. Who may not read it now may not then; one that is
    new is this user's alone. Raises `QwenError`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        target = file.resolve()  # a link stays one: the file may live among a person's dotfiles
        # The file may hold a key: nobody else may read it, not even for a moment.
        paths.replace(target, text, mode=0o600)
    except OSError as fault:
        full = fault.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space; the settings are as they were" if full else "check its permissions"
        raise QwenError(f"cannot write {file}: {fault.strerror}", hint) from fault


def read() -> dict[str, Any]:
    """Return the file as it stands; nothing where it is not there. Raises `UsageError`, `QwenError`."""
    file = paths.config_file()
    try:
        return reading.parsed_toml(reading.read(file).decode())
    except FileNotFoundError:
        return {}
    except ValueError as fault:
        raise UsageError(f"{file} is not valid TOML: {fault}", "fix it or remove it") from None
    except OSError as fault:
        raise QwenError(f"cannot read {file}: {fault.strerror}", "check its permissions") from None


def setting(name: str) -> Setting:
    """Return the setting called `name`. Raises `UsageError` with the nearest name there is."""
    if name in SETTINGS:
        return SETTINGS[name]
    import difflib

    near = difflib.get_close_matches(name, SETTINGS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known settings: {', '.join(SETTINGS)}"
    raise UsageError(f"no setting is called {name!r}", hint)


def _within(setting: Setting, value: float) -> bool:
    low = float("-inf") if setting.low is None else setting.low
    high = float("inf") if setting.high is None else setting.high
    return low <= value <= high  # false for NaN


def _convert(setting: Setting, text: str) -> Any:
    try:
        return setting.kind(text)
    except ValueError:
        raise UsageError(f"{setting.name} must be {_word(setting)}, got {text!r}") from None


def _word(setting: Setting) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[setting.kind]
