"""What commands print: one JSON shape, and remarks that never land in rows that are still drawn."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from screen import Screen

from qwen_cli.commands.shared import output
from qwen_cli.engines.core.base import Usage

_PROGRAM = """
from qwen_cli.commands.shared.output import StreamView, say
from qwen_cli.engines.core.base import Piece
from qwen_cli.tasks.chat.conversation import Notice

view = StreamView(raw={raw})
view.show(Piece("You asked for", kind="answer"))
{tells}
view.show(Piece(" two lines.", kind="answer"))
view.end()
"""
_CHANGED = "session 'shared' was changed by another program"
_NOTICE, _REMARK = f'view.show(Notice("{_CHANGED}"))', f'say("{_CHANGED}")'


@pytest.mark.parametrize("tells", [_NOTICE, _REMARK])
@pytest.mark.parametrize("raw", [False, True])
def test_a_notice_stands_on_a_row_of_its_own(raw: bool, tells: str, tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-c", _PROGRAM.format(raw=raw, tells=tells)],
        env={**os.environ, "TERM": "xterm-256color"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    screen = Screen()
    screen.write(child.before or "", newlines=False)
    rows = [row.strip() for row in screen.text if row.strip()]
    assert rows == ["You asked for", _CHANGED, "two lines."]


@pytest.mark.parametrize("tells", [_NOTICE, _REMARK])
def test_a_pipe_gets_the_answer_and_nothing_else(tells: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(_PROGRAM.format(raw=True, tells=tells))
    written = capsys.readouterr()
    assert written.out == "You asked for two lines.\n"
    assert written.err == f"{_CHANGED}\n"


def test_every_command_tells_what_an_answer_cost_in_the_same_words() -> None:
    usage = Usage(10, 4, 3, 0.5, 0.25, "stop")
    assert output.figures(usage) == {
        "stop_reason": "stop",
        "usage": {"prompt_tokens": 10, "cached_tokens": 4, "generated_tokens": 3},
        "timings": {"prefill_seconds": 0.5, "decode_seconds": 0.25, "tokens_per_second": 8.0},
    }
    assert output.figures(None) == {}


@given(st.text())
def test_json_reads_back_and_steers_no_terminal(text: str) -> None:
    import contextlib
    import io

    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        output.print_json({"text": text})
    assert json.loads(written.getvalue()) == {"text": text}
    shown = written.getvalue()
    assert not any(
        c != "\n" and (c < " " or "\x7f" <= c <= "\x9f" or "\u202a" <= c <= "\u202e") for c in shown
    )


def test_a_remark_on_a_terminal_goes_on_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    output.say("/sets  Show or set a sampling parameter of the model", indent=7)
    address = "https://example.org/" + "long/" * 8
    output.say(f"it is at {address}")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err).splitlines()
    assert shown == [
        "/sets  Show or set a sampling",
        "       parameter of the model",
        "it is at",
        address,
    ]
