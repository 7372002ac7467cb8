"""`qwen sessions`: what is kept is found, named, counted and removed."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import typer

from qwen_cli.commands.sessions import command
from qwen_cli.errors import SessionError, UsageError
from qwen_cli.tasks.chat import sessions


@pytest.fixture
def kept(home: Path) -> Path:
    """Three sessions, `new` the latest; `old` was left 100 days ago; each with a state of 1,000 bytes."""
    for days, name, words in (
        (100, "old", "How do I grow tomatoes?"),
        (10, "picture", [{"type": "image", "image": "x.png"}, {"type": "text", "text": "Is this a Tomato?"}]),
        (0, "new", "Capital of France?"),
    ):
        session = sessions.new(name=name)
        session.messages = [
            {"role": "user", "content": words},
            {"role": "assistant", "content": "So\nit is."},
        ]
        sessions.save(session)
        sessions.kv_path(name).write_bytes(bytes(1_000))
        then = time.time() - 86_400 * days
        for file in (sessions.path(name), sessions.kv_path(name)):
            os.utime(file, (then, then))
    return home


def names() -> list[str]:
    return sessions.names()


def states() -> set[str]:
    return {name for name in names() if sessions.kv_path(name).exists()}


def test_all_are_listed_with_their_size(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.list_(as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == ["new", "picture", "old"]
    assert all(row["bytes"] > 1_000 for row in listed)
    command.list_()
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["new", "picture", "old"]


def test_words_are_found_whatever_their_case_in_words_beside_pictures_too(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.search(["tomato"])
    assert capsys.readouterr().out.splitlines() == [
        "picture: Is this a Tomato? So it is.",
        "old: How do I grow tomatoes? So it is.",
    ]
    command.search(["FRANCE", "it is"])
    assert capsys.readouterr().out.startswith("new: ")
    with pytest.raises(SessionError, match="no saved conversation has 'tomato france'"):
        command.search(["tomato", "france"])


def test_one_gets_another_name_with_its_state(kept: Path) -> None:
    command.rename("old", "garden")
    assert names().count("garden") == 1
    assert "old" not in names()
    assert "garden" in states()
    assert sessions.load("garden").messages[0]["content"] == "How do I grow tomatoes?"
    with pytest.raises(SessionError, match="'new' exists"):
        command.rename("garden", "new")
    with pytest.raises(SessionError, match="no session 'nobody'"):
        command.rename("nobody", "x")


def test_what_is_old_or_beyond_a_number_is_removed(kept: Path) -> None:
    command.prune(older_than=50, dry_run=True)
    assert len(names()) == 3
    command.prune(older_than=50)
    assert names() == ["new", "picture"]
    command.prune(keep=1)
    assert names() == ["new"]
    command.rm(["new"])
    assert names() == []
    assert not list(sessions.folder().glob("*.kv"))


def file_state(name: str, used: datetime) -> Path:
    file = sessions.files_folder() / f"{name}.kv"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"state")
    os.utime(file, (used.timestamp(), used.timestamp()))
    return file


def test_states_of_files_and_system_prompts_go_too(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now()
    old, new = file_state("a", now - timedelta(days=60)), file_state("b", now)
    command.prune(caches=True, dry_run=True)
    assert "would remove what was read of 2 files and system prompts\n" in capsys.readouterr().err
    command.prune(keep=99)
    assert old.exists() and new.exists()
    command.prune(older_than=50)
    assert not old.exists() and new.exists()
    assert "removed what was read of a file or system prompt\n" in capsys.readouterr().err
    command.prune(caches=True)
    assert not new.exists()


def test_states_alone_are_removed(kept: Path) -> None:
    command.prune(caches=True)
    assert len(names()) == 3
    assert states() == set()


@pytest.mark.parametrize("given", [{}, {"caches": True, "keep": 1}])
def test_it_must_be_said_what_is_to_go(kept: Path, given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="nothing says what to remove"):
        command.prune(**given)  # type: ignore[arg-type]


def test_the_states_of_those_left_longest_ago_make_room(kept: Path) -> None:
    sessions.trim_states(2_500)
    assert states() == {"new", "picture"}
    sessions.trim_states(0)
    assert states() == set()
    assert len(names()) == 3


def test_one_that_cannot_be_removed_stops_none_of_the_others(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as left:
        command.rm(["nowhere", "new", "a/b", "old"])
    assert left.value.exit_code == 1 and names() == ["picture"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "no session 'nowhere'. List them with /sessions or `qwen sessions list`"
    assert told[1::2] == ["removed new", "removed old"] and "'a/b' cannot name a session" in told[2]


def test_one_damaged_file_stops_no_command(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions.path("new").write_bytes(b"{" * 100_000)
    command.list_(as_json=False)
    command.search(["tomato"], as_json=False)
    assert "picture: Is this a Tomato?" in capsys.readouterr().out
    command.prune(older_than=None, keep=2, caches=False, dry_run=False)
    command.rm(["new"])
    assert names() == ["picture"]
