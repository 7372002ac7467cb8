"""A prompt without a terminal: what is typed at it line by line, and what it says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from qwen_cli.commands.shared import loop
from qwen_cli.commands.shared.loop import Interrupts
from qwen_cli.ui.line_editor import LineEditor


class Typed:
    """A line editor whose person types `lines`; `shown` is what was there to be changed, `asked`
    the questions of the prompt itself."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[str] = []
        self.pasted: list[str] = []
        self.asks = True
        self.asked: list[str] = []

    def read(self, prefilled: str = "") -> str:
        self.shown.append(prefilled)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)

    def change(self, text: str) -> str | None:
        self.shown.append(text)
        return self.lines.pop(0) if self.lines else None

    def ask(self, question: str) -> str:
        self.asked.append(question)
        return self.read()

    @property
    def editor(self) -> LineEditor:
        return cast("LineEditor", self)


class At:
    """Types at the prompt of `state`, and reads what it says."""

    def __init__(self, state: Any, typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
        self.state, self.typed, self._capsys = state, typed, capsys
        self.answers = ""

    def __call__(self, line: str) -> str:
        """What is said to `line`, without the answer, which is added to `answers`."""
        self._capsys.readouterr()
        loop.respond(self.state, line)
        sys.stdout.flush()
        written = self._capsys.readouterr()
        self.answers += written.out
        return written.err.strip()


def at_prompt(
    run: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> At:
    """The prompt that `run` begins, before its first line is read; Ctrl-C is not pressed there."""
    typed, begun = Typed(), []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", lambda begin, **_: begun.append(begin(typed.editor, Interrupts())))
        run()
    return At(begun[0], typed, capsys)
