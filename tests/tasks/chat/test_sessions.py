"""Sessions on disk: nothing is lost, nothing is overwritten."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import Scripted, end

from qwen_cli.engines.core.base import Capabilities, Piece, Sampling
from qwen_cli.errors import EngineError, SessionError, UsageError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.sessions import Session

pytestmark = pytest.mark.usefixtures("data_home")


def a_session(name: str = "talk", text: str = "Hi, 你好 👋") -> Session:
    return Session(name, messages=[{"role": "user", "content": text}])


def test_a_saved_session_comes_back_whole() -> None:
    engine = Scripted([Piece("Hm", "thinking"), Piece("Hello."), end()])
    talk = Conversation(
        engine,
        system="Be brief.",
        sampling=Sampling(temperature=0.5, stop=("END",)),
        thinking=512,
        overflow="stop",
        summary="Earlier they met.",
    )
    list(talk.send("Hi, 你好 👋"))
    session = sessions.new("Hi", name="talk")
    session.record(talk)
    assert sessions.save(session) is None

    loaded = sessions.load("talk")
    again = loaded.resume(engine)

    assert loaded == session
    assert again == talk
    assert again.messages[1]["thinking"] == "Hm"


def test_sessions_are_nobody_elses_business(data_home: Path) -> None:
    sessions.save(a_session())

    assert stat.S_IMODE((data_home / "sessions").stat().st_mode) == 0o700
    assert stat.S_IMODE((data_home / "sessions" / "talk.json").stat().st_mode) == 0o600


def test_without_a_name_date_and_first_words_make_one() -> None:
    session = sessions.new("How do I sort a list of dicts by two keys, please, and quickly?")
    stamp, _, words = session.name[:15], session.name[15], session.name[16:]

    assert time.strptime(stamp, "%Y-%m-%d-%H%M")
    assert words == "how-do-i-sort-a-list-of-dicts-by-two"
    sessions.save(session)
    assert sessions.new("How do I sort a list of dicts by two keys?").name == f"{session.name}-2"


def test_a_name_that_is_taken_is_refused_for_a_new_session() -> None:
    sessions.save(a_session())

    with pytest.raises(SessionError, match="'talk' exists"):
        sessions.new(name="talk")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "../etc",
        "a/b",
        "a\\b",
        ".hidden",
        "a\x1b[31m",
        "a\nb",
        "nul",
        "COM1.x",
        "x" * 201,
        "a\u202eb",
    ],
)
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as error:
        sessions.load(name)
    assert "\x1b" not in str(error.value) and "\n" not in str(error.value)


def test_names_lists_the_latest_first() -> None:
    assert sessions.names() == []
    assert sessions.latest() is None
    for number, name in enumerate(["one", "two", "three"]):
        sessions.save(a_session(name))
        os.utime(sessions.path(name), (number, number))

    assert sessions.names() == ["three", "two", "one"]
    latest = sessions.latest()
    assert latest is not None and latest.name == "three"


def test_the_latest_session_is_the_latest_that_can_be_read() -> None:
    sessions.save(a_session("whole"))
    sessions.path("torn").write_bytes(b'{"version": 1, "messages": [')
    sessions.path("a folder").mkdir()
    faults: list[str] = []

    latest = sessions.latest(lambda fault: faults.append(str(fault)))

    assert latest is not None and latest.name == "whole"
    assert len(faults) == 1 and "'torn' is damaged" in faults[0]
    assert sessions.names() == ["torn", "whole"]


def test_delete_removes_the_kv_state_too() -> None:
    sessions.save(a_session())
    sessions.kv_path("talk").write_bytes(b"state")

    sessions.delete("talk")

    assert sessions.names() == []
    assert not sessions.kv_path("talk").exists()
    with pytest.raises(SessionError, match="no session 'talk'"):
        sessions.delete("talk")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "damaged"),
        (b'{"version": 1, "messages": [', "damaged"),
        (b"\xff\xfe\x00garbage", "damaged"),
        (b"[]", "no object"),
        (b"{}", "no version"),
        (b'{"version": 1, "messages": "hi"}', "not a list of turns"),
        (b'{"version": 1, "messages": [], "settings": 3}', "'settings' is int, not dict"),
        (b'{"version": 1, "messages": [], "settings": {"sampling": 3}}', "its sampling is no object"),
        (b'{"version": 1, "messages": [], "system": 3}', "'system' is int, not str"),
        (b'{"version": 1, "messages": [{"role": 3}]}', "not a list of turns"),
        (b'{"version": 1, "messages": [{"role": "user", "content": {}}]}', "not a list of turns"),
        (b'{"version": 1, "messages": [{"role": "user", "content": ["a"]}]}', "not a list of turns"),
        (b'{"version": 1, "messages": %s}' % (b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
        (
            b'{"version": 1, "messages": [{"role": "user", "a": %s}]}' % (b"[" * 400 + b"]" * 400),
            "nested too deeply",
        ),
        (b'{"version": 2, "messages": []}', "of format 2, this qwen reads up to 1"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named_and_left_alone(content: bytes, fault: str) -> None:
    file = sessions.path("talk")
    file.parent.mkdir()
    file.write_bytes(content)

    with pytest.raises(SessionError, match=fault) as error:
        sessions.load("talk")
    assert "'talk'" in error.value.message

    remark = sessions.save(a_session())
    assert remark is not None and "'talk-2'" in remark
    assert file.read_bytes() == content


def test_the_same_session_open_twice_becomes_two() -> None:
    sessions.save(a_session())
    mine, theirs = sessions.load("talk"), sessions.load("talk")
    theirs.messages.append({"role": "assistant", "content": "theirs"})
    mine.messages.append({"role": "assistant", "content": "mine"})

    assert sessions.save(theirs) is None
    remark = sessions.save(mine)

    assert remark == "session 'talk' was changed elsewhere: this one is saved as 'talk-2'"
    assert sessions.load("talk").messages[-1]["content"] == "theirs"
    assert sessions.load("talk-2").messages[-1]["content"] == "mine"
    assert sessions.save(mine) is None  # from here on it is its own


def test_text_that_is_not_unicode_is_kept() -> None:
    session = a_session(text="from stdin: \udcff")
    sessions.save(session)

    assert sessions.load("talk").messages == session.messages


def test_a_folder_that_cannot_be_written_is_said(data_home: Path) -> None:
    (data_home / "sessions").write_text("a file where the folder should be")

    with pytest.raises(SessionError, match="could not be saved") as error:
        sessions.save(a_session())
    assert str(data_home) in str(error.value)


def test_a_full_disk_leaves_the_old_session_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    session = a_session()
    sessions.save(session)
    before = sessions.path("talk").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    session.messages.append({"role": "assistant", "content": "more"})
    with pytest.raises(SessionError, match="No space left on device"):
        sessions.save(session)

    assert sessions.path("talk").read_bytes() == before
    assert [f.name for f in sessions.folder().iterdir() if f.suffix == ".saving"] == []


_SAVER = """
from qwen_cli.tasks.chat import sessions
session = sessions.load("talk")
print("go", flush=True)
number = 0
while True:
    number += 1
    session.messages[1:] = [{"role": "assistant", "content": f"{number} " * 20000}]
    sessions.save(session)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_kill_in_the_midst_of_saving_never_loses_the_session() -> None:
    sessions.save(a_session())
    seen = set()
    for attempt in range(24):
        with subprocess.Popen([sys.executable, "-c", _SAVER], stdout=subprocess.PIPE) as saver:
            assert saver.stdout is not None and saver.stdout.readline() == b"go\n"
            time.sleep(0.002 + 0.003 * attempt)  # ever later into a save
            saver.send_signal(signal.SIGKILL)
        session = sessions.load("talk")
        assert session.messages[0]["content"] == "Hi, 你好 👋"
        if len(session.messages) > 1:
            words = session.messages[1]["content"].split()
            assert len(words) == 20000 and len(set(words)) == 1  # one save, whole
            seen.add(words[0])
    assert seen, "no save was ever finished: the test looks at nothing"
    assert sessions.names() == ["talk"]
    assert json.loads(sessions.path("talk").read_text(encoding="utf-8"))["name"] == "talk"
    assert len(list(sessions.folder().iterdir())) <= 3  # the session, the lock, one unfinished save


def test_delete_removes_what_a_killed_save_left_of_the_kv_state() -> None:
    sessions.save(a_session())
    left = sessions.kv_path("talk").with_name(".talk.kv.abc.saving")
    left.write_bytes(b"half")

    sessions.delete("talk")

    assert not left.exists()


def test_a_state_that_cannot_be_written_is_a_remark() -> None:
    fault = EngineError("the KV cache could not be written to there: no space", "make room there")

    class Full(Scripted):
        def save_state(self, path: Path) -> bool:
            raise fault

    full = Full()
    full.capabilities = Capabilities(context=512, state=True)
    remark = sessions.keep_state(full, "talk")
    assert remark == f"the model's state was not kept: {fault}"


def test_what_one_run_was_given_is_not_kept_and_what_was_set_is() -> None:
    session = sessions.new(name="kept")
    session.settings = {"sampling": {"seed": 5, "top_k": 3}, "thinking": True}
    conversation = session.resume(Scripted())
    conversation.sampling = replace(conversation.sampling, max_tokens=9, stop=("x",), top_k=1)
    conversation.schema = {}
    sessions.begin(conversation, session.settings)
    session.record(conversation)
    assert session.settings["sampling"] == {"seed": 5, "top_k": 3}
    assert session.settings["thinking"] is True
    assert "schema" not in session.settings
    conversation.sampling = replace(conversation.sampling, seed=7, top_k=4)  # /set
    session.record(conversation)
    assert session.settings["sampling"] == {"seed": 7, "top_k": 4}
    conversation.sampling = replace(conversation.sampling, seed=5, top_k=None)  # back, and off
    conversation.thinking = None
    session.record(conversation)
    assert session.settings["sampling"] == {"seed": 5}
    assert "thinking" not in session.settings
