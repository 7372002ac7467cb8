"""What the server keeps from the model, and when it takes a question as asked by hand."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from filling import Filling
from lsprotocol import types as lsp

from qwen_cli.errors import EngineError
from qwen_cli.lsp.session import Session
from qwen_cli.lsp.settings import Settings

T = TypeVar("T")
AT_ONCE = Settings(mode="line", debounce_ms=0, idle_ms=0, speculate=True)
SECRET = "correct-horse-battery-staple"


def during(
    engine: Filling,
    scenario: Callable[[Session], Awaitable[T]],
    settings: Settings = AT_ONCE,
    told: list[str] | None = None,
) -> T:
    async def whole() -> T:
        session = Session(engine, (told if told is not None else []).append, settings)
        try:
            return await scenario(session)
        finally:
            session.close()

    return asyncio.run(whole())


async def inline(session: Session, uri: str, line: int = 0, character: int = 4) -> str | None:
    params = lsp.InlineCompletionParams(
        lsp.InlineCompletionContext(lsp.InlineCompletionTriggerKind.Invoked),
        lsp.TextDocumentIdentifier(uri),
        lsp.Position(line, character),
    )
    answer = await session.complete(params)
    if answer is None:
        return None
    return str(answer.items[0].insert_text) if answer.items else ""


async def menu(session: Session, uri: str, kind: lsp.CompletionTriggerKind | None) -> list[str]:
    context = lsp.CompletionContext(kind) if kind is not None else None
    at = lsp.TextDocumentIdentifier(uri)
    answer = await session.menu(lsp.CompletionParams(at, lsp.Position(0, 4), context))
    return [item.label for item in answer.items] if answer else []


async def rest(session: Session) -> None:
    """Let what is prepared in the background be done."""
    for _ in range(20):
        await asyncio.sleep(0.005)
    while not session.worker.idle:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("uri", "language"),
    [
        ("file:///home/ada/shop/.env", "dotenv"),
        ("file:///home/ada/shop/%2Eenv", "plaintext"),
        ("file:///home/ada/shop/.env.local", "shellscript"),
        ("file:///home/ada/.ssh/config", "ssh_config"),
        ("file:///home/ada/.aws/config", "ini"),
        ("file:///home/ada/id_ed25519", "plaintext"),
        ("file:///home/ada/.netrc", "plaintext"),
        ("file:///home/ada/.npmrc", "properties"),
        ("file:///home/ada/server.pem", "pem"),
        ("untitled:/home/ada/shop/.env", "plaintext"),
        ("untitled:Untitled-1", "dotenv"),
        ("vscode-remote://ssh-remote%2Bbox/home/ada/secrets.yml", "yaml"),
        ("git:/home/ada/shop/credentials.json?ref", "json"),
    ],
)
def test_nothing_of_a_secret_document_reaches_the_model(uri: str, language: str) -> None:
    engine = Filling("more")
    told: list[str] = []

    async def scenario(session: Session) -> list[object]:
        session.opened(uri, f"KEY={SECRET}\n", 1, language)
        answers: list[object] = [await inline(session, uri), await inline(session, uri)]
        answers.append(await menu(session, uri, lsp.CompletionTriggerKind.Invoked))
        session.saved(uri)
        await rest(session)
        return answers

    assert during(engine, scenario, told=told) == ["", "", []]
    assert engine.prompts == []
    assert len(told) == 1  # said, and said once
    assert "nothing of it is sent" in told[0]


def test_a_key_pasted_into_any_document_keeps_it_from_the_model() -> None:
    engine = Filling("more")
    uri = "file:///nowhere/notes.py"
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n"

    async def scenario(session: Session) -> tuple[str | None, str | None]:
        session.opened(uri, "x = \n", 1, "python")
        first = await inline(session, uri)
        await rest(session)
        engine.prompts.clear()
        change = lsp.TextDocumentContentChangeWholeDocument("x = \n" + key)
        document = lsp.VersionedTextDocumentIdentifier(2, uri)
        session.changed(lsp.DidChangeTextDocumentParams(document, [change]))
        then = await inline(session, uri)
        await rest(session)
        return first, then

    assert during(engine, scenario) == ("more", "")
    assert engine.prompts == []


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "prices.py").write_text("def gross_of_articles(net):\n    return net * 1.19\n")
    (tmp_path / "cart.py").write_text("")
    (tmp_path / ".env.py").write_text(f"def gross_of_articles(): '{SECRET}'\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    yield tmp_path


def test_an_open_file_with_a_key_is_no_context_for_others(shop: Path) -> None:
    engine = Filling("more")
    uri = (shop / "cart.py").as_uri()

    async def scenario(session: Session) -> None:
        for name in ("prices.py", ".env.py"):
            text = (shop / name).read_text()
            key = f"KEY = '''-----BEGIN RSA PRIVATE KEY-----\nMII{SECRET}'''\n" if name == "prices.py" else ""
            session.opened((shop / name).as_uri(), key + text, 1, "python")
        session.opened(uri, "from prices import gross_of_articles\nx = gross_of_articles(", 1, "python")
        await rest(session)
        await inline(session, uri, 1, 26)

    during(engine, scenario)
    assert engine.prompts
    assert not any(SECRET in prompt for prompt in engine.prompts)


def test_after_a_failure_the_same_place_is_asked_again() -> None:
    answers: list[str | Exception] = [EngineError("the server is away"), "", "more"]

    def answer(prompt: str) -> str:
        said = answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    uri = "file:///nowhere/a.py"
    quiet = Settings(mode="line", debounce_ms=0, idle_ms=60_000, speculate=False)

    async def scenario(session: Session) -> list[str | None]:
        session.opened(uri, "x = \n", 1, "python")
        return [await inline(session, uri) for _ in range(3)]

    assert during(Filling(answer), scenario, quiet) == ["", "", "more"]


def test_that_nothing_follows_what_was_taken_is_prepared_and_counts_once() -> None:
    answers = ["1", "", "2"]
    engine = Filling(lambda prompt: answers.pop(0))
    uri = "file:///nowhere/a.py"
    settings = Settings(mode="line", debounce_ms=0, idle_ms=60_000, speculate=True)

    async def scenario(session: Session) -> list[tuple[str | None, int]]:
        session.opened(uri, "x = \n", 1, "python")
        said = [(await inline(session, uri), len(engine.prompts))]
        await rest(session)
        at = lsp.Range(lsp.Position(0, 4), lsp.Position(0, 4))
        change = lsp.TextDocumentContentChangePartial(range=at, text="1")
        document = lsp.VersionedTextDocumentIdentifier(2, uri)
        session.changed(lsp.DidChangeTextDocumentParams(document, [change]))
        for _ in range(2):
            said.append((await inline(session, uri, 0, 5), len(engine.prompts)))
        return said

    first, prepared, again = during(engine, scenario, settings)
    assert first[0] == "1"
    assert prepared == ("", 2)  # the suggestion, and the one after it: no third question
    assert again[0] == "2"


def test_a_menu_opened_by_hand_is_answered_where_one_by_itself_is_not() -> None:
    uri = "file:///nowhere/a.py"

    async def scenario(session: Session) -> list[list[str]]:
        session.opened(uri, "x = some_function(argument)\n", 1, "python")
        kinds = (
            lsp.CompletionTriggerKind.TriggerCharacter,
            lsp.CompletionTriggerKind.TriggerForIncompleteCompletions,
            None,
            lsp.CompletionTriggerKind.Invoked,
        )
        return [await menu(session, uri, kind) for kind in kinds]

    assert during(Filling("more"), scenario) == [[], [], [], ["more"]]


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "vscode-notebook-cell:/a/b.ipynb#W0"])
def test_a_document_on_no_disk_has_the_language_the_editor_names(uri: str) -> None:
    seen: list[str] = []

    async def scenario(session: Session) -> None:
        session.opened(uri, "x = \n", 1, "python")
        document = session.documents[uri]
        seen.append(session._place(document, "x = ", "\n").path)
        assert await inline(session, uri)

    during(Filling("more"), scenario)
    assert seen == ["main.py"]
