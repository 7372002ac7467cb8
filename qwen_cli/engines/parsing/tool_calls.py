"""Tool calls in Qwen's own formats, found in the text of an answer as it streams.

Hermes style (Qwen2.5, Qwen3): JSON between tags. Qwen3-Coder's XML style: `<function=name>` and
`<parameter=name>` between the same tags, every value as plain text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Piece, ToolCall, call_id
from qwen_cli.engines.core.text import overlap

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)(?:</function>)?\s*", re.DOTALL)
_AT_END = re.compile(rf"(?:{_OPEN}(?:(?!{_OPEN}).)*{_CLOSE}\s*)+\Z", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)


class ToolParser:
    """Takes the calls out of a stream of text. What is malformed stays text."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        functions = [tool.get("function", tool) for tool in tools]
        self._parameters = {
            function.get("name"): (function.get("parameters") or {}).get("properties") or {}
            for function in functions
        }
        self._held = ""
        self._blank = ""  # white space that is dropped if a call follows
        self.called = False

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        pieces: list[Piece] = []
        while True:
            before, opening, rest = self._held.partition(_OPEN)
            if not opening:
                keep = overlap(before, _OPEN)
                self._held = before[len(before) - keep :]
                return pieces + self._text(before[: len(before) - keep])
            body, closing, after = rest.partition(_CLOSE)
            if not closing:
                self._held = opening + rest
                return pieces + self._text(before)
            pieces += self._text(before)
            pieces += self._block(body, opening + body + closing)
            self._held = after

    def finish(self) -> list[Piece]:
        """Return what is held at the end: a call whose closing tag is missing, or text."""
        held, self._held = self._held, ""
        body = held.removeprefix(_OPEN)
        if held.startswith(_OPEN) and body.strip():
            return self._block(body, held)
        return self._flush(held)

    def _block(self, body: str, written: str) -> list[Piece]:
        call = self._hermes(body) or self._xml(body)
        if call is None:
            return self._flush(written)
        self.called, self._blank = True, ""
        return [Piece(kind="tool_call", call=call)]

    def _text(self, text: str) -> list[Piece]:
        """Pass `text` on but for the white space at its end, which may turn out to stand before a call."""
        whole = self._blank + text
        visible = whole.rstrip()
        self._blank = whole[len(visible) :]
        return [Piece(visible)] if visible else []

    def _flush(self, text: str) -> list[Piece]:
        whole, self._blank = self._blank + text, ""
        if self.called and not whole.strip():
            return []
        return [Piece(whole)] if whole else []

    def _hermes(self, body: str) -> ToolCall | None:
        try:
            value = json.loads(body)
        except ValueError:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None
        arguments = value.get("arguments", {})
        return ToolCall(call_id(), value["name"], arguments) if isinstance(arguments, dict) else None

    def _xml(self, body: str) -> ToolCall | None:
        function = _FUNCTION.fullmatch(body)
        if not function:
            return None
        name = function[1].strip()
        types = self._parameters.get(name, {})
        arguments = {
            key.strip(): _typed(value.removeprefix("\n").removesuffix("\n"), types.get(key.strip()))
            for key, value in _PARAMETER.findall(function[2])
        }
        return ToolCall(call_id(), name, arguments)


def calls_at_end(text: str, tools: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Return the calls of `tools` that `text` ends in without a word after them, `[]` where one of them is
    broken, or of another tool."""
    end = _AT_END.search(text)
    parser = ToolParser(tools)
    pieces = [*parser.feed(end[0]), *parser.finish()] if end else []
    known = {tool.get("function", tool).get("name") for tool in tools}
    return pieces if all(piece.call and piece.call.name in known for piece in pieces) else []


def _typed(text: str, schema: Any) -> Any:
    """Return a parameter's text as the type its schema names: strings as they are, the rest is JSON."""
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:  # Python's spelling of the constants is common in the model's output
        return {"True": True, "False": False, "None": None}.get(text.strip(), text)
