"""One question: its answer is kept in its session and in the log, and can be gone on with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, end

from qwen_cli import paths
from qwen_cli.commands.chat import once, resume
from qwen_cli.commands.chat.question import Question
from qwen_cli.commands.chat.resume import Resumed
from qwen_cli.engines.core.base import Piece, Usage
from qwen_cli.errors import EngineError, SessionError, UsageError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.gathering import Gathered
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.tasks.common import log
from qwen_cli.tasks.common.log import Entry

Ask = Callable[..., None]
FOUR = [Piece("Hm", "thinking"), Piece("4"), end()]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask `text` once, before an engine that says `answer`."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))

    def run(
        text: str,
        answer: list[Piece | BaseException],
        resumed: Resumed | None = None,
        settings: dict[str, Any] | None = None,
        *,
        no_log: bool = False,
        files: tuple[tuple[str, str], ...] = (),
        can: dict[str, bool] | None = None,
    ) -> Scripted:
        engine = Scripted(answer)
        engine.capabilities = replace(engine.capabilities, **(can or {}))
        talk = resume.conversation(engine, resumed, {})
        question = Question(text, Gathered(files))
        once.ask(talk, question, resumed, settings or {}, as_json=False, raw=True, no_log=no_log)
        return engine

    return run


def last() -> Entry:
    return log.latest(1)[0]


def test_question_and_answer_are_logged_with_their_cost(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    ask("2 + 2?", FOUR)
    entry = last()

    assert capsys.readouterr().out == "4\n"
    assert (entry.command, entry.question, entry.answer, entry.thinking) == ("chat", "2 + 2?", "4", "Hm")
    assert (entry.model, entry.engine, entry.session, entry.parent) == ("none", "scripted", None, None)
    assert (entry.prompt_tokens, entry.generated_tokens, entry.stop_reason) == (10, 3, "stop")
    assert entry.seconds is not None and entry.messages is not None and not entry.cut
    assert [one["content"] for one in entry.messages] == ["2 + 2?", "4"]
    assert [file.name for file in paths.data_folder().iterdir()] == ["log.db"]


@pytest.mark.parametrize(("settings", "no_log"), [({"log": "off"}, False), ({}, True)])
def test_who_wants_no_log_has_none(ask: Ask, settings: dict[str, str], no_log: bool) -> None:
    ask("2 + 2?", FOUR, settings=settings, no_log=no_log)
    assert list(paths.data_folder().iterdir()) == []


def test_what_was_typed_is_the_question_and_files_go_with_it(ask: Ask) -> None:
    ask("Explain.", FOUR, files=(("a.py", "x = 1"),))
    entry = last()
    assert entry.question == "Explain." and entry.messages is not None
    assert "x = 1" in entry.messages[0]["content"]


@pytest.mark.parametrize("fault", [EngineError("the server went away"), KeyboardInterrupt()])
def test_what_came_before_a_fault_is_logged_and_cut(ask: Ask, fault: BaseException) -> None:
    with pytest.raises(type(fault)):
        ask("Count.", [Piece("one "), fault])
    entry = last()
    assert (entry.answer, entry.stop_reason, entry.cut) == ("one ", "cancelled", True)
    assert entry.messages == [
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "one ", "cut": True},
    ]


def test_an_answer_that_was_cut_by_its_limit_is_cut(ask: Ask) -> None:
    ask("Count.", [Piece("one"), Piece(usage=Usage(stop_reason="length"))])
    assert last().stop_reason == "length" and last().cut


def test_a_log_that_cannot_be_written_costs_no_answer(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    (paths.data_folder() / "log.db").write_text("junk")
    ask("2 + 2?", FOUR)
    told = capsys.readouterr()
    assert told.out == "4\n" and told.err.count("\n") == 1
    assert "log.db is damaged: file is not a database" in told.err


def test_continue_goes_on_with_the_last_question(ask: Ask) -> None:
    ask("My name is Grace.", [Piece("Hello."), end()])
    first = last().id
    engine = ask("What is mine?", [Piece("Grace."), end()], resume.find(True, None))

    assert [m["content"] for m in engine.seen[0][0]] == ["My name is Grace.", "Hello.", "What is mine?"]
    assert last().parent == first and last().messages is not None
    assert [m["content"] for m in last().messages or ()] == ["What is mine?", "Grace."]
    engine = ask("Sure?", [Piece("Yes."), end()], resume.find(True, None))
    assert len(engine.seen[0][0]) == 5
    assert sessions.names() == [], "it is no session"


def test_continue_goes_on_with_what_is_later(ask: Ask) -> None:
    sessions.save(Session("trip", messages=[{"role": "user", "content": "In a session"}]))
    earlier = time.time() - 60
    os.utime(sessions.path("trip"), (earlier, earlier))
    ask("Alone", FOUR)

    found = resume.find(True, None)
    assert found and found.entry and found.session is None and found.label == "question 1 of the log"
    later = time.time() + 60
    os.utime(sessions.path("trip"), (later, later))
    found = resume.find(True, None)
    assert found and found.entry is None and found.label == "session 'trip'"


def test_a_question_in_a_session_is_logged_and_gone_on_with_there(ask: Ask) -> None:
    ask("2 + 2?", FOUR, resume.find(False, "sums"))
    assert last().session == "sums" and last().messages is None
    assert [m["content"] for m in sessions.load("sums").messages] == ["2 + 2?", "4"]
    found = resume.find(True, None)
    assert found and found.session and found.session.name == "sums"


def test_a_cut_answer_of_the_log_is_gone_on_with_in_its_place(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("Hello.", [Piece("Hi."), end()])
    ask("Count.", [Piece("one "), end("length")], resume.find(True, None))
    capsys.readouterr()
    ask("", [Piece("two"), end()], resume.find(True, None), can={"prefill": True})

    assert capsys.readouterr().out == "two\n", "what was printed before is not printed again"
    assert (last().question, last().answer, last().parent) == ("Count.", "one two", 1)
    assert [m["content"] for m in log.conversation(last()) or ()] == ["Hello.", "Hi.", "Count.", "one two"]


def test_what_is_missing_is_said_before_a_model_loads(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    ask("Count.", [Piece("one "), end("length")])
    cut = resume.find(True, None)
    assert cut
    cut.tell_unfinished(asks=True)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "question 1 of the log: the last answer was cut; `qwen chat --continue` alone goes on with it"
    )
    cut.tell_unfinished(asks=False)
    open_one = Resumed(Session("trip", messages=[{"role": "user", "content": "?"}]))
    open_one.tell_unfinished(asks=True)
    assert capsys.readouterr().err.strip() == (
        "session 'trip': the last question has no answer; `qwen chat --continue` alone answers it"
    )
    ask("2 + 2?", FOUR)
    whole = resume.find(True, None)
    assert whole
    whole.tell_unfinished(asks=True)
    assert capsys.readouterr().err == ""
    for nothing in (whole, Resumed(Session("new"))):
        with pytest.raises(UsageError, match="there is no question, and nothing of"):
            nothing.tell_unfinished(asks=False)


def test_a_session_in_which_another_process_answers_is_told(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions.save(trip := Session("trip", messages=[{"role": "user", "content": "?"}]))
    journal = sessions.journal(trip, trip.resume(Scripted()))
    resume.find(False, "trip")
    told = "another process is answering in session 'trip': one of the two goes on under another name"
    assert capsys.readouterr().err.strip() == told
    resume.find(True, None)
    assert capsys.readouterr().err.strip() == told
    journal.close()
    resume.find(False, "trip")
    assert capsys.readouterr().err == ""


def test_with_nothing_to_continue_that_is_said(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume.find(False, None) is None
    with pytest.raises(SessionError, match="no session to resume"):
        resume.find(True, None)
    (paths.data_folder() / "log.db").write_text("junk")
    with pytest.raises(SessionError, match="no session to resume"):
        resume.find(True, None)
    assert "log.db is damaged" in capsys.readouterr().err


def test_pictures_are_not_kept_in_the_log(ask: Ask) -> None:
    said = [{"type": "image_url", "image_url": {"url": "data:,x"}}, {"type": "text", "text": "What is it?"}]
    assert once._portable({"role": "user", "content": said})["content"] == "(a picture)\nWhat is it?"


def test_an_end_while_a_piece_is_written_keeps_the_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may come anywhere: there the generator of the answer is still alive, as its traceback is."""

    def write(events: Any, **_: Any) -> None:
        for event in events:
            if isinstance(event, Piece) and event.text == "4":
                raise SystemExit(143)

    monkeypatch.setattr(once.output, "streamed", write)
    with pytest.raises(SystemExit):
        ask("2 + 2?", [Piece("4"), Piece("2"), end()], Resumed(sessions.new(name="talk")))
    said = sessions.load("talk").messages
    assert [one["role"] for one in said] == ["user", "assistant"]
    assert (said[-1]["content"], said[-1]["cut"]) == ("4", True)
    assert (last().answer, last().cut) == ("4", True)
