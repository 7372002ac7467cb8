"""Edits by instruction from an editor: offered as code actions, applied as one change, or told why not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import language_server
import pytest
from language_server import Both
from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

from qwen_cli.errors import QwenError
from qwen_cli.lsp.edits import ASK, COMMAND, Edits, Request, request
from qwen_cli.lsp.session import Session
from qwen_cli.lsp.settings import Settings, read

T = TypeVar("T")
URI = "file:///nowhere/area.py"
CODE = "def area(w, h):\n    return w * h\n\n\nprint('😋', area(1, 2))"
ANSWER = "```python\ndef area(w, h):\n    return h * w\n```"
FIRST_TWO = lsp.Range(lsp.Position(0, 4), lsp.Position(2, 0))
QUIET = Settings(debounce_ms=0, idle_ms=600_000, speculate=False)


def during(engine: Both, scenario: Callable[[Session, Edits], Awaitable[T]], shown: list[str]) -> T:
    async def whole() -> T:
        session = Session(engine, shown.append, QUIET)
        try:
            return await scenario(session, Edits(session, shown.append))
        finally:
            session.close()

    return asyncio.run(whole())


def edited(engine: Both, span: lsp.Range, text: str = CODE, **given: Any) -> tuple[Any, list[str]]:
    shown: list[str] = []

    async def scenario(session: Session, edits: Edits) -> lsp.WorkspaceEdit | None:
        session.opened(given.get("uri", URI), text, 7, "python")
        edits.versioned = given.get("versioned", False)
        return await edits.edit(Request(given.get("uri", URI), span, "swap"))

    return during(engine, scenario, shown), shown


def test_the_lines_that_a_range_touches_are_replaced() -> None:
    engine = Both(ANSWER, "")
    change, shown = edited(engine, FIRST_TWO)
    [text_edit] = change.changes[URI]
    assert text_edit.range == lsp.Range(lsp.Position(0, 0), lsp.Position(2, 0))
    assert text_edit.new_text == "def area(w, h):\n    return h * w\n"
    assert shown == []
    assert "Instruction: swap" in str(engine.seen)


@pytest.mark.parametrize(
    ("span", "end"),
    [
        (lsp.Range(lsp.Position(4, 1), lsp.Position(4, 3)), lsp.Position(4, 23)),  # no line end, UTF-16
        (lsp.Range(lsp.Position(0, 0), lsp.Position(0, 5)), lsp.Position(1, 0)),
        (lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0)), lsp.Position(4, 23)),  # all of it
        (lsp.Range(lsp.Position(4, 0), lsp.Position(99, 0)), lsp.Position(4, 23)),
    ],
)
def test_a_range_becomes_whole_lines(span: lsp.Range, end: lsp.Position) -> None:
    change, _ = edited(Both("```\nx = 1\n```", ""), span)
    [text_edit] = change.changes[URI]
    assert text_edit.range == lsp.Range(lsp.Position(span.start.line, 0), end)
    assert text_edit.new_text == ("x = 1" if end.character else "x = 1\n")


def test_an_editor_that_takes_versions_gets_the_one_it_is_for() -> None:
    change, _ = edited(Both(ANSWER, ""), FIRST_TWO, versioned=True)
    [document] = change.document_changes
    assert (document.text_document.uri, document.text_document.version) == (URI, 7)


@pytest.mark.parametrize(
    ("answer", "given", "says"),
    [
        ("No.", {}, "neither a search/replace block"),
        (f"```\n{CODE[:33]}```", {}, "changed nothing"),
        (ANSWER, {"uri": "file:///home/ada/.env"}, "seems to hold secrets"),
    ],
)
def test_what_cannot_be_edited_is_told(answer: str, given: dict[str, str], says: str) -> None:
    engine = Both(answer, "")
    change, shown = edited(engine, FIRST_TWO, **given)
    assert change is None
    assert says in " ".join(shown)
    assert not (given and engine.seen)


def test_a_text_that_changes_meanwhile_is_not_edited() -> None:
    shown: list[str] = []

    class Slow(Both):
        def chat(self, *given: Any, **more: Any) -> Any:
            session.documents[URI].version += 1
            return super().chat(*given, **more)

    async def scenario(opened: Session, edits: Edits) -> lsp.WorkspaceEdit | None:
        nonlocal session
        session = opened
        session.opened(URI, CODE, 1)
        return await edits.edit(Request(URI, FIRST_TWO, "swap"))

    session: Session
    assert during(Slow(ANSWER, ""), scenario, shown) is None
    assert "changed meanwhile" in shown[0]


def offered(
    edits: Edits, only: list[lsp.CodeActionKind] | None = None, uri: str = URI
) -> list[lsp.CodeAction]:
    context = lsp.CodeActionContext([], only=only)
    return edits.offered(lsp.CodeActionParams(lsp.TextDocumentIdentifier(uri), FIRST_TWO, context))


def test_actions_carry_an_instruction_where_the_editor_cannot_ask() -> None:
    async def scenario(session: Session, edits: Edits) -> None:
        session.initialize({"editInstructions": ["Sort the lines"]})
        session.opened(URI, CODE, 1)
        session.opened("file:///home/ada/.env", "A=1\n", 1)
        [action] = offered(edits)
        assert action.title == "Edit with qwen: Sort the lines"
        assert action.command is not None
        assert action.command.command == COMMAND
        wanted = request(tuple(action.command.arguments or ()))
        assert wanted == Request(URI, FIRST_TWO, "Sort the lines")
        edits.can_ask = True
        [action] = offered(edits)
        assert action.title == "Edit with qwen…"
        assert action.command is not None
        assert request(tuple(action.command.arguments or ())).instruction == ""
        assert offered(edits, [lsp.CodeActionKind.Refactor]) == offered(edits)
        assert offered(edits, [lsp.CodeActionKind.QuickFix]) == []
        assert offered(edits, uri="file:///home/ada/.env") == []

    during(Both("", ""), scenario, [])


def test_a_cursor_that_moves_lights_no_bulb() -> None:
    async def scenario(session: Session, edits: Edits) -> list[int]:
        session.opened(URI, CODE, 1)
        here = lsp.Range(lsp.Position(1, 2), lsp.Position(1, 2))
        asked = [
            lsp.CodeActionParams(
                lsp.TextDocumentIdentifier(URI), span, lsp.CodeActionContext([], trigger_kind=kind)
            )
            for span in (here, FIRST_TWO)
            for kind in (lsp.CodeActionTriggerKind.Automatic, lsp.CodeActionTriggerKind.Invoked)
        ]
        return [len(edits.offered(params)) for params in asked]

    assert during(Both("", ""), scenario, []) == [0, 4, 4, 4]


@pytest.mark.parametrize("arguments", [(), (None,), ({"uri": URI},), ("x",), ({"uri": 3, "range": {}},)])
def test_arguments_that_cannot_be_used_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(QwenError, match=r"qwen\.edit has the argument"):
        request(arguments)


def test_instructions_that_are_none_are_reported() -> None:
    _, faults = read({"editInstructions": ["", 3]})
    assert "Give a list of instructions" in faults[0]


@pytest.fixture
def client() -> Iterator[tuple[LanguageClient, asyncio.AbstractEventLoop, list[Any]]]:
    """A client that can ask for an instruction, and the process of a server."""
    loop = asyncio.new_event_loop()
    made = LanguageClient("test", "1")
    seen: list[Any] = []

    @made.feature(ASK)
    def ask(params: Any) -> str:
        seen.append(params)
        return "swap the factors"

    @made.feature(lsp.WORKSPACE_APPLY_EDIT)
    def apply(params: lsp.ApplyWorkspaceEditParams) -> lsp.ApplyWorkspaceEditResult:
        seen.append(params)
        return lsp.ApplyWorkspaceEditResult(applied=True)

    loop.run_until_complete(made.start_io(sys.executable, language_server.__file__, ANSWER, "more"))
    yield made, loop, seen
    loop.run_until_complete(asyncio.wait_for(made.stop(), 30))
    loop.close()


def test_from_the_action_to_the_change_over_stdin_and_stdout(client: Any) -> None:
    made, loop, seen = client

    async def scenario() -> bool:
        capabilities = lsp.ClientCapabilities(experimental={"qwenInstruction": True})
        result = await made.initialize_async(lsp.InitializeParams(capabilities))
        assert list(result.capabilities.execute_command_provider.commands) == [COMMAND]
        made.initialized(lsp.InitializedParams())
        item = lsp.TextDocumentItem(URI, "python", 1, CODE)
        made.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        context = lsp.CodeActionContext([])
        params = lsp.CodeActionParams(lsp.TextDocumentIdentifier(URI), FIRST_TWO, context)
        # (The client's library reads an action with a command as if it were the command.)
        [action] = await made.text_document_code_action_async(params)
        assert action.title == "Edit with qwen…"
        span = {"start": {"line": 0, "character": 4}, "end": {"line": 2, "character": 0}}
        done = await made.workspace_execute_command_async(
            lsp.ExecuteCommandParams(COMMAND, [{"uri": URI, "range": span}])
        )
        await made.shutdown_async(None)
        made.exit(None)
        return bool(done)

    assert loop.run_until_complete(asyncio.wait_for(scenario(), 60))
    asked, applied = seen
    assert asked.uri == URI
    assert applied.edit.changes[URI][0].new_text == "def area(w, h):\n    return h * w\n"
    assert applied.label == "qwen: swap the factors"
