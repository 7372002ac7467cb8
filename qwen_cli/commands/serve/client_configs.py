"""Configuration of programs that use a server: what each has to be told, in its own file."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qwen_cli.errors import UsageError

KEY_NAME = "QWEN_SERVE_KEY"
"""Environment variable that holds the key of a server, for it and for clients."""

_WHOLE_FILE = ("name", "version", "schema")  # of Continue's file: its owner's, where they are there


@dataclass(frozen=True)
class Served:
    """A server as a client sees it. Its key is in `key_file`, or in the environment where there is none;
    `keyless`: it asks for none. `context` is in tokens."""

    address: str
    model: str
    context: int | None = None
    sees: bool = False
    keyless: bool = False
    key_file: Path | None = None

    @property
    def base(self) -> str:
        return f"{self.address}/v1"

    def export(self, name: str) -> list[str]:
        """Return the line of a shell that puts the key into the variable `name`."""
        if self.keyless:
            return [f"export {name}=none"]
        if self.key_file:
            return [f'export {name}="$(cat {shlex.quote(str(self.key_file))})"']
        return [] if name == KEY_NAME else [f'export {name}="${KEY_NAME}"']


@dataclass(frozen=True)
class Config:
    """What a client is told: `values` for its `file`, lines of a shell (`exports`) that it is started after,
    and what is to be done by hand (`steps`)."""

    values: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    form: Literal["json", "toml", "yaml"] = "json"
    exports: Sequence[str] = ()
    steps: Sequence[str] = ()

    def text(self) -> str:
        """Return `values` as the file has them."""
        if self.form == "json":
            return json.dumps(self.values, ensure_ascii=False, indent=2) + "\n"
        if self.form == "toml":
            import tomlkit

            return tomlkit.dumps(self.values)
        return "".join(_yaml(self.values))

    def merged(self, old: str) -> str:
        """Return the text `old` of the file with `values` in it, and all else as it is. Raises `UsageError`
        where that cannot be done without losing something."""
        if not old.strip():
            return self.text()
        if self.form == "toml":
            return _merged_toml(old, self.values)
        return _merged_json(old, self.values) if self.form == "json" else _merged_yaml(old, self.values)


def claude_code(served: Served) -> Config:
    names = ("ANTHROPIC_MODEL", *(f"ANTHROPIC_DEFAULT_{kind}_MODEL" for kind in ("OPUS", "SONNET", "HAIKU")))
    environment = {"ANTHROPIC_BASE_URL": served.address, **dict.fromkeys(names, served.model)}
    values: dict[str, Any] = {"env": environment}
    if served.keyless:
        environment["ANTHROPIC_AUTH_TOKEN"] = "none"  # noqa: S105  # what is sent where no key is asked for
    elif served.key_file:
        values["apiKeyHelper"] = f"cat {shlex.quote(str(served.key_file))}"
    else:
        values["apiKeyHelper"] = f"printenv {KEY_NAME}"
    folder = os.environ.get("CLAUDE_CONFIG_DIR")
    return Config(values, (Path(folder) if folder else Path.home() / ".claude") / "settings.json")


def codex(served: Served) -> Config:
    provider = {"name": "qwen serve", "base_url": served.base, "wire_api": "responses"}
    if not served.keyless:
        provider["env_key"] = KEY_NAME
    values: dict[str, Any] = {"model": served.model, "model_provider": "qwen"}
    if served.context:
        values["model_context_window"] = served.context
    folder = os.environ.get("CODEX_HOME")
    file = (Path(folder) if folder else Path.home() / ".codex") / "config.toml"
    exports = () if served.keyless else served.export(KEY_NAME)
    return Config({**values, "model_providers": {"qwen": provider}}, file, "toml", exports)


def qwen_code(served: Served) -> Config:
    model: dict[str, Any] = {
        "id": served.model,
        "name": f"{served.model} (qwen serve)",
        "baseUrl": served.base,
        "envKey": KEY_NAME,
    }
    if served.context:
        model["generationConfig"] = {"contextWindowSize": served.context}
    values = {
        "modelProviders": {"openai": [model]},
        "security": {"auth": {"selectedType": "openai"}},
        "model": {"name": served.model},
    }
    return Config(values, Path.home() / ".qwen" / "settings.json", exports=served.export(KEY_NAME))


def opencode(served: Served) -> Config:
    key = f"{{file:{served.key_file}}}" if served.key_file else f"{{env:{KEY_NAME}}}"
    model: dict[str, Any] = {"name": served.model}
    if served.context:
        model["limit"] = {"context": served.context, "output": served.context // 4}
    if served.sees:
        model["modalities"] = {"input": ["text", "image"], "output": ["text"]}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "qwen serve",
        "options": {"baseURL": served.base, "apiKey": "none" if served.keyless else key},
        "models": {served.model: model},
    }
    values = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"qwen": provider},
        "model": f"qwen/{served.model}",
    }
    return Config(values, _settings_folder() / "opencode" / "opencode.json")


def aider(served: Served) -> Config:
    values = {
        "model": f"openai/{served.model}",
        "openai-api-base": served.base,
        "show-model-warnings": False,
    }
    file = Path.home() / ".aider.conf.yml"
    return Config(values, file, "yaml", served.export("OPENAI_API_KEY"))


def cline(served: Served) -> Config:
    return Config(
        exports=served.export("OPENAI_API_KEY"),
        steps=(
            "in VS Code, Cline's settings: API Provider `OpenAI Compatible`, "
            f"Base URL {served.base}, the key, Model ID {served.model}"
            + (f", Context Window {served.context}" if served.context else ""),
            f"on the command line: cline auth --provider openai --baseurl {served.base} "
            f'--modelid {served.model} --apikey "$OPENAI_API_KEY"',
        ),
    )


def continue_(served: Served) -> Config:
    model: dict[str, Any] = {
        "name": f"{served.model} (qwen serve)",
        "provider": "openai",
        "model": served.model,
        "apiBase": served.base,
        "apiKey": "none" if served.keyless else f"${{{{ secrets.{KEY_NAME} }}}}",
        "roles": ["chat", "edit", "apply"],
    }
    if served.context:
        model["defaultCompletionOptions"] = {"contextLength": served.context}
    folder = Path.home() / ".continue"
    steps = [] if served.keyless else [f"put {KEY_NAME}=… into {folder / '.env'}"]
    values = {"name": "Local", "version": "1.0.0", "schema": "v1", "models": [model]}
    return Config(values, folder / "config.yaml", "yaml", steps=steps)


def open_webui(served: Served) -> Config:
    exports = [f"export OPENAI_API_BASE_URL={shlex.quote(served.base)}", *served.export("OPENAI_API_KEY")]
    return Config(
        exports=(*exports, "export ENABLE_OLLAMA_API=false"),
        steps=("then `open-webui serve`; a container takes them with -e, and needs --network=host",),
    )


def zed(served: Served) -> Config:
    model: dict[str, Any] = {
        "name": served.model,
        "display_name": f"{served.model} (qwen serve)",
        "max_tokens": served.context or 32_768,
        "capabilities": {"tools": True, "images": served.sees},
    }
    provider = {"api_url": served.base, "available_models": [model]}
    values = {
        "language_models": {"openai_compatible": {"qwen": provider}},
        "agent": {"default_model": {"provider": "qwen", "model": served.model}},
    }
    # Zed names the variable after the provider.
    return Config(values, _settings_folder() / "zed" / "settings.json", exports=served.export("QWEN_API_KEY"))


CLIENTS: Mapping[str, Callable[[Served], Config]] = {
    "claude-code": claude_code,
    "codex": codex,
    "qwen-code": qwen_code,
    "opencode": opencode,
    "aider": aider,
    "cline": cline,
    "continue": continue_,
    "open-webui": open_webui,
    "zed": zed,
}


def _settings_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _merge(old: Any, new: Any) -> Any:
    """Return `old` with what `new` says: objects are merged, and of lists the entries that are about the same
    thing are replaced."""
    if isinstance(old, dict) and isinstance(new, Mapping):
        return {**old, **{name: _merge(old[name], one) if name in old else one for name, one in new.items()}}
    if isinstance(old, list) and isinstance(new, list):
        about = [_about(one) for one in new]
        return [one for one in old if _about(one) not in about] + new
    return new


def _about(entry: Any) -> Any:
    """Return what an entry of a list is known by."""
    if not isinstance(entry, Mapping):
        return entry
    return [entry.get(name) for name in ("id", "name", "baseUrl")]


def _merged_json(old: str, values: Mapping[str, Any]) -> str:
    try:
        parsed = json.loads(old)
    except ValueError as fault:
        raise UsageError(
            f"it is not plain JSON ({fault}); comments would be lost", "put the lines in by hand"
        ) from None
    if not isinstance(parsed, dict):
        raise UsageError("it holds no JSON object", "put the lines in by hand")
    indent = re.search(r"\n([ \t]+)\S", old)
    step: Any = indent[1] if indent else 2
    return json.dumps(_merge(parsed, values), ensure_ascii=False, indent=step) + "\n"


def _merged_toml(old: str, values: Mapping[str, Any]) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(old)
        _set(document, values)
    except TOMLKitError as fault:
        raise UsageError(f"it is not TOML ({fault})", "fix the file by hand") from None
    return tomlkit.dumps(document)


def _set(table: Any, values: Mapping[str, Any]) -> None:
    """Set `values` in a table of tomlkit's, which keeps comments and order."""
    import tomlkit

    for name, value in values.items():
        if not isinstance(value, Mapping):
            table[name] = value
            continue
        if name not in table:
            holds_tables = all(isinstance(one, Mapping) for one in value.values())
            table[name] = tomlkit.table(is_super_table=holds_tables)
        _set(table[name], value)


def _yaml(values: Mapping[str, Any]) -> list[str]:
    """Return `values` as lines of YAML."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list):
            lines += [f"{name}:\n", *(line for one in value for line in _yaml_item(one, "  "))]
        else:
            lines.append(f"{name}: {_scalar(value)}\n")
    return lines


def _yaml_item(entry: Mapping[str, Any], indent: str) -> list[str]:
    lines = [f"{indent}  {name}: {_scalar(value)}\n" for name, value in entry.items()]
    return [f"{indent}- {lines[0].lstrip()}", *lines[1:]]


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w/.-]*(:\w[\w/.:-]*|:/[\w/.:-]+)?", value)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _merged_yaml(old: str, values: Mapping[str, Any]) -> str:
    """Set `values` line by line, so that comments stay: what comes of it is parsed and compared."""
    import yaml  # type: ignore[import-untyped]

    text = old if old.endswith("\n") else f"{old}\n"
    try:
        parsed = yaml.safe_load(text) or {}
        expected = dict(parsed)
        for name, value in values.items():
            if isinstance(value, list):
                found = list(parsed.get(name) or ())
                if value[0] in found:  # it is there
                    continue
                if any(_about(one) == _about(value[0]) for one in found):
                    raise UsageError(f"{value[0]['name']!r} is there, and differs", "change it by hand")
                text, expected[name] = _with_item(text, name, value[0]), value + found
            elif name not in _WHOLE_FILE or name not in parsed:
                text, expected[name] = _with_line(text, name, value), value
        same = yaml.safe_load(text) == expected
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        same = False
    if not same:
        raise UsageError("it is no YAML that a line can be added to", "put the lines in by hand")
    return text


def _with_line(text: str, name: str, value: Any) -> str:
    """Return `text` with this `value` of `name`."""
    line = f"{name}: {_scalar(value)}\n"
    known = re.search(rf"(?m)^{re.escape(name)}:[^\n]*\n", text)
    return text[: known.start()] + line + text[known.end() :] if known else text + line


def _with_item(text: str, name: str, entry: Mapping[str, Any]) -> str:
    """Return `text` with `entry` as the first of the list `name`."""
    head = re.search(rf"(?m)^{re.escape(name)}:[ \t]*(#[^\n]*)?\n", text)
    if head is None:
        return text + f"{name}:\n" + "".join(_yaml_item(entry, "  "))
    first = re.compile(r"([ \t]*)- ").match(text, head.end())
    item = "".join(_yaml_item(entry, first[1] if first else "  "))
    return text[: head.end()] + item + text[head.end() :]
