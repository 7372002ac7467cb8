"""`qwen log`: what was asked is listed, found, shown and removed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qwen_cli.commands.log import command
from qwen_cli.commands.models import doctor
from qwen_cli.errors import LogError, UsageError
from qwen_cli.tasks.common import log
from qwen_cli.tasks.common.log import Entry

run = CliRunner()


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three questions, the last one cut."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    cost = {"prompt_tokens": 1_200, "cached_tokens": 3, "generated_tokens": 43, "seconds": 1.234}
    files = [{"role": "user", "content": "a.py: x = 1\n\nHow do I grow tomatoes?"}]
    log.add(
        Entry(
            *("chat", "How do I grow tomatoes?", "starter", "llamacpp"),
            answer="Water **them**.",
            stop_reason="stop",
            messages=files,
            **cost,
        )
    )
    log.add(Entry("math", "2 + 2", "qwen2.5-math:1.5b", "llamacpp", answer="4", stop_reason="stop", **cost))
    log.add(Entry("chat", "\x1b[31mЧто\n\x1b]0;x\x07это?", "big", "remote", answer="\x1b[2JЭто", parent=1))


def printed(*arguments: str) -> list[str]:
    done = run.invoke(command.app, list(arguments), catch_exceptions=False)
    return done.stdout.splitlines()


@pytest.mark.usefixtures("logged")
def test_alone_it_lists_the_latest_with_model_tokens_and_seconds() -> None:
    lines = printed()
    asked = lines[0][3:19]
    assert lines == [
        f"3  {asked}  big                                  Что это? (cut)",
        f"2  {asked}  qwen2.5-math:1.5b  43 tokens  1.2 s  math: 2 + 2",
        f"1  {asked}  starter            43 tokens  1.2 s  How do I grow tomatoes?",
    ]
    assert printed("-n", "1") == printed("list", "-n", "1") and len(printed("-n", "1")) == 1
    assert printed("list") == lines


@pytest.mark.usefixtures("logged")
def test_what_has_no_answer_says_so() -> None:
    log.add(Entry("chat", "Is anybody there?"))
    assert printed("-n", "1")[0].endswith("Is anybody there? (no answer)")
    assert printed("show")[-1] == "*(there is no answer)*"


@pytest.mark.usefixtures("logged")
def test_words_are_found_in_question_and_answer() -> None:
    assert [line.split()[0] for line in printed("search", "TOMATO", "water")] == ["1"]
    assert [line.split()[0] for line in printed("search", "это")] == ["3"]
    assert json.loads(run.invoke(command.app, ["search", "2", "+", "--json"]).stdout)[0]["id"] == 2
    with pytest.raises(LogError, match="the log has no 'potatoes'"):
        printed("search", "potatoes")


@pytest.mark.usefixtures("logged")
def test_an_entry_is_shown_as_markdown() -> None:
    shown = "\n".join(printed("show", "1"))
    assert shown.startswith("# 1\n\n- Asked: ")
    assert "- Model: starter (llamacpp)\n- Tokens: 1,200 read (3 cached), 43 written\n- Time: 1.2 s" in shown
    assert shown.endswith(
        "## Question\n\na.py: x = 1\n\nHow do I grow tomatoes?\n\n## Answer\n\nWater **them**."
    )


@pytest.mark.usefixtures("logged")
def test_no_control_sequence_of_what_was_said_reaches_the_terminal() -> None:
    shown = "\n".join([*printed("show"), *printed(), *printed("show", "3", "--json"), *printed("--json")])
    assert not any(sign in shown for sign in "\x1b\x07\x9b")
    assert "- Goes on from: 1" in shown and "Это\n\n*(the answer was cut here)*" in shown


@pytest.mark.usefixtures("logged")
def test_json_has_all_but_what_is_ours() -> None:
    (entry,) = json.loads("\n".join(printed("--json", "-n", "1")))
    assert "messages" not in entry and "key" not in entry
    whole = json.loads("\n".join(printed("show", "1", "--json")))
    assert whole["messages"][0]["role"] == "user" and whole["seconds"] == 1.234


@pytest.mark.usefixtures("logged")
def test_entries_are_removed(capsys: pytest.CaptureFixture[str]) -> None:
    command.rm([1, 3])
    assert capsys.readouterr().err == "removed 1\nremoved 3\n"
    assert [entry.id for entry in log.latest()] == [2]
    with pytest.raises(LogError, match="no entry 3"):
        command.rm([3])


@pytest.mark.usefixtures("logged")
def test_what_is_old_is_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    command.prune(older_than=None, keep=1, dry_run=True)
    assert "would remove 2 entries; the log takes" in capsys.readouterr().err and log.count() == 3
    command.prune(older_than=None, keep=1, dry_run=False)
    assert [entry.id for entry in log.latest()] == [3]
    command.prune(older_than=5, keep=None, dry_run=False)
    assert "removed 0 entries" in capsys.readouterr().err
    with pytest.raises(UsageError, match="nothing says what to remove"):
        command.prune(older_than=None, keep=None, dry_run=False)


@pytest.mark.usefixtures("logged")
def test_an_option_before_the_command_is_told_where_it_belongs() -> None:
    with pytest.raises(UsageError, match="--json stands behind the command"):
        printed("--json", "search", "x")


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("columns", "shown"), [("63", "How do I grow tomat…"), ("120", "How do I grow tomatoes?")]
)
def test_on_a_terminal_a_line_is_no_wider(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command._print([replace_model(log.get(1))], as_json=False)
    line = capsys.readouterr().out.rstrip("\n")
    assert len(line) <= int(columns) and line.endswith(shown)


def replace_model(entry: Entry) -> Entry:
    return Entry(**{**vars(entry), "model": "m"})


def test_where_nothing_was_asked_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    assert printed() == [] and printed("--json") == ["[]"]
    with pytest.raises(LogError, match="nothing is logged yet"):
        command.show(None, as_json=False)
    with pytest.raises(LogError, match="no entry 7"):
        command.show(7, as_json=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("logged")
def test_doctor_names_its_size() -> None:
    assert doctor.check_log().detail.startswith("3 questions, 0.0 GB")
    log.file().write_text("junk")
    finding = doctor.check_log()
    assert finding.state == "note" and "is damaged" in finding.detail and finding.advice
