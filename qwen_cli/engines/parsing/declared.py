"""The tools that a model was offered: which of them it means, its arguments in the types of their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import ToolCall, call_id
from qwen_cli.engines.parsing import loose_json
from qwen_cli.engines.parsing.argument import fitted

NAMES = ("name", "function", "tool", "tool_name", "function_name")
"""What models call the name of a tool in the JSON of a call."""
ARGUMENTS = ("arguments", "parameters", "args", "params", "input")
"""What they call its arguments."""
_OTHERS = ("id", "type", "call_id", "tool_call_id", "index")
_PREFIXES = ("functions.", "function.", "tools.", "tool.")


class Declared:
    """The tools of a request, in the form of OpenAI's API or of its inner part alone."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        functions = [tool.get("function") or tool for tool in tools]
        self._schemas = {str(one.get("name")): _schema(one) for one in functions}
        plain = [_plain(name) for name in self._schemas]
        # A name in another spelling means a tool where it means one alone.
        self._alike = {_plain(name): name for name in self._schemas if plain.count(_plain(name)) == 1}

    def name(self, written: str) -> str | None:
        """Return the tool that `written` names, in another case or with a prefix too; `None` for none."""
        written = written.strip()
        return written if written in self._schemas else self._alike.get(_plain(written))

    def may_become(self, begun: str) -> bool:
        """Return whether a name that has `begun` so may become that of a tool."""
        begun = begun.lstrip()
        bare = _plain(begun)
        known = [*map(_plain, self._schemas), *self._schemas]
        return any(
            one.startswith((bare, begun)) or one == begun.rstrip() or one == bare for one in known
        ) or any(prefix.startswith(begun.lower()) for prefix in _PREFIXES)

    def parameters(self, name: str) -> Mapping[str, Any]:
        """Return the schema of the arguments of the tool that is `name`; empty where it has none."""
        return self._schemas.get(self.name(name) or "", {})

    def call(self, written: str, arguments: dict[str, Any]) -> ToolCall:
        """Return a call, under a new id, of the tool that `written` names, which may be none of these."""
        name = self.name(written) or written.strip()
        schema = self._schemas.get(name)
        return ToolCall(call_id(), name, fitted(arguments, schema, schema))

    def of_json(self, value: Any, *, marked: bool) -> ToolCall | None:
        """Return the call that the JSON `value` is, `None` where it is none. One that is not `marked` as a
        call by a tag has to be nothing else, and of one of these tools."""
        if not isinstance(value, Mapping):
            return None
        inner = value.get("function")
        if isinstance(inner, Mapping):
            value = inner
        written = next((value[key] for key in NAMES if isinstance(value.get(key), str)), None)
        if written is None:
            return self._named_by_key(value) if marked else None
        given = next((value[key] for key in ARGUMENTS if key in value), None)
        arguments = _object(given)
        if not marked:
            known = self.name(written) is not None and any(key in value for key in ARGUMENTS)
            if not known or set(value) - {*NAMES, *ARGUMENTS, *_OTHERS} or arguments is None:
                return None
            if "properties" in arguments and "properties" not in self._properties(written):
                return None  # it is defined
        elif given is None:
            rest = {key: one for key, one in value.items() if key not in (*NAMES, *ARGUMENTS, *_OTHERS)}
            arguments = rest if rest.keys() <= self._properties(written).keys() else {}
        if arguments is None:
            text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            return ToolCall(call_id(), self.name(written) or written.strip(), {"invalid_json": text})
        return self.call(written, arguments)

    def _named_by_key(self, value: Mapping[str, Any]) -> ToolCall | None:
        """Return the call that is written as `{"name of the tool": {its arguments}}`."""
        if len(value) != 1:
            return None
        ((name, arguments),) = value.items()
        known = self.name(name) is not None and isinstance(arguments, dict)
        return self.call(name, arguments) if known else None

    def _properties(self, name: str) -> Mapping[str, Any]:
        properties = self.parameters(name).get("properties")
        return properties if isinstance(properties, Mapping) else {}


def _schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = function.get("parameters")
    return schema if isinstance(schema, Mapping) else {}


def _plain(name: str) -> str:
    """Return `name` as it is compared: models change the case, the lines between words, and put a prefix in
    front."""
    name = name.strip().lower()
    prefix = next((one for one in _PREFIXES if name.startswith(one)), "")
    return name[len(prefix) :].replace("-", "_")


def _object(given: Any) -> dict[str, Any] | None:
    """Return arguments that are an object, or its JSON in a text; `None` for anything else."""
    if isinstance(given, str) and given.strip():
        try:
            given, _ = loose_json.read(given.strip(), 0, final=True)
        except (ValueError, loose_json.Unfinished):
            return None
    if given is None or given == "":
        return {}
    return given if isinstance(given, dict) else None
