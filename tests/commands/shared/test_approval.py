"""What a person is asked before a tool runs, and what counts as yes."""

from __future__ import annotations

import os
import pty
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.commands.shared import approval
from qwen_cli.commands.shared.approval import Allowed, Asked, call_line, call_text, visible
from qwen_cli.engines.core.base import ToolCall


def call(name: str = "send", **arguments: Any) -> ToolCall:
    return ToolCall("1", name, arguments)


HIDDEN = {
    "a line break": "\n",
    "a carriage return": "\r",
    "an escape sequence": "\x1b[2K",
    "a bell": "\x07",
    "a C1 control": "\x9b",
    "delete": "\x7f",
    "a line separator": "\u2028",
    "right to left": "\u202e",
    "an isolate": "\u2066",
    "a zero-width space": "\u200b",
    "a zero-width joiner": "\u200d",
    "a soft hyphen": "\xad",
    "a no-break space": "\xa0",
    "a filler": "\u3164",
    "a byte order mark": "\ufeff",
    "a tag character": "\U000e0041",
    "a variation selector": "\U000e0100",
    "a lone surrogate": "\ud800",
}


@pytest.mark.parametrize("character", HIDDEN.values(), ids=HIDDEN)
def test_nothing_in_a_call_is_hidden(character: str) -> None:
    """Neither in the name of the tool, nor in the name of an argument, nor in a value, nor within one."""
    for given in (
        call(f"send{character}"),
        ToolCall("1", "send", {f"to{character}": 1}),
        call(to=f"a{character}b"),
        call(to={f"k{character}": [f"a{character}"]}),
    ):
        line = call_line(given)
        assert character not in line and line.isprintable(), line
        shown = call_text(given)
        assert all(one.isprintable() for one in shown.split("\n"))


def test_what_can_be_seen_stays() -> None:
    given = call(to="Zoë 中文 שלום 😀", sum=1.5, deep=True, none=None)
    assert call_line(given) == 'send(to="Zoë 中文 שלום 😀", sum=1.5, deep=true, none=null)'
    assert visible("a\tb\U000e0041") == "a\\tb\\U000e0041"


def test_a_name_that_looks_like_a_call_is_in_quotes() -> None:
    assert call_line(ToolCall("1", "read(x)? [y] send", {"a=1, b": 2})) == '"read(x)? [y] send"("a=1, b"=2)'


Answers = Callable[..., tuple[bool, list[str], list[str]]]


@pytest.fixture
def put() -> Answers:
    """Put the question about a call, with the answers typed to it; (allowed, questions, what was shown)."""

    def ask(given: ToolCall, *answers: str) -> tuple[bool, list[str], list[str]]:
        waiting, asked, shown = list(answers), list[str](), list[str]()

        def choose(question: str) -> str:
            asked.append(question)
            return waiting.pop(0)

        return Allowed(str).ask(given, choose, shown.append), asked, shown

    return ask


@pytest.mark.parametrize(
    ("answers", "allowed"),
    [
        (["y"], True),
        (["YES"], True),
        (["a"], True),
        (["always"], True),
        (["n"], False),
        (["no"], False),
        ([""], False),
        (["what?", "y"], True),
        (["what?", "n"], False),
        (["yn", "y "], True),
    ],
)
def test_only_yes_is_yes(put: Answers, answers: list[str], allowed: bool) -> None:
    assert put(call(), *answers)[0] is allowed


def test_a_long_call_is_shown_whole_on_request(put: Answers) -> None:
    text = "a" * 300 + "\nrm -rf /\n" + "b" * 300
    allowed, asked, shown = put(call(code=text), "w", "n")

    assert not allowed
    assert "[w]hole call" in asked[0] and "214 more characters" in asked[0] and len(asked[0]) < 600
    assert "    | rm -rf /\n" in shown[0]
    assert "[w]hole" not in put(call(code="short"), "n")[1][0]


def test_always_holds_for_this_tool_and_for_its_kind() -> None:
    kinds = {"read_file": "reading files", "list_files": "reading files"}
    allowed = Allowed(lambda name: kinds.get(name, name))
    questions: list[str] = []

    def choose(question: str) -> str:
        questions.append(question)
        return "a"

    allowed.ask(call("read_file"), choose, print)
    assert questions == ["run read_file()? [y]es, [n]o, [a]lways for reading files "]
    assert "list_files" in allowed and "python" not in allowed


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The terminal that a command asks on; what is written there is typed."""
    ours, theirs = pty.openpty()
    monkeypatch.setattr(approval, "Path", lambda device: Path(os.ttyname(theirs)))
    yield ours
    os.close(ours)
    os.close(theirs)


def typed(keyboard: int, keys: bytes) -> bool:
    """The verdict on a call, with `keys` typed once the question is there."""

    def type_it() -> None:
        time.sleep(0.2)
        os.write(keyboard, keys)

    threading.Thread(target=type_it).start()
    return Asked(str)(call())


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        (b"y\n", True),
        (b"n\n", False),
        (b"\n", False),
        (b"\x04", False),
        (b"\x1b", False),
        (b"nn\x7f\x7fy\n", True),
    ],
)
def test_a_command_takes_the_answer_from_the_terminal(keyboard: int, keys: bytes, allowed: bool) -> None:
    assert typed(keyboard, keys) is allowed


def test_what_was_typed_before_the_question_is_no_answer(keyboard: int) -> None:
    os.write(keyboard, b"y\n")
    assert typed(keyboard, b"n\n") is False


def test_without_a_terminal_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(approval, "Path", lambda device: tmp_path / "none")
    assert Asked(str)(call()) is False
    assert capsys.readouterr().err == (
        "send is not run: there is no terminal to ask on; --yes runs tools without asking\n"
    )
