"""Answers that a kill cuts: what came of them until a second before is in the session afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, end

from qwen_cli.engines.core.base import Piece, ToolCall
from qwen_cli.tasks.chat import sessions, unfinished
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.tasks.common import stream_journal
from qwen_cli.tasks.common.stream_journal import Left, StreamJournal

pytestmark = pytest.mark.usefixtures("data_home")

# A process that answers and is killed: `messages` were saved, then pieces and messages came.
KILLED = """
import os, signal, sys, time
from qwen_cli.engines.core.base import Piece
from qwen_cli.tasks.common import stream_journal
from pathlib import Path
journal = stream_journal.StreamJournal(Path(sys.argv[1]), eval(sys.argv[2]))
for said in eval(sys.argv[3]):
    journal.message(said) if isinstance(said, dict) else journal.feed(Piece(*said))
while len(journal._waiting):
    time.sleep(0.02)
time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""
HEAD = {"session": "talk", "base": 1, "joins": False}


def kill(head: dict[str, Any], *said: Any) -> None:
    """Let a process journal so much of an answer, and kill it."""
    command = [sys.executable, "-c", KILLED, str(sessions.folder()), repr(head), repr(said)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr


def leave(head: dict[str, Any], *said: Any) -> Path:
    """Leave a journal as a killed process does, without one."""
    journal = StreamJournal(sessions.folder(), head)
    for one in said:
        journal.message(one) if isinstance(one, dict) else journal.feed(Piece(*one))
    journal._ended.set()
    journal._put(stream_journal._joined(journal._waiting))
    assert journal._handle is not None and journal._file is not None
    os.close(journal._handle)
    journal._handle = None
    return journal._file


def ask(name: str = "talk", *more: dict[str, Any]) -> Session:
    session = Session(name, messages=[{"role": "user", "content": "Count."}, *more])
    sessions.save(session)
    return session


def journals() -> list[Path]:
    return [file for file in sessions.folder().iterdir() if "journal" in file.name or ".new" in file.name]


def test_a_killed_answer_is_in_the_session_and_marked_as_cut() -> None:
    ask()
    kill(HEAD, ("Hm", "thinking"), ("one ", "answer"), ("two \ud83d é\n", "answer"))

    loaded = sessions.load("talk")

    assert loaded.messages[1:] == [
        {"role": "assistant", "content": "one two \ud83d é\n", "thinking": "Hm", "cut": True}
    ]
    assert sessions.load("talk") == loaded, "on disk, once"
    assert journals() == []


def test_the_journal_is_private_and_goes_with_the_answer() -> None:
    session = ask()
    engine = Scripted([Piece("one "), Piece("two"), end()])
    talk = Conversation(engine, messages=[])
    events = talk.send("Count.")
    journal = sessions.journal(session, talk)
    followed = unfinished.followed(events, talk, journal)
    next(followed)
    (file,) = journals()
    assert file.stat().st_mode & 0o777 == 0o600
    assert sessions.load("talk").messages == session.messages, "who writes it lives"
    list(followed)
    journal.close()

    assert talk.messages[-1]["content"] == "one two"
    assert journals() == []


def test_whole_rounds_of_tools_are_kept_and_no_call_is_left_without_its_result() -> None:
    ask()
    call = {"id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    other = {**call, "id": "b"}
    calls = {"role": "assistant", "content": "", "tool_calls": [call, other]}
    result = {"role": "tool", "tool_call_id": "a", "name": "now", "content": "noon", "ok": True}
    leave(HEAD, ("Let me see", "answer"), calls, result, ("It is", "answer"))

    _, *rest = sessions.load("talk").messages

    assert rest[:2] == [calls, result]
    assert rest[2]["tool_call_id"] == "b" and not rest[2]["ok"]
    assert rest[3] == {"role": "assistant", "content": "It is", "cut": True}


def test_rounds_of_tools_are_journalled_as_they_end() -> None:
    from qwen_cli.tasks.tools.toolbox import Toolbox

    session = ask()
    engine = Scripted([Piece(call=ToolCall("a", "nothing", {})), end("tool_calls")], [Piece("Noon."), end()])
    talk = Conversation(engine, toolbox=Toolbox([]))
    journal = sessions.journal(session, talk)
    kept: list[Any] = []
    journal.message = kept.append  # type: ignore[method-assign]
    list(unfinished.followed(talk.send("When?"), talk, journal))
    journal.close()

    assert [message["role"] for message in kept] == ["assistant", "tool"]


def test_an_answer_that_went_on_is_joined() -> None:
    cut = {"role": "assistant", "content": "one ", "cut": True}
    ask("talk", cut)
    leave({"session": "talk", "base": 2, "joins": True}, ("two ", "answer"))

    assert sessions.load("talk").messages[1:] == [{"role": "assistant", "content": "one two ", "cut": True}]


@pytest.mark.parametrize(
    "answer", [{"role": "assistant", "content": "one two three"}, {"role": "assistant", "content": "one two"}]
)
def test_what_was_saved_before_the_kill_stays_as_it_is(answer: dict[str, Any]) -> None:
    session = ask("talk", answer)
    leave(HEAD, ("one two", "answer"))

    assert sessions.load("talk").messages == session.messages
    assert journals() == [] and sessions.names() == ["talk"]


def test_where_a_session_has_gone_on_the_cut_answer_gets_one_of_its_own() -> None:
    more = [{"role": "assistant", "content": "No."}, {"role": "user", "content": "Please."}]
    session = ask("talk", *more)
    leave(HEAD, ("one two", "answer"))

    assert sessions.load("talk").messages == session.messages
    assert sessions.load("talk-2").messages == [
        session.messages[0],
        {"role": "assistant", "content": "one two", "cut": True},
    ]
    assert journals() == []


def test_only_the_session_itself_takes_its_journal() -> None:
    ask("talk")
    ask("talk.2")
    file = leave({**HEAD, "session": "talk.2"}, ("one", "answer"))

    assert len(sessions.load("talk").messages) == 1 and file.exists()
    assert len(sessions.load("talk.2").messages) == 2 and not file.exists()


def test_a_torn_or_foreign_journal_harms_nothing() -> None:
    session = ask()
    file = leave(HEAD, ("one ", "answer"))
    file.write_bytes(
        file.read_bytes() + b'{"answer": "tw\n[1]\n\xff\n{"message": 3}\n{"answer": "three"}\n{"answ'
    )
    (sessions.folder() / ".1-x.journal").write_bytes(b"\xff[[[")
    (sessions.folder() / ".2-x.journal").mkdir()
    leave({"session": "talk", "base": "x"}, ("lost", "answer"))
    leave({"session": "talk", "base": 0}, ("lost", "answer"))

    assert sessions.load("talk").messages == [
        *session.messages,
        {"role": "assistant", "content": "one three", "cut": True},
    ]


def test_a_killed_process_that_said_nothing_leaves_the_question() -> None:
    session = ask()
    leave(HEAD)

    assert sessions.load("talk").messages == session.messages
    assert journals() == []


def test_where_nothing_can_be_written_the_answer_comes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = StreamJournal(tmp_path / "file" / "sessions", HEAD)
    journal.feed(Piece("one"))
    journal.close()


def test_which_session_is_the_latest_does_not_depend_on_what_was_read() -> None:
    ask("old")
    file = leave({**HEAD, "session": "old"}, ("one", "answer"))
    os.utime(file, (1, 1))
    ask("new")
    sessions.load("old")

    assert sessions.names() == ["new", "old"]


def test_what_is_left_is_taken_once() -> None:
    ask()
    file = leave(HEAD, ("one", "answer"))
    with stream_journal.take(file) as left, stream_journal.take(file) as again:
        assert left == Left(HEAD, [], "one") and again is None
    with stream_journal.take(file) as gone:
        assert gone is None


def test_what_is_left_of_a_session_goes_with_it() -> None:
    ask()
    leave(HEAD, ("one", "answer"))
    sessions.delete("talk")
    ask()

    assert journals() == [] and len(sessions.load("talk").messages) == 1


def test_a_fault_while_it_is_taken_leaves_it() -> None:
    ask()
    file = leave(HEAD, ("one", "answer"))
    with pytest.raises(OSError, match="full"), stream_journal.take(file):
        raise OSError("full")
    assert file.exists()
