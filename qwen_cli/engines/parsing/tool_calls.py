"""Tool calls in Qwen's own formats, found in the text of an answer as it streams.

Hermes style (Qwen2.5, Qwen3): JSON between tags. The XML style of Qwen3-Coder and of all since Qwen3.5:
`<function=name>` and `<parameter=name>` between the same tags, every value as plain text. Values may hold
what looks like tags, and models leave closing tags out: one that is written ends a value where what follows
it can only be the call's. Qwen3-Coder leaves `<tool_call>` out, too: a whole `<function=name>` block of a
tool that was offered is a call where the answer does not show it (`quoting`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Piece, ToolCall, call_id
from qwen_cli.engines.core.text import overlap
from qwen_cli.engines.parsing.argument import typed
from qwen_cli.engines.parsing.quoting import Quoting

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_AT_END = re.compile(rf"(?:{_OPEN}(?:(?!{_OPEN}).)*{_CLOSE}\s*)+\Z", re.DOTALL)
_NAMED = re.compile(r"<(?:function|parameter)=([^<>\n]+)>")
_TAG = re.compile(r"<(?:function=[^<>\n]+>|parameter=[^<>\n]+>|/parameter>|/function>|/tool_call>)")
_SPACE = re.compile(r"\s*")
# What may stand behind a closing tag that is the call's own; the end of the text may, too.
_AFTER = {
    _PARAMETER_END: (_PARAMETER, _FUNCTION_END, _CLOSE, _OPEN),
    _FUNCTION_END: (_CLOSE, _OPEN),
    _CLOSE: (_OPEN,),
}


class _Undecided(Exception):
    """Says that what comes next decides how the text is read."""


class ToolParser:
    """Takes the calls out of a stream of text. What is malformed stays text."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        functions = [tool.get("function", tool) for tool in tools]
        self._schemas = {function.get("name"): function.get("parameters") or {} for function in functions}
        self._openings = [_OPEN, *(f"{_FUNCTION}{name}>" for name in self._schemas)]
        self._opening = re.compile("|".join(map(re.escape, self._openings)))
        self._quoting = Quoting()
        self._held = ""
        self._blank = ""  # white space that is dropped if a call follows
        self.called = False

    def feed(self, text: str) -> list[Piece]:
        self._held += text
        return self._parsed(final=False)

    def finish(self) -> list[Piece]:
        """Return what is held at the end: a call whose closing tag is missing, or text."""
        pieces = self._parsed(final=True)
        held, self._held = self._held, ""
        return pieces + self._flush(held)

    def _parsed(self, *, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        while True:
            opening = self._opening.search(self._held)
            if opening is None:
                keep = 0 if final else max(overlap(self._held, one) for one in self._openings)
                end = len(self._held) - keep
                pieces += self._text(self._held[:end])
                self._held = self._held[end:]
                return pieces
            pieces += self._text(self._held[: opening.start()])
            self._held = self._held[opening.start() :]
            try:
                call, end = self._read(self._held, opening[0], final=final)
            except _Undecided:
                return pieces
            pieces += self._said(call, self._held[:end])
            self._held = self._held[end:]

    def _read(self, text: str, opening: str, *, final: bool) -> tuple[ToolCall | None, int]:
        """Return the call at the start of `text` and its end, or no call and the end of what is text. Raises
        `_Undecided`."""
        if opening == _OPEN:
            call, end = self._call(text[len(_OPEN) :], final=final)
            return call, len(_OPEN) + end
        if self._is_bare_call(text, len(opening), final=final):
            call, end = self._xml(text, 0, final=final)
            if text[:end].rstrip().endswith((_FUNCTION_END, _CLOSE)):
                return call, end
        return None, len(opening)

    def _is_bare_call(self, text: str, at: int, *, final: bool) -> bool:
        """Return whether `text`, the name of a function up to `at`, begins a call without its tags, and is
        not spoken of: it begins a line, or ends one. Raises `_Undecided`."""
        if self._quoting.open:
            return False
        rest = text[at:].lstrip()
        if not final and any(tag.startswith(rest) for tag in (_PARAMETER, _FUNCTION_END)):
            raise _Undecided
        ends_line = "\n" in text[at : len(text) - len(rest)]
        return (self._quoting.at_start or ends_line) and rest.startswith((_PARAMETER, _FUNCTION_END))

    def _call(self, body: str, *, final: bool) -> tuple[ToolCall | None, int]:
        """Return the call that `body` begins with and where it ends, or no call and where the text ends that
        is none. Raises `_Undecided`."""
        start = _space(body, 0)
        if body.startswith("{", start):
            return _hermes(body, final=final)
        if body.startswith(_FUNCTION, start):
            return self._xml(body, start, final=final)
        if not final and _FUNCTION.startswith(body[start:]):
            raise _Undecided
        return None, 0  # the tag is spoken of

    def _xml(self, body: str, start: int, *, final: bool) -> tuple[ToolCall | None, int]:
        head = _NAMED.match(body, start)
        if head is None:
            if not final and not re.search(r"[<>\n]", body[start + len(_FUNCTION) :]):
                raise _Undecided
            return None, 0
        name, at = head[1].strip(), head.end()
        schema = self._schemas.get(name, {})
        arguments: dict[str, Any] = {}
        while True:
            at = _space(body, at)
            for closing in (_FUNCTION_END, _CLOSE):
                if body.startswith(closing, at):
                    return ToolCall(call_id(), name, arguments), _closed(body, at, closing, final=final)
            parameter = _NAMED.match(body, at)
            if parameter and body.startswith(_PARAMETER, at):
                key = parameter[1].strip()
                own = schema.get("properties") or {}
                others = set(own) - {key, *arguments} if own else None
                value, at = _value(body, parameter.end(), others, final=final)
                arguments[key] = typed(value, own.get(key), schema)
                continue
            rest = body[at:]
            if not final and (
                any(tag.startswith(rest) for tag in (_PARAMETER, _FUNCTION_END, _CLOSE, _OPEN))
                or (rest.startswith(_PARAMETER) and not re.search(r"[<>\n]", rest[len(_PARAMETER) :]))
            ):
                raise _Undecided
            if not rest or rest.startswith(_OPEN):
                return ToolCall(call_id(), name, arguments), at
            # Something else stands there: up to the next tag it belongs to nothing.
            tag = _TAG.search(body, at + 1)
            if tag is None:
                if not final:
                    raise _Undecided
                return (ToolCall(call_id(), name, arguments), at) if arguments else (None, 0)
            at = tag.start()
            if body.startswith(_FUNCTION, at):
                return ToolCall(call_id(), name, arguments), at

    def _said(self, call: ToolCall | None, written: str) -> list[Piece]:
        if call is None:
            return self._text(written)
        self.called, self._blank = True, ""
        self._quoting.end_line()
        return [Piece(kind="tool_call", call=call)]

    def _text(self, text: str) -> list[Piece]:
        """Pass `text` on but for the white space at its end, which may turn out to stand before a call."""
        self._quoting.feed(text)
        whole = self._blank + text
        visible = whole.rstrip()
        self._blank = whole[len(visible) :]
        return [Piece(visible)] if visible else []

    def _flush(self, text: str) -> list[Piece]:
        whole, self._blank = self._blank + text, ""
        if self.called and not whole.strip():
            return []
        return [Piece(whole)] if whole else []


def _space(text: str, at: int) -> int:
    """Return where the white space from `at` on ends."""
    space = _SPACE.match(text, at)
    assert space  # the pattern takes nothing, too
    return space.end()


def _closed(body: str, at: int, closing: str, *, final: bool) -> int:
    """Return where a call ends whose `closing` tag is at `at`."""
    end = at + len(closing)
    if closing == _CLOSE:
        return end
    after = _space(body, end)
    if body.startswith(_CLOSE, after):
        return after + len(_CLOSE)
    if not final and _CLOSE.startswith(body[after:]):
        raise _Undecided
    return end


def _value(body: str, start: int, others: set[str] | None, *, final: bool) -> tuple[str, int]:
    """Return the text of the parameter that begins at `start`, and where what follows it begins. `others`
    are the parameters that may come next (`None`: any). Raises `_Undecided`."""
    depth, loose = 0, None  # the first closing tag that may be text
    for tag in _TAG.finditer(body, start):
        written, at = tag[0], tag.start()
        own_line = at == start or body[at - 1] == "\n"
        if written.startswith(_FUNCTION):
            depth += 1  # a call is quoted
        elif depth:
            depth -= written == _FUNCTION_END
        elif written.startswith(_PARAMETER):
            if own_line and (others is None or written[len(_PARAMETER) : -1].strip() in others):
                return _stripped(body[start:at]), at
        elif (written != _CLOSE or own_line) and _ends(body, tag.end(), _AFTER[written], final=final):
            return _stripped(body[start:at]), tag.end() if written == _PARAMETER_END else at
        elif loose is None and written == _PARAMETER_END:
            loose = tag
    if not final:
        raise _Undecided
    if loose is None:
        loose = re.compile(f"{_PARAMETER_END}|{_FUNCTION_END}").search(body, start)
    if loose is None:
        return _stripped(body[start:]), len(body)
    is_parameter = loose[0] == _PARAMETER_END
    return _stripped(body[start : loose.start()]), loose.end() if is_parameter else loose.start()


def _ends(body: str, at: int, after: Sequence[str], *, final: bool) -> bool:
    """Return whether one of `after`, or nothing at all, follows at `at`. Raises `_Undecided`."""
    rest = body[_space(body, at) :]
    if rest.startswith(tuple(after)):
        return True
    if any(tag.startswith(rest) for tag in after):
        if not final:
            raise _Undecided
        return True
    return False


def _stripped(value: str) -> str:
    """Return a value without the line breaks that the template writes around it."""
    value = value.removeprefix("\r\n") if value.startswith("\r\n") else value.removeprefix("\n")
    return value.removesuffix("\r\n") if value.endswith("\r\n") else value.removesuffix("\n")


def _hermes(body: str, *, final: bool) -> tuple[ToolCall | None, int]:
    """Return the call that is JSON at the start of `body`, and where its closing tag ends: one within a
    string is none. Raises `_Undecided`."""
    first = None
    for closing in re.finditer(_CLOSE, body):
        first = first or closing
        call = _from_json(body[: closing.start()])
        if call or not _within_string(body[: closing.start()]):
            return call, closing.end()
    if not final:
        raise _Undecided
    end = first.end() if first else len(body)
    return _from_json(body[: first.start()] if first else body), end


def _within_string(text: str) -> bool:
    """Return whether `text`, JSON from its start, ends within a string."""
    return len(re.findall(r'"', re.sub(r"\\.", "", text, flags=re.DOTALL))) % 2 == 1


def _from_json(body: str) -> ToolCall | None:
    try:
        value = json.loads(body)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None
        arguments = value.get("arguments") or {}
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return None
    return ToolCall(call_id(), value["name"], arguments) if isinstance(arguments, dict) else None


def calls_at_end(text: str, tools: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Return the calls of `tools` that `text` ends in without a word after them, `[]` where one of them is
    broken, or of another tool."""
    end = _AT_END.search(text)
    parser = ToolParser(tools)
    pieces = [*parser.feed(end[0]), *parser.finish()] if end else []
    known = {tool.get("function", tool).get("name") for tool in tools}
    return pieces if all(piece.call and piece.call.name in known for piece in pieces) else []
