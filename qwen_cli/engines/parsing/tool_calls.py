"""Tool calls in the text of an answer as it streams: in Qwen's own formats, and as models write them instead.

Hermes style (Qwen2.5, Qwen3): JSON between tags. The XML style of Qwen3-Coder and of all since Qwen3.5:
`<function=name>` and `<parameter=name>` between the same tags, every value as plain text. Values may hold
what looks like tags, and models leave closing tags out: one that is written ends a value where what follows
it can only be the call's. Qwen3-Coder leaves `<tool_call>` out, too: a whole `<function=name>` block of a
tool that was offered is a call where the answer does not show it (`quoting`). Small Qwen2.5 models write the
JSON alone, or in a code block (`bare_json`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Piece, ToolCall
from qwen_cli.engines.core.text import overlap
from qwen_cli.engines.parsing import bare_json, loose_json
from qwen_cli.engines.parsing.argument import typed
from qwen_cli.engines.parsing.declared import Declared
from qwen_cli.engines.parsing.quoting import Quoting

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION, _FUNCTION_END = "<function=", "</function>"
_PARAMETER, _PARAMETER_END = "<parameter=", "</parameter>"
_AT_END = re.compile(rf"(?:{_OPEN}(?:(?!{_OPEN}).)*{_CLOSE}\s*)+\Z", re.DOTALL)
_NAMED = re.compile(r"<(?:function|parameter)=([^<>\n]+)>")
_TAG = re.compile(r"<(?:function=[^<>\n]+>|parameter=[^<>\n]+>|/parameter>|/function>|/tool_call>)")
_OPENING = re.compile(rf"{_OPEN}|{_FUNCTION}([^<>\n]+)>")
_HALF = re.compile(rf"{_FUNCTION}([^<>\n]*)\Z")
_SPACE = re.compile(r"\s*")
_SURPLUS = re.compile(r"[\s\]},`]*")
_BLOCK = re.compile(r"```\w*\s*")
# What may stand behind a closing tag that is the call's own; the end of the text may, too.
_AFTER = {
    _PARAMETER_END: (_PARAMETER, _FUNCTION_END, _CLOSE, _OPEN),
    _FUNCTION_END: (_CLOSE, _OPEN),
    _CLOSE: (_OPEN,),
}
_LONG = 500  # characters held back from which on they are read again only where something may have ended
_MAY_END = re.compile(r"[]}>`]")


class _Undecided(Exception):
    """Says that what comes next decides how the text is read."""


class ToolParser:
    """Takes the calls out of a stream of text. What is malformed stays text.

    `called` says that there was one, `ended` that the model does nothing but repeat itself: no more is read.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._declared = Declared(tools)
        self._quoting = Quoting()
        self._held = ""
        self._blank = ""  # white space that is dropped if a call follows
        self._last = ""  # what the text so far ends in, but for white space
        self._cut = False
        self.called = False
        self.ended = False

    def feed(self, text: str) -> list[Piece]:
        """Return what `text` decides."""
        if self.ended:
            return []
        waits = len(self._held) > _LONG and not _MAY_END.search(text)
        self._held += text
        return [] if waits else _joined(self._parsed(final=False))

    def finish(self, *, cut: bool = False) -> list[Piece]:
        """Return what is held at the end: a call whose closing tag is missing, or text. Of an answer that a
        limit has `cut` only what is whole is a call."""
        self._cut = cut
        pieces = [] if self.ended else self._parsed(final=True)
        held, self._held = self._held, ""
        return _joined(pieces + self._flush("" if self.ended else held))

    def _parsed(self, *, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        while not self.ended:
            at, tag = self._candidate()
            if at is None:
                keep = 0 if final else self._half()
                end = len(self._held) - keep
                pieces += self._text(self._held[:end])
                self._held = self._held[end:]
                return pieces
            pieces += self._text(self._held[:at])
            self._held = self._held[at:]
            try:
                calls, end = self._read(self._held, tag, final=final)
            except _Undecided:
                return pieces
            pieces += self._said(calls, self._held[:end])
            self._held = self._held[end:]
        return pieces

    def _candidate(self) -> tuple[int | None, str]:
        """Return where in what is held a call may begin, and the tag that it begins with (""; JSON)."""
        tags = (m for m in _OPENING.finditer(self._held) if m[1] is None or self._declared.name(m[1]))
        tag = next(tags, None)
        bare = bare_json.candidate(self._held, self._quoting.at_start)
        if bare is not None and (tag is None or bare < tag.start()):
            return bare, ""
        return (tag.start(), tag[0]) if tag else (None, "")

    def _half(self) -> int:
        """Return how many characters at the end of what is held may begin a tag."""
        half = _HALF.search(self._held)
        if half and self._declared.may_become(half[1]):
            return len(self._held) - half.start()
        return max(overlap(self._held, one) for one in (_OPEN, _FUNCTION, *bare_json.TAGS))

    def _read(self, text: str, tag: str, *, final: bool) -> tuple[list[ToolCall], int]:
        """Return the calls at the start of `text` and their end, or none and the end of what is text. Raises
        `_Undecided`."""
        if not tag:
            return self._bare(text, final=final)
        if tag == _OPEN:
            calls, end = self._call(text[len(_OPEN) :], final=final)
            return calls, len(_OPEN) + end
        if self._is_bare_call(text, len(tag), final=final):
            call, end = self._xml(text, 0, final=final)
            if text[:end].rstrip().endswith((_FUNCTION_END, _CLOSE)):
                return call, end
        return [], len(tag)

    def _bare(self, text: str, *, final: bool) -> tuple[list[ToolCall], int]:
        """Return the calls that are JSON alone, to the end of the answer, where it does not show them. Raises
        `_Undecided`."""
        if self._quoting.open or self._last.endswith((":", "：")):
            return [], 1
        try:
            calls, repeats = bare_json.calls(text, self._declared, final=final, cut=self._cut)
        except loose_json.Unfinished:
            raise _Undecided from None
        self.ended = repeats
        return (calls, len(text)) if calls else ([], 1)

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

    def _call(self, body: str, *, final: bool) -> tuple[list[ToolCall], int]:
        """Return the calls that `body` begins with and where they end, or none and where the text ends that
        is none. Raises `_Undecided`."""
        start = _space(body, 0)
        if body.startswith("`", start):  # the JSON is in a code block of its own
            block = _BLOCK.match(body, start)
            if block is None or block.end() == len(body):
                if final or (block is None and not "```".startswith(body[start : start + 3])):
                    return [], 0
                raise _Undecided
            start = block.end()
        if body.startswith(("{", "["), start):
            return self._hermes(body, start, final=final)
        if body.startswith(_FUNCTION, start):
            return self._xml(body, start, final=final)
        if not final and _FUNCTION.startswith(body[start:]):
            raise _Undecided
        return [], 0  # the tag is spoken of

    def _hermes(self, body: str, at: int, *, final: bool) -> tuple[list[ToolCall], int]:
        """Return the calls that are JSON from `at` on in `body`, one after the other or in lists, and where
        their closing tag ends. Raises `_Undecided`."""
        calls: list[ToolCall] = []
        while body.startswith(("{", "["), at):
            try:
                value, at = loose_json.read(body, at, final=final and not self._cut, ends=(_CLOSE,))
            except ValueError:
                return [], 0
            except loose_json.Unfinished:
                if not final:
                    raise _Undecided from None
                return [], 0
            for one in value if isinstance(value, list) else [value]:
                call = self._declared.of_json(one, marked=True)
                if call is None:
                    return [], 0
                calls.append(call)
            at = _behind(body, at, final=final)
            if body[:at].endswith(_CLOSE):
                break
        return calls, at

    def _xml(self, body: str, start: int, *, final: bool) -> tuple[list[ToolCall], int]:
        head = _NAMED.match(body, start)
        if head is None:
            if not final and not re.search(r"[<>\n]", body[start + len(_FUNCTION) :]):
                raise _Undecided
            return [], 0
        name, at = head[1], head.end()
        schema = self._declared.parameters(name)
        arguments: dict[str, Any] = {}
        while True:
            at = _space(body, at)
            for closing in (_FUNCTION_END, _CLOSE):
                if body.startswith(closing, at):
                    end = _closed(body, at, closing, final=final)
                    return [self._declared.call(name, arguments)], end
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
            if not rest and self._cut:
                return [], 0
            if not rest or rest.startswith(_OPEN):
                return [self._declared.call(name, arguments)], at
            # Something else stands there: up to the next tag it belongs to nothing.
            tag = _TAG.search(body, at + 1)
            if tag is None:
                if not final:
                    raise _Undecided
                whole = arguments and not self._cut
                return ([self._declared.call(name, arguments)], at) if whole else ([], 0)
            at = tag.start()
            if body.startswith(_FUNCTION, at):
                return [self._declared.call(name, arguments)], at

    def _said(self, calls: Sequence[ToolCall], written: str) -> list[Piece]:
        if not calls:
            return self._text(written)
        self.called, self._blank, self._last = True, "", ""
        self._quoting.end_line()
        return [Piece(kind="tool_call", call=call) for call in calls]

    def _text(self, text: str) -> list[Piece]:
        """Pass `text` on but for the white space at its end, which may turn out to stand before a call."""
        self._quoting.feed(text)
        whole = self._blank + text
        visible = whole.rstrip()
        self._last = visible[-1:] or self._last
        self._blank = whole[len(visible) :]
        return [Piece(visible)] if visible else []

    def _flush(self, text: str) -> list[Piece]:
        whole, self._blank = self._blank + text, ""
        if self.called and not whole.strip():
            return []
        return [Piece(whole)] if whole else []


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Return `pieces` with neighbouring texts as one."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and not piece.call and not joined[-1].call:
            joined[-1] = Piece(joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined


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


def _behind(body: str, at: int, *, final: bool) -> int:
    """Return what follows JSON that ends at `at` in a call: where the closing tag ends, with brackets too
    many before it, the next JSON begins, or the text after the call. Raises `_Undecided`."""
    end = _space(body, at)
    if body.startswith(("{", "["), end):
        return end
    if body.startswith(",", end) and body.startswith(("{", "["), _space(body, end + 1)):
        return _space(body, end + 1)
    surplus = _SURPLUS.match(body, at)
    assert surplus  # the pattern takes nothing, too
    rest = body[surplus.end() :]
    if rest.startswith(_CLOSE):
        return surplus.end() + len(_CLOSE)
    if _CLOSE.startswith(rest):  # also where nothing is left
        if not final:
            raise _Undecided
        return len(body)
    return at


def calls_at_end(text: str, tools: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Return the calls of `tools` that `text` ends in without a word after them, `[]` where one of them is
    broken, or of another tool."""
    end = _AT_END.search(text)
    parser = ToolParser(tools)
    pieces = [*parser.feed(end[0]), *parser.finish()] if end else []
    known = {tool.get("function", tool).get("name") for tool in tools}
    return pieces if all(piece.call and piece.call.name in known for piece in pieces) else []
