"""Templates: what is asked again and again, kept in a file.

`review.toml` in the folder `templates` beside the settings file, or in `.qwen/templates` of a project:

    description = "Review a change."
    system = "You are a careful reviewer of $language."
    prompt = "Which faults does this change have?\\n\\n$input"
    model = "qwen3:8b"
    schema = "faults.json"

    [defaults]
    language = "Python"

    [sampling]
    temperature = 0.2

All but one of `system` and `prompt` may be left out. `$input` is what was asked, files and standard input;
other variables are given by name. `$$` is a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli import paths, project, reading, settings
from qwen_cli.errors import QwenError, UsageError

INPUT = "input"
_NAME = re.compile(r"[\w][\w.-]*")
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\}|(?P<wrong>))"
)
_TEXTS = ("description", "system", "prompt", "model")
_KEYS = (*_TEXTS, "schema", "think", "defaults", "sampling")
_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "seed", "max_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """One template. `schema` is the JSON schema as text, or the path of its file; `settings` are the model
    and the sampling that it asks for, checked; `stop` what ends an answer."""

    name: str
    path: Path
    description: str | None = None
    system: str | None = None
    prompt: str | None = None
    schema: str | None = None
    think: bool | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    stop: Sequence[str] = ()

    @property
    def variables(self) -> list[str]:
        """Return what it is filled in with, in the order in which they stand."""
        return _variables(f"{self.system or ''}\0{self.prompt or ''}")

    @property
    def needs_input(self) -> bool:
        """Return whether it says nothing without something to work on."""
        return INPUT in self.variables and INPUT not in self.defaults


@dataclass(frozen=True)
class Filled:
    """What a template says once its variables have values."""

    system: str | None
    prompt: str | None


def folder() -> Path:
    """Return where a person's own templates are."""
    return paths.config_file().parent / "templates"


def own_path(name: str) -> Path:
    """Return where a person's own template `name` is, or would be. Raises `UsageError` for no name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a template", "use letters, digits, - and _")
    return folder() / f"{name}.toml"


def write(path: Path, text: str) -> None:
    """Keep a template, whole or not at all. Raises `QwenError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(path, text)
    except OSError as fault:
        raise QwenError(f"cannot write {path}: {fault.strerror}", "check its permissions") from None


def known() -> dict[str, Path]:
    """Return {name: path} of every template, those of a trusted project before a person's own."""
    own = {path.stem: path for path in sorted(folder().glob("*.toml")) if path.is_file()}
    there = project.current()
    return {**own, **({name: _in_project(there, name) for name in there.templates} if there else {})}


def load(name: str) -> Template:
    """Return the template called `name`, or in the file of that path. Raises `UsageError`."""
    there = project.current()
    if there and name in there.templates:  # as it was agreed to, whatever has become of the file
        return parse(there.templates[name], name, _in_project(there, name))
    path = Path(name).expanduser() if "/" in name or name.endswith(".toml") else known().get(name)
    if path is None:
        raise _unknown(name)
    try:
        content = reading.read(path)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", "give the name of a template, or its file") from None
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror}", "give the name of a template") from None
    return parse(content, path.stem, path)


def parse(content: bytes, name: str, path: Path) -> Template:
    """Return the template that `content` is. Raises `UsageError` naming `path`."""
    given = project.parsed(content, path)
    try:
        return _checked(given, name, path)
    except UsageError as fault:
        raise UsageError(f"{path}: {fault.message}", fault.hint) from None


def fill(template: Template, given: Mapping[str, str], asked: str | None) -> Filled:
    """Return `template` with its variables filled in: `given` by name, and what was `asked`. What was asked
    follows a prompt that does not say where it goes. Raises `UsageError` for a variable without a value, and
    for a value without a variable."""
    variables = template.variables
    for name in given:
        if name not in variables or name == INPUT:
            hint = _near(name, [one for one in variables if one != INPUT], "it has")
            raise UsageError(f"template {template.name} has no variable {name!r}", hint)
    values = {**template.defaults, **given}
    if asked is not None:
        values[INPUT] = asked
    if missing := next((name for name in variables if name not in values), None):
        if missing == INPUT:
            raise UsageError(
                f"template {template.name} needs something to work on", "write it, give a file, or pipe it in"
            )
        raise UsageError(f"template {template.name} needs {missing}", f"add `param={missing}=…`")
    system = None if template.system is None else _filled(template.system, values)
    prompt = asked if template.prompt is None else _filled(template.prompt, values)
    if asked and template.prompt is not None and INPUT not in variables:
        prompt = f"{prompt}\n\n{asked}"
    return Filled(system, prompt)


def _checked(given: Mapping[str, Any], name: str, path: Path) -> Template:
    for key, value in given.items():
        if key not in _KEYS:
            raise UsageError(f"a template has no {key!r}", _near(key, _KEYS, "it may have"))
        kind, word = _KINDS[key]
        if not isinstance(value, kind):
            raise UsageError(f"{key} must be {word}, got {value!r}")
    for key in _TEXTS:
        if key in given and not given[key].strip():
            raise UsageError(f"{key} is empty", "leave it out, or fill it in")
    if "system" not in given and "prompt" not in given:
        raise UsageError("it has neither a system prompt nor a prompt", "add one")
    defaults = {key: _text(key, value) for key, value in given.get("defaults", {}).items()}
    for text in (given.get("system", ""), given.get("prompt", "")):
        _check_dollars(text)
    variables = _variables(f"{given.get('system', '')}\0{given.get('prompt', '')}")
    for key in defaults:
        if key not in variables:
            raise UsageError(f"the default {key!r} is used nowhere", _near(key, variables, "variables are"))
    sampling = dict(given.get("sampling", {}))
    stop = sampling.pop("stop", [])
    if isinstance(stop, str):
        stop = [stop]
    if not isinstance(stop, list) or not all(isinstance(one, str) and one for one in stop):
        raise UsageError(f"stop must be a list of texts, got {stop!r}")
    for key in sampling:
        if key not in _SAMPLING:
            raise UsageError(f"sampling has no {key!r}", _near(key, (*_SAMPLING, "stop"), "it may have"))
    asked = {key: settings.check(key, value) for key, value in sampling.items()}
    if "model" in given:
        asked["model"] = given["model"]
    return Template(
        name, path, given.get("description"), given.get("system"), given.get("prompt"),
        _schema(given.get("schema"), path), given.get("think"), defaults, asked, tuple(stop),
    )  # fmt: skip


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(_TEXTS, (str, "text")),
    "schema": ((str, dict), "a table, JSON, or the name of a file"),
    "think": (bool, "true or false"),
    "defaults": (dict, "a table"),
    "sampling": (dict, "a table"),
}


def _schema(given: str | Mapping[str, Any] | None, path: Path) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        import json

        try:
            return json.dumps(given)
        except TypeError:
            raise UsageError("schema holds a date, which JSON has none of", "write it as text") from None
    if given.lstrip().startswith("{"):
        return given
    return str(path.parent / Path(given).expanduser())


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"the default {key!r} must be text, got {value!r}")
    return str(value)


def _variables(text: str) -> list[str]:
    found = (match["named"] or match["braced"] for match in _VARIABLE.finditer(text))
    return list(dict.fromkeys(name for name in found if name))


def _check_dollars(text: str) -> None:
    for match in _VARIABLE.finditer(text):
        if match["wrong"] is not None:
            around = text[match.start() : match.start() + 12].splitlines()[0]
            raise UsageError(f"{around!r} is no variable", "write $$ for a dollar sign")


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda m: "$" if m["escaped"] else values[m["named"] or m["braced"]], text)


def _in_project(there: project.Project, name: str) -> Path:
    return there.root / project.TEMPLATES / f"{name}.toml"


def _unknown(name: str) -> QwenError:
    return UsageError(f"there is no template {name!r}", _near(name, [*known()], "there are"))


def _near(name: str, names: Sequence[str], otherwise: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{otherwise} {', '.join(names) or 'none'}"
