"""The log of questions: what was asked is found again, in any language, by any number of processes."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_cli.errors import LogError
from qwen_cli.tasks.common import log, stream_journal
from qwen_cli.tasks.common.log import Entry

pytestmark = pytest.mark.usefixtures("data_home")


def asked(question: str, answer: str = "", **given: Any) -> int:
    return log.add(Entry("chat", question, "starter", "llamacpp", answer=answer, **given))


def found(*words: str) -> list[int]:
    return [entry.id for entry in log.search(words)]


def test_what_is_logged_comes_back_whole() -> None:
    turn = [{"role": "user", "content": "Hi 你好 👋"}]
    entry = Entry(
        *("chat", "Hi 你好 👋", "starter", "llamacpp", "Be brief.", None, None, "Hello.", "Hm", "length"),
        *(12, 3, 4, 1.5, turn),
    )
    number = log.add(entry)

    assert log.get(number) == replace(entry, id=number)
    assert log.latest() == [replace(entry, id=number)]


def test_nothing_is_made_before_something_is_logged(data_home: Path) -> None:
    assert log.latest() == [] and log.search(["x"]) == [] and log.prunable(keep=0) == []
    assert log.last_talk() is None and log.count() == 0 and log.size() == 0
    with pytest.raises(LogError, match="no entry 1"):
        log.get(1)
    assert list(data_home.iterdir()) == []


def test_the_log_is_nobody_elses_business(data_home: Path) -> None:
    asked("Hi")
    assert stat.S_IMODE((data_home / "log.db").stat().st_mode) == 0o600
    assert [file.name for file in data_home.iterdir()] == ["log.db"]


@pytest.mark.parametrize(
    "words",
    [
        ["tomatoes"],
        ["TOMATOES", "Water"],
        ["tomat"],
        ["splitting? Wa"],  # not across question and answer, but within one
        ["番茄"],
        ["水"],
        ["ЁЖИК"],
        ["à la"],
        ['"quoted"'],
        ["50%"],
        ["a_b"],
        ["''"],
        ["NEAR(x"],
        ["*"],
        ["👋"],
        ["e"],
    ],
)
def test_words_of_any_language_and_any_signs_are_found(words: list[str]) -> None:
    asked("Something else, 50 ab, near x, quote 西红", "Nothing.")
    text = "Water them: 番茄 要水 ёжик à la 50% \"quoted\" a_b '' NEAR(x * 👋 splitting? Wait"
    number = asked("How do I keep tomatoes from splitting?", text)
    assert number in found(*words)
    if words != ["e"]:
        assert found(*words) == [number]


def test_all_words_must_be_there() -> None:
    both, one = asked("red green blue"), asked("red and more")
    assert found("red") == [one, both]
    assert found("red", "blue") == [both]
    assert found("red", "AND", "blue") == [], "no words of a query language"
    assert found("red green") == [both] and found("green red") == []
    assert found("red", "x") == []


@settings(max_examples=25)
@given(st.text(), st.text())
def test_no_text_is_a_fault_of_the_query(question: str, word: str) -> None:
    log.remove([entry.id for entry in log.latest()])
    number = asked(question)
    log.search([word])
    for part in question.split():
        assert "\0" in part or found(part) == [number]


def test_without_an_index_words_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_INDEX", "CREATE VIRTUAL TABLE words USING nosuchmodule(question);")
    number = asked("How do I keep tomatoes?", "番茄")
    assert found("TOMATO", "番茄") == [number]
    log.remove([number])
    assert found("tomato") == []


def test_the_end_of_a_long_text_is_found_though_it_is_not_in_the_index() -> None:
    number = asked("a b " * log._INDEXED + "needle")
    assert found("needle") == [number] and found("thread") == []


def test_what_no_database_holds_is_kept_as_far_as_it_can_be() -> None:
    number = asked("half \ud83d of\0it", messages=[{"content": "\ud83d"}])
    assert log.get(number).question == "half ? of\ufffdit"
    assert log.get(number).messages == [{"content": "\ud83d"}]
    assert found("it", "\ud83d") == [number], "nor is it a fault to look for it"


def test_what_is_removed_is_not_found_and_leaves_no_trace(data_home: Path) -> None:
    keep, gone = asked("keep this"), asked("forget the watchword")
    with pytest.raises(LogError, match="no entry 99"):
        log.remove([gone, 99])
    assert found("watchword") == [gone], "all stay"
    log.remove([gone])
    assert found("watchword") == [] and [entry.id for entry in log.latest()] == [keep]
    assert b"watchword" not in (data_home / "log.db").read_bytes()
    assert asked("another") == gone + 1, "no number is given twice"


def test_numbers_that_no_entry_can_have_are_told() -> None:
    asked("Hi")
    for number in (0, -1, 2**63, -(2**70)):
        with pytest.raises(LogError, match="has no entry"):
            log.get(number)


def test_old_entries_can_be_pruned() -> None:
    old = asked("old", asked="2020-01-01T00:00:00+00:00")
    middle, new = asked("middle"), asked("new")
    assert log.prunable(older_than=30) == [old]
    assert log.prunable(keep=1) == [middle, old]
    assert log.prunable(keep=2, older_than=30) == [old]
    assert log.prunable(keep=3, older_than=30) == []
    log.remove(log.prunable(keep=1))
    assert [entry.id for entry in log.latest()] == [new]


def test_the_oldest_go_where_the_log_takes_too_much_room() -> None:
    numbers = [asked(f"question {number} " + os.urandom(5_000).hex()) for number in range(20)]
    size = log.size()
    last = log.add(Entry("chat", "the last one"), most=size / 2)

    left = [entry.id for entry in log.latest()]
    assert left[0] == last and numbers[0] not in left and 1 < len(left) < 20
    assert log.size() <= size / 2 * 1.1
    assert log.add(Entry("chat", "only this"), most=0) == log.latest()[-1].id


def test_a_conversation_is_put_together_from_its_entries() -> None:
    def turn(text: str) -> list[dict[str, Any]]:
        return [{"role": "user", "content": text}]

    first = asked("1", messages=turn("1"))
    asked("other", messages=turn("other"))
    second = asked("2", messages=turn("2"), parent=first)
    third = asked("3", messages=turn("3"), parent=second)

    assert log.conversation(log.get(third)) == turn("1") + turn("2") + turn("3")
    log.remove([first])
    assert log.conversation(log.get(third)) == turn("2") + turn("3"), "from the first that is still there"
    assert log.conversation(replace(log.get(third), parent=third)) == turn("3"), "a loop ends"
    assert log.conversation(log.get(asked("4"))) is None


def test_the_last_talk_is_one_that_can_go_on() -> None:
    number = asked("1", messages=[{"role": "user", "content": "1"}])
    asked("in a session", session="trip")
    log.add(Entry("math", "2 + 2", messages=[]))
    last = log.last_talk()
    assert last is not None and last.id == number


@pytest.mark.parametrize("content", [b"", b"junk", os.urandom(9_000)])
def test_a_file_that_is_no_database_is_told_and_left_alone(data_home: Path, content: bytes) -> None:
    (data_home / "log.db").write_bytes(content)
    if not content:
        assert asked("Hi") == 1
        return
    for use in (lambda: asked("Hi"), log.latest, lambda: log.search(["x"]), log.count, lambda: log.get(1)):
        with pytest.raises(LogError, match=r"log\.db is damaged: file is not a database\. Move it away"):
            use()
    assert (data_home / "log.db").read_bytes() == content


def test_a_log_that_cannot_be_opened_is_one_line(data_home: Path) -> None:
    (data_home / "log.db").mkdir()
    with pytest.raises(LogError, match="cannot be used: Is a directory"):
        asked("Hi")


def test_a_log_of_a_newer_version_is_left_alone(data_home: Path) -> None:
    asked("Hi")
    with sqlite3.connect(data_home / "log.db") as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(LogError, match="of format 2, this qwen reads up to 1"):
        asked("Hi")


def test_damaged_messages_are_none(data_home: Path) -> None:
    number = asked("Hi", messages=[])
    for damage in ("[", "7", "[" * 100_000):
        with sqlite3.connect(data_home / "log.db") as database:
            database.execute("UPDATE entries SET messages = ?", (damage,))
        assert log.get(number).messages is None


def test_several_processes_log_at_once(data_home: Path) -> None:
    program = (
        "import sys\nfrom qwen_cli.tasks.common import log\nfrom qwen_cli.tasks.common.log import Entry\n"
        "for n in range(10):\n    log.add(Entry('chat', f'{sys.argv[1]} {n}'))\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(number)], stderr=subprocess.PIPE)
        for number in range(3)
    ]
    faults = [process.communicate(timeout=60)[1] for process in running]
    assert faults == [b""] * 3
    assert {entry.question for entry in log.latest()} == {f"{p} {n}" for p in range(3) for n in range(10)}


def leave(data_home: Path, entry: Entry, *lines: dict[str, Any]) -> Path:
    """What a killed process leaves."""
    file = data_home / ".1-killed.journal"
    head = {"kind": log.KIND, **vars(entry)}
    file.write_text("".join(json.dumps(line) + "\n" for line in [head, *lines]))
    return file


def test_what_a_killed_process_was_about_to_log_is_logged(data_home: Path) -> None:
    question = [{"role": "user", "content": "Count."}]
    file = leave(
        data_home,
        Entry("chat", "Count.", "starter", messages=question),
        {"thinking": "Hm"},
        {"answer": "one "},
    )
    (entry,) = log.latest()

    assert (entry.question, entry.answer, entry.thinking, entry.cut) == ("Count.", "one ", "Hm", True)
    answer = {"role": "assistant", "content": "one ", "cut": True, "thinking": "Hm"}
    assert entry.messages == [*question, answer]
    assert not file.exists() and len(log.latest()) == 1


def test_what_was_logged_before_the_kill_is_not_logged_twice(data_home: Path) -> None:
    entry = Entry("chat", "Count.", answer="one two")
    log.add(entry)
    file = leave(data_home, entry, {"answer": "one "})
    assert [one.answer for one in log.latest()] == ["one two"] and not file.exists()


@pytest.mark.parametrize("head", [{}, {"command": 3}, {"command": "chat", "question": "x"}])
def test_a_journal_that_is_none_harms_nothing(data_home: Path, head: dict[str, Any]) -> None:
    file = data_home / ".1-odd.journal"
    file.write_text(json.dumps({"kind": log.KIND, **head}) + "\n")
    assert log.latest() == [] and not file.exists()


def test_a_journal_of_a_process_that_lives_stays(data_home: Path) -> None:
    journal = stream_journal.StreamJournal(data_home, {"kind": log.KIND, **vars(Entry("chat", "Count."))})
    assert log.latest() == []
    journal.close()
    assert [file.name for file in data_home.iterdir()] == ["log.db"]
