"""Ask before a tool runs: in a command that answers once, and at a prompt.

What is asked about is written by a model: names and arguments are shown so that nothing in them can hide,
move or end what is agreed to.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import typer

from qwen_cli.commands.shared.output import StreamView, say
from qwen_cli.engines.core.base import ToolCall
from qwen_cli.ui.line_editor import LineEditor, key_by_key

_LONG = 400  # characters of a value; longer ones are shown in part until they are asked for
# What a terminal does not show, or shows elsewhere: controls, formatting (bidi, joiners, tags), separators,
# surrogates, private and variation characters, blanks that look like others.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\u3164\ud800-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Asked:
    """Asks on the terminal in a command that answers once, which standard input need not be. Tools may be
    allowed for the rest of it. Its call returns whether a call may run."""

    def __init__(self, kind: Callable[[str], str]) -> None:
        self._allowed = Allowed(kind)

    def __call__(self, call: ToolCall) -> bool:
        if call.name in self._allowed:
            say(f"runs {call_line(call)}")
            return True
        try:
            device = "CON" if sys.platform == "win32" else "/dev/tty"
            with Path(device).open("r", encoding="utf-8", errors="replace") as terminal:
                return self._allowed.ask(call, lambda question: _answer(terminal, question), _show)
        except OSError:
            say(f"{call.name} is not run: there is no terminal to ask on; --yes runs tools without asking")
            return False
        except (EOFError, KeyboardInterrupt):
            typer.echo("", err=True)
            return False


class Approval:
    """Asks before a tool runs: yes, no, or always for this tool, in this conversation."""

    def __init__(self, editor: LineEditor, kind: Callable[[str], str]) -> None:
        self._editor = editor
        self.allowed = Allowed(kind)
        self.answer: StreamView | None = None  # whose lines stand above the question

    def __call__(self, call: ToolCall) -> bool:
        if self.answer is not None:
            self.answer.end()
        if call.name in self.allowed:
            say(f"runs {call_line(call)}")
            return True
        try:
            return self.allowed.ask(call, self._editor.choose, _show)
        except (EOFError, KeyboardInterrupt):
            return False


class Allowed:
    """The tools that need no question any more. `kind` tells which are allowed together."""

    def __init__(self, kind: Callable[[str], str]) -> None:
        self._kind = kind
        self._kinds: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._kind(name) in self._kinds

    def ask(self, call: ToolCall, choose: Callable[[str], str], show: Callable[[str], None]) -> bool:
        """Return whether the person allows `call`; `choose` puts a question to them, `show` writes a text."""
        together = self._kind(call.name)
        always = "[a]lways" if together == call.name else f"[a]lways for {together}"
        line = call_line(call, longest=_LONG)
        whole = call_line(call) == line
        while True:
            words = f"[y]es, [n]o, {always}" + ("" if whole else ", [w]hole call")
            word = choose(f"run {line}? {words} ").strip().lower()
            if word in ("w", "whole"):
                show(call_text(call))
            elif word in ("a", "always"):
                self._kinds.add(together)
                return True
            elif word in ("y", "yes"):
                return True
            elif word in ("n", "no", ""):
                return False


def call_line(call: ToolCall, *, longest: int | None = None) -> str:
    """Return the call as one line: it is what the person agrees to. Values above `longest` characters are
    shown in part, which is said."""
    arguments = ", ".join(f"{_name(name)}={_value(one, longest)}" for name, one in call.arguments.items())
    return f"{_name(call.name)}({arguments})"


def call_text(call: ToolCall) -> str:
    """Return the whole call, with the lines of long texts as such."""
    lines = [f"{_name(call.name)}("]
    for name, value in call.arguments.items():
        lines.append(f"  {_name(name)} =")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        lines += [f"    | {visible(line)}" for line in text.split("\n")]
    return "\n".join([*lines, ")"])


def visible(text: str) -> str:
    """Return `text` with an escape for each character that would not be seen, or move others."""
    return _HIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == "\t":
        return "\\t"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _name(name: str) -> str:
    """Return a name, in quotes where it is not a plain one."""
    return name if _PLAIN_NAME.fullmatch(name) else visible(json.dumps(name, ensure_ascii=False))


def _value(value: Any, longest: int | None) -> str:
    text = visible(json.dumps(value, ensure_ascii=False))
    if longest is None or len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} [… {len(text) - 2 * half:,} more characters …] {text[-half:]}"


def _show(text: str) -> None:
    typer.echo(text, err=True)


def _answer(terminal: TextIO, question: str) -> str:
    """Return the line that is typed after `question` on `terminal`; what was typed before is no answer.
    Raises `EOFError` on Ctrl-D and Esc."""
    with key_by_key(terminal):
        typer.echo(question, err=True, nl=False)
        word = ""
        while (key := terminal.read(1)) not in ("\n", "\r"):
            if key in ("", "\x04", "\x1b"):
                raise EOFError
            word = word[:-1] if key in ("\x7f", "\b") else word + key
    return word
