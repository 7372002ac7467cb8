"""`qwen chat -t NAME -p NAME=VALUE`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, end

from qwen_cli.commands import main
from qwen_cli.commands.chat import templating
from qwen_cli.engines.core.base import Piece
from qwen_cli.errors import UsageError

REVIEW = """
system = "Speak $language."
prompt = "Which faults?\\n$input"
model = "qwen3:4b"
[defaults]
language = "English"
[sampling]
temperature = 0.3
max_tokens = 5
"""


@pytest.fixture
def chat(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Run `qwen chat` with an engine that answers "ok"; returns it, what was loaded, and what was written."""
    (home / "templates").mkdir()
    (home / "templates" / "review.toml").write_text(REVIEW)
    (home / "templates" / "standup.toml").write_text('prompt = "What next?"\n')

    def run(*arguments: str) -> tuple[Scripted, list[Any], str]:
        engine, loaded = Scripted([Piece("ok", "answer"), end()]), []

        def open_engine(settings: Any, loading: Any) -> Scripted:
            loaded.append({**settings, "model": loading.model})
            return engine

        monkeypatch.setattr("qwen_cli.commands.chat.command.open_engine", open_engine)
        monkeypatch.setattr("sys.argv", ["qwen", "chat", *arguments])
        with Path(os.devnull).open() as nothing, pytest.raises(SystemExit) as left:
            monkeypatch.setattr("sys.stdin", nothing)
            main.main()
        written = capsys.readouterr()
        assert (left.value.code or 0) == (0 if engine.seen else 2), written.err
        return engine, loaded, written.err

    return run


def said(engine: Scripted) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in engine.seen[0][0]]


def test_the_template_makes_the_question_the_system_prompt_and_the_sampling(chat: Any) -> None:
    engine, loaded, _ = chat("-t", "review", "x = 1", "-p", "language=French")
    assert said(engine) == [("system", "Speak French."), ("user", "Which faults?\nx = 1")]
    assert loaded[0]["model"] == "qwen3:4b"
    sampling = engine.asked[0][0]
    assert (sampling.temperature, sampling.max_tokens) == (0.3, 5)


def test_flags_are_stronger(chat: Any) -> None:
    engine, loaded, _ = chat("-t", "review", "x", "-s", "Mine.", "-m", "qwen3:8b", "-t", "0.9")
    assert said(engine)[0] == ("system", "Mine.")
    assert loaded[0]["model"] == "qwen3:8b"
    assert engine.asked[0][0].temperature == 0.9


def test_one_that_needs_nothing_asks_alone(chat: Any) -> None:
    engine, _, _ = chat("-t", "standup")
    assert said(engine) == [("user", "What next?")]


def test_a_number_is_the_temperature(chat: Any) -> None:
    engine, _, _ = chat("-t", "0.7", "hi")
    assert engine.asked[0][0].temperature == 0.7
    assert said(engine) == [("user", "hi")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-t", "reviw", "x"), "there is no template 'reviw'. Did you mean 'review'?"),
        (("-t", "review"), "the question is empty"),
        (("-t", "review", "-p", "lang=x", "x"), "no variable 'lang'. Did you mean 'language'?"),
        (("-t", "review", "-p", "language", "x"), "-p wants NAME=VALUE, got 'language'"),
        (("-t", "review", "-p", "language=a", "-p", "language=b", "x"), "-p gives language twice"),
        (("-p", "a=b", "x"), "-p is for the variables of a template"),
        (("-t", "1", "-t", "2", "x"), "the temperature is given twice"),
        (("-t", "1", "--temperature", "2", "x"), "the temperature is given twice"),
        (("-t", "9", "x"), "temperature must be at least 0 and at most 5, got 9.0"),
        (("-t", "review", "-t", "standup", "x"), "-t names 2 templates"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_loaded(chat: Any, arguments: Any, says: str) -> None:
    engine, loaded, err = chat(*arguments)
    assert says in err
    assert loaded == []
    assert engine.seen == []


def test_values_may_hold_the_sign_that_parts_them() -> None:
    assert templating._values(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(UsageError):
        templating._values(["=x"])


def test_the_command_lists_shows_and_names(qwen, home: Path) -> None:
    assert "there is none yet" in qwen("templates", "list").stderr
    (home / "templates").mkdir()
    (home / "templates" / "review.toml").write_text(REVIEW)
    (home / "templates" / "broken.toml").write_text("x = 1")
    listed = qwen("templates", "list")
    assert listed.stdout == "review  $language $input\n"
    assert "broken.toml: a template has no 'x'" in listed.stderr
    assert qwen("templates", "show", "review").stdout == REVIEW
    assert json.loads(qwen("templates", "show", "review", "--json").stdout)["variables"] == [
        "language",
        "input",
    ]
    assert qwen("templates", "path").stdout.strip() == str(home / "templates")
    assert qwen("templates", "path", "review").stdout.strip() == str(home / "templates" / "review.toml")


def test_edit_keeps_what_is_one_and_loses_nothing_of_what_is_none(qwen, home: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "$TEXT" > "$1"\n')
    editor.chmod(0o755)
    done = qwen("templates", "edit", "new", EDITOR=str(editor), TEXT='prompt = "hi"')
    assert done.stdout.strip() == str(home / "templates" / "new.toml")
    assert (home / "templates" / "new.toml").read_text() == 'prompt = "hi"\n'
    refused = qwen("templates", "edit", "new", EDITOR=str(editor), TEXT="promt = 1")
    assert refused.returncode == 2
    assert "what you wrote is in" in refused.stderr
    assert (home / "templates" / "new.toml").read_text() == 'prompt = "hi"\n'
    assert (home / "templates" / "new.toml.rejected").read_text() == "promt = 1\n"
    assert "nothing was changed" in qwen("templates", "edit", "new", EDITOR="true").stderr
    assert "no name for a template" in qwen("templates", "edit", "../x", EDITOR="true").stderr
