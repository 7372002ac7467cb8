"""Edits by instruction inside an editor: which are offered, and what one changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import QwenError
from qwen_cli.tasks.common.drain import drain_until
from qwen_cli.tasks.edit import edit
from qwen_cli.tasks.fim.source import Source

if TYPE_CHECKING:
    from lsprotocol import types as lsp

    from qwen_cli.lsp.session import Session

COMMAND = "qwen.edit"
ASK = "qwen/instruction"
"""The request to an editor that says `experimental: {"qwenInstruction": true}`: {uri, range} to what the
person wants changed, as a string, or null."""


@dataclass(frozen=True)
class Request:
    """The argument of `qwen.edit`. An empty `instruction` has to be asked for."""

    uri: str
    range: lsp.Range
    instruction: str = ""


def request(arguments: tuple[Any, ...]) -> Request:
    """Return what a client wants edited: one object with uri, range and instruction. Raises `QwenError`."""
    from lsprotocol import types as lsp

    given = arguments[0] if arguments else None
    try:
        start, end = (member(member(given, "range"), name) for name in ("start", "end"))
        span = lsp.Range(
            *(lsp.Position(int(member(at, "line")), int(member(at, "character"))) for at in (start, end))
        )
        uri, instruction = member(given, "uri"), member(given, "instruction", "")
    except (KeyError, AttributeError, TypeError, ValueError):
        raise _unusable(given) from None
    if not isinstance(uri, str) or not isinstance(instruction, str | None):
        raise _unusable(given)
    return Request(uri, span, instruction or "")


def _unusable(given: object) -> QwenError:
    hint = 'give {"uri": …, "range": …, "instruction": "…"}'
    return QwenError(f"{COMMAND} has the argument {str(given)[:80]!r}", hint)


def member(value: Any, name: str, *default: Any) -> Any:
    """Return a member of an object of JSON, whichever way the library reads one."""
    if isinstance(value, dict):
        return value.get(name, *default) if default else value[name]
    return getattr(value, name, *default)


class Edits:
    """Edits of one editor's documents. `show` tells the person a line each time; `can_ask` says whether the
    editor asks for an instruction when it is sent `qwen/instruction`."""

    def __init__(self, session: Session, show: Callable[[str], None]) -> None:
        self._session, self._show = session, show
        self.can_ask = False
        self.versioned = False  # the editor takes changes that name the version they are for

    def offered(self, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        """Return the code actions for a place: one that asks, or one for each instruction of the settings."""
        from lsprotocol import types as lsp

        kind = lsp.CodeActionKind.RefactorRewrite
        document = self._session.documents.get(params.text_document.uri)
        only = params.context.only
        if document is None or document.secret:
            return []
        if params.context.trigger_kind == lsp.CodeActionTriggerKind.Automatic and _is_empty(params.range):
            return []  # an editor asks at each move of the cursor, and lights a bulb
        if only is not None and not any(f"{kind.value}.".startswith(f"{_value(one)}.") for one in only):
            return []
        span = {"start": _position(params.range.start), "end": _position(params.range.end)}
        target = {"uri": document.uri, "range": span}
        instructions = ("",) if self.can_ask else self._session.settings.edit_instructions
        return [
            lsp.CodeAction(
                title=title,
                kind=kind,
                command=lsp.Command(
                    title, COMMAND, arguments=[target | ({"instruction": words} if words else {})]
                ),
            )
            for words in instructions
            for title in [f"Edit with qwen: {words}" if words else "Edit with qwen…"]
        ]

    async def edit(self, wanted: Request) -> lsp.WorkspaceEdit | None:
        """Return the change to a document. None where there is none, and the person was told why."""
        try:
            return await self._edit(wanted)
        except QwenError as fault:
            self._show(str(fault))
            return None

    async def _edit(self, wanted: Request) -> lsp.WorkspaceEdit:
        session = self._session
        document = session.documents.get(wanted.uri)
        if document is None:
            raise QwenError(f"{wanted.uri} is not open")
        if document.secret:
            raise QwenError("the document seems to hold secrets: nothing of it is sent to the model")
        version = document.version
        source = _selected(document.text, wanted.range)
        name = document.file.name if document.file else ""
        running = edit.stream(session.engine, source, wanted.instruction, name=name)
        proposed = await session.run(lambda cancelled: drain_until(running, cancelled))
        if document.version != version:
            raise QwenError("the text changed meanwhile: nothing is edited")
        if proposed is None:
            raise QwenError("the edit was given up for another question")
        if not proposed.changed:
            raise QwenError("the model changed nothing")
        if proposed.broken:  # it can be undone, and the editor shows where
            self._show("the text parses worse with the edit than it did")
        return self._change(wanted.uri, version, source, proposed.text)

    def _change(self, uri: str, version: int, source: Source, text: str) -> lsp.WorkspaceEdit:
        from lsprotocol import types as lsp

        first = _lines(source.before)
        old = source.text[source.at : source.at + source.marker]
        new = text[len(source.before) : len(text) - len(source.after)]
        last_line = old[old.rfind("\n") + 1 :].rpartition("\r")[2]
        end = lsp.Position(first + _lines(old), self._session.units(last_line))
        change = lsp.TextEdit(lsp.Range(lsp.Position(first, 0), end), new)
        if not self.versioned:
            return lsp.WorkspaceEdit(changes={uri: [change]})
        document = lsp.OptionalVersionedTextDocumentIdentifier(uri, version)
        return lsp.WorkspaceEdit(document_changes=[lsp.TextDocumentEdit(document, [change])])


def _selected(text: str, span: lsp.Range) -> Source:
    """Return the whole lines that a range touches; all of the text where it is empty."""
    source = Source(text)
    if _is_empty(span):
        return edit.selected(source)
    last = span.end.line + (1 if span.end.character or span.end.line == span.start.line else 0)
    lines = _lines(text) + (0 if text.endswith(("\n", "\r")) or not text else 1)
    return edit.selected(source, span.start.line + 1, min(last, max(lines, span.start.line + 1)))


def _is_empty(span: lsp.Range) -> bool:
    return span.start == span.end


def _lines(text: str) -> int:
    """Return how many line ends there are in a text."""
    return text.count("\n") + text.replace("\r\n", "").count("\r")


def _position(at: lsp.Position) -> dict[str, int]:
    return {"line": at.line, "character": at.character}


def _value(kind: Any) -> str:
    return str(getattr(kind, "value", kind))
