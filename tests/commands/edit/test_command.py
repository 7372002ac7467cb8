"""`qwen code-edit`: a diff on stdout, files changed only by --write, answers applied exactly or refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from told import Told
from typer.testing import CliRunner, Result

from qwen_cli.commands.edit import command
from qwen_cli.commands.main import app
from qwen_cli.errors import QwenError, UsageError

CODE = b"def area(w, h):\n    return w * h\n\n\nprint(area(1, 2))\n"
ANSWER = "```python\ndef area(w, h):\n    return h * w\n```"
NEW = CODE.replace(b"w * h", b"h * w")


def run(monkeypatch: pytest.MonkeyPatch, engine: Told, *arguments: str, stdin: str | None = None) -> Result:
    monkeypatch.setattr(command, "open_engine", lambda *_: engine)
    return CliRunner().invoke(app, ["code-edit", *arguments], input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "area.py"
    path.write_bytes(CODE)
    return path


def test_a_diff_that_git_applies(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.chdir(file.parent)
    done = run(monkeypatch, Told(ANSWER), "area.py:1-2", "swap the factors")
    assert (done.exit_code, done.stderr) == (0, "")
    assert file.read_bytes() == CODE
    subprocess.run(["git", "apply"], input=done.stdout.encode(), check=True)
    assert file.read_bytes() == NEW


def test_the_instruction_comes_from_stdin(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    engine = Told(ANSWER)
    done = run(monkeypatch, engine, f"{file}:1-2", "-", "--full", stdin="swap the factors\n")
    assert done.stdout == NEW.decode()
    assert "Instruction: swap the factors" in str(engine.seen)


def test_json_tells_what_changes_and_what_it_cost(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    done = run(monkeypatch, Told(ANSWER), f"{file}:1-2", "swap", "--json")
    answer = json.loads(done.stdout)
    assert answer["changed"] is True
    assert answer["edits"] == [{"first": 1, "last": 2, "lines": ["def area(w, h):", "    return h * w"]}]
    assert "+    return h * w\n" in answer["diff"]
    assert answer["stop_reason"] == "stop"
    assert answer["usage"]["generated_tokens"] == 7
    assert file.read_bytes() == CODE


def test_write_keeps_what_is_not_edited(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    before = b"\xef\xbb\xbf" + CODE.replace(b"\n", b"\r\n").rstrip(b"\r\n")
    file.write_bytes(before)
    file.chmod(0o750)
    link = file.with_name("link.py")
    link.symlink_to(file)
    done = run(monkeypatch, Told(ANSWER), f"{link}:1-2", "swap", "--write")
    assert (done.exit_code, done.stdout) == (0, "")
    assert file.read_bytes() == before.replace(b"w * h", b"h * w")
    assert stat.S_IMODE(file.stat().st_mode) == 0o750
    assert link.is_symlink()
    assert sorted(path.name for path in file.parent.iterdir()) == ["area.py", "link.py"]


def test_a_file_that_changed_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    class Slow(Told):
        def chat(self, *given: object, **more: object):  # type: ignore[no-untyped-def, override]
            file.write_bytes(b"other\n")
            return super().chat(*given, **more)  # type: ignore[arg-type]

    done = run(monkeypatch, Slow(ANSWER), f"{file}:1-2", "swap", "--write")
    assert "changed meanwhile" in str(done.exception)
    assert file.read_bytes() == b"other\n"


def test_another_encoding_stays_and_what_it_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    file.write_bytes(b"\xff\xfe" + CODE.decode().encode("utf-16-le"))
    run(monkeypatch, Told(ANSWER), f"{file}:1-2", "swap", "--write")
    assert file.read_bytes() == b"\xff\xfe" + NEW.decode().encode("utf-16-le")
    file.write_bytes(CODE)
    done = run(monkeypatch, Told("```\nx = '\ud800'\n```"), f"{file}:1-2", "x", "--write")
    assert "UTF-8, which has no" in str(done.exception)
    assert file.read_bytes() == CODE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_file_that_may_not_be_written_is_refused(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.chmod(0o444)
    done = run(monkeypatch, Told(ANSWER), f"{file}:1-2", "swap", "--write")
    assert "cannot write" in str(done.exception)


def test_no_change_says_so_and_writes_nothing(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    same = f"```\n{CODE.decode()}```"
    before = file.stat().st_mtime_ns
    for output in ((), ("--write",)):
        done = run(monkeypatch, Told(same), str(file), "nothing", *output)
        assert (done.exit_code, done.stdout) == (0, "")
        assert "the model changed nothing" in done.stderr
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("output", [(), ("--write",), ("--json",), ("--full",)])
@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (ANSWER, "length", "cut after 7 tokens. Nothing is changed. Raise --max-tokens"),
        (ANSWER, "context", "the context is full. Nothing is changed. Raise --context"),
        ("No.", "stop", "neither a search/replace block nor a code block"),
        ("<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE", "stop", "not there: 'x'"),
    ],
)
def test_what_cannot_be_applied_is_refused_and_nothing_is_printed_or_written(
    monkeypatch: pytest.MonkeyPatch, file: Path, output: tuple[str, ...], answer: str, reason: str, says: str
) -> None:
    done = run(monkeypatch, Told(answer, stop_reason=reason), str(file), "swap", *output)
    assert isinstance(done.exception, QwenError)
    assert done.exception.exit_code == 1
    assert says in str(done.exception)
    assert done.stdout == ""
    assert file.read_bytes() == CODE


def test_a_file_with_a_colon_in_its_name_is_that_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = tmp_path / "a:1-2"
    odd.write_bytes(CODE)
    done = run(monkeypatch, Told("```\nx\n```"), str(odd), "x", "--full")
    assert done.stdout == "x\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("none.py", "x"), "no file at"),
        (("area.py:9", "x"), "has 5 lines, not 9"),
        (("area.py:3-1", "x"), "no lines 3 to 1"),
        (("area.py:0", "x"), "no lines 0"),
        (("-", "x"), "no file to edit"),
        (("area.py", " "), "the instruction is empty"),
        (("area.py", "x", "--form", "diff"), "--form is 'diff'"),
        (("area.py", "x", "--write", "--json"), "exclude each other"),
        (("area.py", "x", "--write", "--full"), "exclude each other"),
        (("area.py", "x", "--yes"), "--yes does nothing without --write"),
        ((".", "x"), "is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_model_is_asked(
    monkeypatch: pytest.MonkeyPatch, file: Path, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(file.parent)
    engine = Told(ANSWER)
    done = run(monkeypatch, engine, *arguments)
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)
    assert engine.seen == []


def test_stdin_without_words_is_refused(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    done = run(monkeypatch, Told(ANSWER), str(file), "-", stdin="")
    assert "the instruction is empty" in str(done.exception)
