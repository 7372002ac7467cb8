"""A whole conversation between an LSP client and the server process, over stdin and stdout."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcRequestCancelled
from pygls.lsp.client import LanguageClient

T = TypeVar("T")
URI = "file:///nowhere/fib.py"
FIB = "def fib(n):\n    if n < 2:\n        return n\n    return "
LONG = "WORDS = [\n" + "    'some text to read',\n" * 250 + "]\n\n\n"
MODEL_SECONDS = 300  # what a two-core machine that does other things as well may need


class Client:
    """A pygls client and the event loop that it lives in."""

    def __init__(self, command: list[str]) -> None:
        self._loop = asyncio.new_event_loop()
        self.lsp = LanguageClient("test", "1")
        self.messages: list[str] = []

        @self.lsp.feature(lsp.WINDOW_SHOW_MESSAGE)
        def show(params: lsp.ShowMessageParams) -> None:
            self.messages.append(params.message)

        self.run(self.lsp.start_io(*command))

    def run(self, waiting: Awaitable[T]) -> T:
        async def whole() -> T:
            return await asyncio.wait_for(waiting, MODEL_SECONDS)

        return self._loop.run_until_complete(whole())

    def start(self, options: object = None, *, inline: bool = True) -> lsp.InitializeResult:
        capabilities = lsp.ClientCapabilities(
            text_document=lsp.TextDocumentClientCapabilities(
                inline_completion=lsp.InlineCompletionClientCapabilities() if inline else None
            )
        )
        params = lsp.InitializeParams(capabilities, initialization_options=options)
        result = self.run(self.lsp.initialize_async(params))
        self.lsp.initialized(lsp.InitializedParams())
        return result

    def open(self, uri: str, text: str) -> None:
        item = lsp.TextDocumentItem(uri, "python", 1, text)
        self.lsp.text_document_did_open(lsp.DidOpenTextDocumentParams(item))

    def insert(self, uri: str, version: int, line: int, character: int, text: str) -> None:
        at = lsp.Position(line, character)
        change = lsp.TextDocumentContentChangePartial(range=lsp.Range(at, at), text=text)
        document = lsp.VersionedTextDocumentIdentifier(version, uri)
        self.lsp.text_document_did_change(lsp.DidChangeTextDocumentParams(document, [change]))

    async def complete(self, uri: str, line: int, character: int) -> lsp.InlineCompletionItem | None:
        answer = await self.lsp.text_document_inline_completion_async(_request(uri, line, character))
        if answer is None:
            return None
        assert isinstance(answer, lsp.InlineCompletionList)
        return answer.items[0] if answer.items else None

    def leave(self) -> int:
        self.run(self.lsp.shutdown_async(None))
        self.lsp.exit(None)
        server = self.lsp._server
        assert server is not None
        return self.run(server.wait())

    def close(self) -> None:
        server = self.lsp._server
        if server is not None and server.returncode is None:
            server.kill()
            self.run(server.wait())
        self.run(self.lsp.stop())
        self._loop.close()


def _request(uri: str, line: int, character: int) -> lsp.InlineCompletionParams:
    return lsp.InlineCompletionParams(
        lsp.InlineCompletionContext(lsp.InlineCompletionTriggerKind.Invoked),
        lsp.TextDocumentIdentifier(uri),
        lsp.Position(line, character),
    )


@pytest.fixture(scope="module")
def command(starter_gguf: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "qwen_cli", "code-fim", "--lsp"),
        *("--model", str(starter_gguf), "--engine", "llamacpp", "--context", "4096"),
    ]


@pytest.fixture
def client(command: list[str]) -> Iterator[Client]:
    made = Client(command)
    yield made
    made.close()


def test_a_session_from_the_first_message_to_the_last(client: Client) -> None:
    result = client.start({"mode": "line", "debounceMs": 0, "speculate": False, "speed": 11})
    assert result.capabilities.inline_completion_provider is not None
    assert result.capabilities.completion_provider is None
    assert result.capabilities.position_encoding == lsp.PositionEncodingKind.Utf16
    assert "speed is no setting" in " ".join(client.messages)

    client.open(URI, FIB + "\n")
    item = client.run(client.complete(URI, 3, 11))
    assert item is not None
    assert item.range == lsp.Range(lsp.Position(3, 11), lsp.Position(3, 11))
    text = str(item.insert_text)
    ast.parse(FIB + text)

    client.insert(URI, 2, 3, 11, text[:3])
    item = client.run(client.complete(URI, 3, 14))
    assert item is not None
    assert item.insert_text == text[3:]

    # Positions count UTF-16 units, and other documents keep their own text.
    other = "file:///nowhere/other.py"
    client.open(other, "smile = '😋😋'; ")
    client.insert(other, 2, 0, 16, "total = len(smile")
    item = client.run(client.complete(other, 0, 33))
    assert item is not None
    assert str(item.insert_text).startswith(")")

    assert client.leave() == 0


def test_an_editor_without_inline_suggestions_gets_an_entry_in_its_menu(client: Client) -> None:
    result = client.start({"mode": "line", "debounceMs": 0, "speculate": False}, inline=False)
    assert result.capabilities.completion_provider is not None
    client.open(URI, FIB + "fi\n")
    params = lsp.CompletionParams(lsp.TextDocumentIdentifier(URI), lsp.Position(3, 13))
    answer = client.run(client.lsp.text_document_completion_async(params))
    assert isinstance(answer, lsp.CompletionList)
    assert answer.is_incomplete  # the menu is to ask again after each character
    [item] = answer.items
    assert isinstance(item.text_edit, lsp.TextEdit)
    assert item.text_edit.range == lsp.Range(lsp.Position(3, 11), lsp.Position(3, 13))
    assert item.label == item.filter_text == item.text_edit.new_text
    assert item.label.startswith("fib(")
    ast.parse(FIB + item.text_edit.new_text)


def test_a_question_is_given_up_and_the_next_one_answered(client: Client) -> None:
    client.start({"mode": "line", "debounceMs": 0, "speculate": False})
    client.open(URI, LONG + FIB + "\n")
    last = LONG.count("\n") + 3

    async def scenario() -> lsp.InlineCompletionItem | None:
        protocol = client.lsp.protocol
        asked = protocol.send_request_async(
            lsp.TEXT_DOCUMENT_INLINE_COMPLETION, _request(URI, last, 11), msg_id="given up"
        )
        await asyncio.sleep(0.2)
        client.lsp.cancel_request(lsp.CancelParams("given up"))
        with pytest.raises(JsonRpcRequestCancelled):
            await asked
        dropped = asyncio.ensure_future(client.complete(URI, last, 11))
        await asyncio.sleep(0.2)
        client.insert(URI, 2, last, 11, "fib(")
        assert await dropped is None
        short = "file:///nowhere/short.py"
        client.open(short, FIB + "\n")
        return await client.complete(short, 3, 11)

    assert client.run(scenario()) is not None


def test_an_editor_that_dies_takes_the_server_with_it(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=MODEL_SECONDS)
    assert done.stdout == b""
    assert done.returncode == 0, done.stderr


def test_a_place_in_a_file_and_the_server_exclude_each_other(command: list[str]) -> None:
    done = subprocess.run([*command, "--at", "3"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--lsp takes files and places from the editor" in done.stderr
