"""What reaches the model for what an editor does, and what comes back. The model is the real starter."""

from __future__ import annotations

import ast
import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from lsprotocol import types as lsp
from recorded import Recorded

from qwen_cli.lsp.session import Session
from qwen_cli.lsp.settings import Settings

T = TypeVar("T")
FIB = "def fib(n):\n    if n < 2:\n        return n\n    return "
QUIET = Settings(mode="line", debounce_ms=0, idle_ms=60_000, speculate=False)


class Editor:
    """An editor's side of a session: one document, with the cursor at the end of what was typed last."""

    def __init__(self, session: Session, uri: str = "file:///nowhere/fib.py") -> None:
        self.session, self.uri, self.version = session, uri, 1

    def open(self, before: str, after: str = "\n") -> None:
        self.before, self.after = before, after
        self.session.opened(self.uri, before + after, 1)

    def type(self, text: str) -> None:
        at = self.position
        self.before += text
        self.version += 1
        self.session.changed(
            lsp.DidChangeTextDocumentParams(
                lsp.VersionedTextDocumentIdentifier(self.version, self.uri),
                [lsp.TextDocumentContentChangePartial(range=lsp.Range(at, at), text=text)],
            )
        )

    @property
    def position(self) -> lsp.Position:
        lines = self.before.split("\n")
        return lsp.Position(len(lines) - 1, len(lines[-1].encode("utf-16-le")) // 2)

    async def ask(
        self,
        kind: lsp.InlineCompletionTriggerKind = lsp.InlineCompletionTriggerKind.Invoked,
        selected: lsp.SelectedCompletionInfo | None = None,
    ) -> str | None:
        """The suggestion, empty where there is none to make; None where the question was dropped."""
        answer = await self.session.complete(
            lsp.InlineCompletionParams(
                lsp.InlineCompletionContext(kind, selected),
                lsp.TextDocumentIdentifier(self.uri),
                self.position,
            )
        )
        if answer is None:
            return None
        return str(answer.items[0].insert_text) if answer.items else ""


def during(engine: Recorded, settings: Settings, scenario: Callable[[Session], Awaitable[T]]) -> T:
    async def whole() -> T:
        session = Session(engine, lambda line: None, settings, engine.interrupt)
        try:
            return await scenario(session)
        finally:
            session.close()

    return asyncio.run(whole())


def test_the_text_on_both_sides_of_the_cursor_reaches_the_model(engine: Recorded) -> None:
    async def scenario(session: Session) -> str | None:
        editor = Editor(session)
        editor.open("# 变量 😋\f two\nname = '😋'; " + FIB.replace("\n", "\r\n"), "\r\n# end\r\n")
        return await editor.ask()

    assert during(engine, QUIET, scenario)
    [prompt] = engine.prompts
    assert f"# 变量 😋\f two\nname = '😋'; {FIB.rstrip()}<|fim_suffix|>\n# end\n<|fim_middle|>" in prompt


def test_typing_along_a_suggestion_asks_nothing(engine: Recorded) -> None:
    async def scenario(session: Session) -> list[str | None]:
        editor = Editor(session)
        editor.open(FIB)
        answers = [await editor.ask()]
        for char in (answers[0] or "")[:4]:
            editor.type(char)
            answers.append(await editor.ask(lsp.InlineCompletionTriggerKind.Automatic))
        return answers

    first, *rest = during(engine, QUIET, scenario)
    assert first is not None
    ast.parse(FIB + first)
    assert rest == [first[n:] for n in range(1, 5)]
    assert len(engine.prompts) == 1


def test_after_a_suggestion_is_taken_the_next_one_is_there(engine: Recorded) -> None:
    async def scenario(session: Session) -> int:
        editor = Editor(session)
        editor.open(FIB)
        text = await editor.ask() or ""
        while not session.worker.idle:
            await asyncio.sleep(0.05)
        asked = len(engine.prompts)
        assert asked == 2  # the suggestion, and the one after it
        editor.type(text)
        await editor.ask()
        return len(engine.prompts) - asked

    assert during(engine, Settings(mode="line", idle_ms=60_000), scenario) == 0


def test_another_character_than_suggested_is_a_new_question_on_the_cached_prefix(engine: Recorded) -> None:
    async def scenario(session: Session) -> None:
        editor = Editor(session)
        editor.open(FIB)
        await editor.ask()
        editor.type("max")
        await editor.ask()

    during(engine, QUIET, scenario)
    first, second = engine.prompts
    assert second.startswith(first[: first.index("<|fim_suffix|>")])


def test_a_change_drops_the_question_that_is_being_answered(engine: Recorded) -> None:
    async def scenario(session: Session) -> tuple[str | None, str | None]:
        editor = Editor(session)
        editor.open("x = [\n" + "    'some text to read',\n" * 200 + "]\n" + FIB)
        old = asyncio.create_task(editor.ask())
        while not engine.prompts:
            await asyncio.sleep(0.01)
        other = Editor(session, "file:///nowhere/other.py")
        other.open(FIB)
        editor.type("fib(")
        return await old, await other.ask()

    dropped, answered = during(engine, QUIET, scenario)
    assert dropped is None
    assert answered


def test_typing_during_the_rest_that_is_waited_for_asks_once(engine: Recorded) -> None:
    async def scenario(session: Session) -> list[str | None]:
        editor = Editor(session)
        editor.open(FIB)
        answers = []
        for char in "fi":
            answers.append(asyncio.create_task(editor.ask(lsp.InlineCompletionTriggerKind.Automatic)))
            await asyncio.sleep(0)
            editor.type(char)
        answers.append(asyncio.create_task(editor.ask(lsp.InlineCompletionTriggerKind.Automatic)))
        return [await answer for answer in answers]

    patient = Settings(mode="line", debounce_ms=200, idle_ms=60_000, speculate=False)
    first, second, last = during(engine, patient, scenario)
    assert (first, second) == (None, None)
    assert last
    assert len(engine.prompts) == 1


def test_much_text_to_the_right_asks_only_by_hand(engine: Recorded) -> None:
    async def scenario(session: Session) -> str | None:
        editor = Editor(session)
        editor.open("x = ", "some_function(argument)\n")
        return await editor.ask(lsp.InlineCompletionTriggerKind.Automatic)

    assert during(engine, QUIET, scenario) == ""
    assert engine.prompts == []


def test_the_menus_selected_item_is_the_start_of_the_suggestion(engine: Recorded) -> None:
    async def scenario(session: Session) -> str | None:
        editor = Editor(session)
        editor.open(FIB + "fi")
        word = lsp.Range(lsp.Position(3, 11), lsp.Position(3, 13))
        return await editor.ask(selected=lsp.SelectedCompletionInfo(word, "fib("))

    suggestion = during(engine, QUIET, scenario)
    assert suggestion is not None
    assert suggestion.startswith("fib(")
    assert f"{FIB}fib(<|fim_suffix|>" in engine.prompts[0]


def test_a_menu_entry_at_the_start_of_a_line_replaces_nothing(engine: Recorded) -> None:
    async def scenario(session: Session) -> lsp.CompletionList | None:
        editor = Editor(session)
        editor.open("x = 1\n", "y = 2\n")
        at = lsp.TextDocumentIdentifier(editor.uri)
        return await session.menu(lsp.CompletionParams(at, editor.position))

    menu = during(engine, QUIET, scenario)
    assert menu is not None
    assert [item.text_edit.range.start for item in menu.items if item.text_edit] == [lsp.Position(1, 0)]


def test_out_of_time_only_whole_lines_are_suggested(engine: Recorded) -> None:
    async def scenario(session: Session) -> str | None:
        editor = Editor(session)
        editor.open("NAMES = [\n    'one',\n    'two',\n    'three',\n", "]\n")
        return await editor.ask()

    hurried = Settings(mode="auto", time_limit_ms=50, debounce_ms=0, idle_ms=60_000, speculate=False)
    text = during(engine, hurried, scenario)
    assert text
    assert len(text.strip().splitlines()) == 1  # with the default second it is five more
    assert text.rstrip().endswith(",")


def test_at_rest_the_files_that_matter_are_read_and_then_seen(engine: Recorded, tmp_path: Path) -> None:
    (tmp_path / "prices.py").write_text("def gross_of_articles(net):\n    return net * 1.19\n")
    (tmp_path / "cart.py").write_text("")
    (tmp_path / ".env.py").write_text("def gross_of_articles(): 'secret'\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    before = "from prices import gross_of_articles\n\n\ndef total(items):\n    return sum("

    async def scenario(session: Session) -> str | None:
        editor = Editor(session, (tmp_path / "cart.py").as_uri())
        editor.open(before)
        while not engine.prompts or not session.worker.idle:
            await asyncio.sleep(0.05)
        return await editor.ask()

    suggestion = during(engine, Settings(mode="line", idle_ms=0, speculate=False), scenario)
    assert suggestion
    shown = engine.prompts[-1]
    assert "<|file_sep|>prices.py\ndef gross_of_articles(net):" in shown
    assert shown.index("prices.py") < shown.index("<|file_sep|>cart.py\n<|fim_prefix|>")
    assert "secret" not in shown


def test_documents_outside_a_repository_and_without_a_file_are_completed(engine: Recorded) -> None:
    async def scenario(session: Session) -> str | None:
        editor = Editor(session, "untitled:Untitled-1")
        editor.open(FIB)
        return await editor.ask()

    assert during(engine, QUIET, scenario)
