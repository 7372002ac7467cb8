"""The language server over stdin and stdout: what pygls reads and writes, handed to a `Session`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import QwenError
from qwen_cli.lsp.edits import ASK, COMMAND, Edits, member, request
from qwen_cli.lsp.session import Session
from qwen_cli.lsp.settings import DEFAULTS, Settings

if TYPE_CHECKING:
    from lsprotocol import types as lsp
    from pygls.lsp.server import LanguageServer


def serve(engine: Engine, *, settings: Settings = DEFAULTS) -> None:
    """Talk to an editor over stdin and stdout until it leaves.

    `settings` are what the editor's `initializationOptions` do not say. Raises `UsageError` for a model that
    cannot fill in the middle. The caller closes the engine.
    """
    # 0.3 s of generated classes, needed by this command only
    from lsprotocol import types as lsp
    from pygls.lsp.server import LanguageServer
    from pygls.protocol import LanguageServerProtocol
    from pygls.protocol.language_server import lsp_method

    from qwen_cli._version import __version__
    from qwen_cli.tasks.fim.complete import tokens_of

    tokens_of(engine)

    class Protocol(LanguageServerProtocol):
        # pygls keeps texts too, but breaks lines at form feeds and moves the positions of a change in place.
        @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
        def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
            session.changed(params)

    server = LanguageServer("qwen", __version__, protocol_cls=Protocol)

    def tell(message: str) -> None:
        line = f"qwen: {message}"
        server.window_show_message(lsp.ShowMessageParams(type=lsp.MessageType.Warning, message=line))

    session = Session(engine, tell, settings, engine.interrupt)
    _connect(server, session)
    _connect_edits(server, session, tell)
    try:
        with _stdout_for_messages() as own:
            server.start_io(stdout=own)
    finally:
        session.close()


def _connect(server: LanguageServer, session: Session) -> None:
    from lsprotocol import types as lsp

    @server.feature(lsp.INITIALIZE)
    def initialize(params: lsp.InitializeParams) -> None:
        session.initialize(params.initialization_options)
        document = params.capabilities.text_document
        if document is None or document.inline_completion is None:
            # An editor that shows no suggestions in the text has its menu. pygls tells it what there is
            # after this, so the menu is offered to those editors only.
            server.feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions())(menu)

    @server.feature(lsp.INITIALIZED)
    def initialized(_: lsp.InitializedParams) -> None:
        encoding = server.server_capabilities.position_encoding
        session.encoding = str(getattr(encoding, "value", encoding) or "utf-16")

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        session.opened(document.uri, document.text, document.version, document.language_id)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        session.closed(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        session.saved(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())
    async def complete(params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList | None:
        return await session.complete(params)

    async def menu(params: lsp.CompletionParams) -> lsp.CompletionList | None:
        return await session.menu(params)

    @server.feature(lsp.SHUTDOWN)
    def shutdown(_: Any) -> None:
        session.close()


def _connect_edits(server: LanguageServer, session: Session, tell: Callable[[str], None]) -> None:
    from lsprotocol import types as lsp

    edits = Edits(session, tell)

    @server.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions([lsp.CodeActionKind.RefactorRewrite])
    )
    def actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        client = server.client_capabilities
        edits.can_ask = bool(member(client.experimental, "qwenInstruction", False))
        return edits.offered(params)

    @server.command(COMMAND)
    async def run(*arguments: Any) -> bool:
        """Edit as the argument says, and let the editor apply it; return whether it did."""
        try:
            wanted = request(arguments)
            if not wanted.instruction.strip():
                wanted = replace(wanted, instruction=await _asked(server, arguments[0]))
        except QwenError as fault:
            tell(str(fault))
            return False
        if not wanted.instruction.strip():  # the person thought better of it
            return False
        workspace = server.client_capabilities.workspace
        edits.versioned = bool(
            workspace and workspace.workspace_edit and workspace.workspace_edit.document_changes
        )
        change = await edits.edit(wanted)
        if change is None:
            return False
        done = await server.workspace_apply_edit_async(
            lsp.ApplyWorkspaceEditParams(change, label=f"qwen: {wanted.instruction}")
        )
        return done.applied


async def _asked(server: LanguageServer, target: Any) -> str:
    """Return the instruction that the editor asks for. Raises `QwenError` where it cannot."""
    if not member(server.client_capabilities.experimental, "qwenInstruction", False):
        raise QwenError(
            f"{COMMAND} has no instruction, and the editor cannot be asked for one", 'give "instruction"'
        )
    given = await server.protocol.send_request_async(ASK, target)
    return given if isinstance(given, str) else ""


def _stdout_for_messages() -> BinaryIO:
    """Return the process's stdout for the protocol alone: whatever else is printed there goes to stderr."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own
