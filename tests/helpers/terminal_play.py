"""`qwen` on a pseudo-terminal, forked from this process, with an engine whose answers are written down.

A case takes a tenth of a second: everything is imported before. What the terminal shows is read by pyte.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import itertools
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from screen import Screen
from scripted import Scripted, end

from qwen_cli.engines.core.base import Piece, ToolCall

STOP = "‖"
"""In an answer: nothing more comes until the case says `GO`."""

ENTER, ALT_ENTER, ESC, TAB, UP = "\r", "\x1b\r", "\x1b", "\t", "\x1b[A"
CTRL_C, CTRL_D, CTRL_R, CTRL_Z = "\x03", "\x04", "\x12", "\x1a"

_DRAWN = 0.1  # seconds after which a piece is drawn at once, and not with the next one
_PATIENCE = float(os.environ.get("PLAY_PATIENCE", "30"))  # seconds, of a machine that does other things too
_RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\^\[|\[[?>]?\d+(?:;\d+)*[A-Za-z]|\[0?m")


@dataclass(frozen=True)
class Go:
    """Let the answer go on after its `STOP`."""


@dataclass(frozen=True)
class Resize:
    """Give the terminal another size."""

    columns: int
    lines: int = 24


@dataclass(frozen=True)
class Paste:
    """Paste a text, as terminals do that bracket what is pasted."""

    text: str


@dataclass(frozen=True)
class Signal:
    """Send the program a signal."""

    number: int


@dataclass(frozen=True)
class Shows:
    """Wait until the screen shows a text."""

    text: str


@dataclass(frozen=True)
class Keys:
    """Press keys at once, whatever the program does."""

    text: str


@dataclass(frozen=True)
class Fresh:
    """Wait for a fresh prompt."""


Step = str | Keys | Fresh | Go | Resize | Paste | Signal | Shows
"""A text is typed once a fresh prompt is there, with Enter after it."""


@dataclass(frozen=True)
class Case:
    """What is typed at `qwen …` in a terminal of `columns` × `lines`, and what it must show.

    `answers` are what the model says in turn: text, or a list of pieces. After `steps` the screen, with all
    that was scrolled away, must `show` these texts in this order and must hold none of `lacks`; then Ctrl-D
    ends the program, unless it has ended, with `code`. `files` are in the folder where it runs. `raw`: no
    escape sequence is written at all.
    """

    name: str
    steps: Sequence[Step] = ()
    show: Sequence[str] = ()
    answers: Sequence[str | list[Any]] = ()
    lacks: Sequence[str] = ()
    columns: int = 80
    lines: int = 24
    command: Sequence[str] = ("chat",)
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    code: int = 0
    ends: bool = False
    plain: bool = False
    vision: bool = False
    thinks: bool = True
    context: int | None = 4096
    loads: bool = True
    job: bool = False

    def __str__(self) -> str:
        return self.name


class Engine(Scripted):
    """Says `answers` in small pieces and counts a token for each word. At a `STOP` it waits for a byte from
    the descriptor `going`."""

    def __init__(self, case: Case, going: int) -> None:
        super().__init__(*map(self._pieces, case.answers), context=case.context)
        thinking: Any = "switch" if case.thinks else None
        self.capabilities = replace(self.capabilities, vision=case.vision, thinking=thinking)
        self._going = going

    @staticmethod
    def _pieces(answer: str | list[Any]) -> list[Any]:
        if not isinstance(answer, str):
            return answer
        return [Piece(part) for part in re.findall(rf"{STOP}|[^{STOP}]{{1,5}}", answer)] + [end()]

    def chat(self, messages: Any, **settings: Any) -> Any:
        if not self.answers:
            self.answers.append([Piece("(no more answers)"), end()])
        pieces = self.answers[0]
        drawn = {id(one) for one, after in itertools.pairwise(pieces) if _stops(after)}
        for piece in super().chat(messages, **settings):
            if id(piece) in drawn:
                time.sleep(_DRAWN)
            if _stops(piece):
                os.read(self._going, 1)
            else:
                yield piece

    def count_tokens(self, prompt: Any, **rest: Any) -> int:
        turns = [prompt] if isinstance(prompt, str) else [str(turn["content"]) for turn in prompt]
        return sum(len(turn.split()) for turn in turns)


def _stops(piece: Any) -> bool:
    return isinstance(piece, Piece) and piece.text == STOP


class Play:
    """A case that runs. Close it."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        for name, content in case.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        waits, self._go = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            _become(case, folder, waits)
        os.close(waits)
        self.screen = Screen(case.columns, case.lines, answer=self.send)
        self.written = b""
        self.code: int | None = None
        self._prompts = 0  # that were typed at
        self._rest = b""
        self.resize(case.columns, case.lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(columns, lines)

    def send(self, text: str) -> None:
        """Type `text`; what the program writes meanwhile is read, or both would wait for the other."""
        data = text.encode()
        while data and self.code is None:
            if select.select([], [self._terminal], [], 0)[1]:
                data = data[os.write(self._terminal, data[:256]) :]
            if data:
                self.read(0.005)

    def step(self, one: Step) -> None:
        if isinstance(one, Go):
            os.write(self._go, b"\n")
        elif isinstance(one, Resize):
            self.resize(one.columns, one.lines)
        elif isinstance(one, Paste):
            self.send(f"\x1b[200~{one.text}\x1b[201~")
        elif isinstance(one, Signal):
            os.kill(self.process, one.number)
        elif isinstance(one, Shows):
            self.wait(one.text)
        elif isinstance(one, Keys):
            self.send(one.text)
        else:
            self.until(self.prompted, "prompt")
            self._prompts = self._count()
            if isinstance(one, str):
                self.send(one + ENTER)

    def prompted(self) -> bool:
        """Return whether a prompt waits that nothing was typed at: its line is empty."""
        row = self.screen.visible[self.screen.cursor[1]]
        return row == ">" and self._count() > self._prompts

    def _count(self) -> int:
        """Return how many prompts there were: each asks for pasted text to be marked."""
        return self.written.count(b"> " if self.case.env.get("TERM") == "dumb" else b"\x1b[?2004h")

    @property
    def text(self) -> str:
        return "\n".join(self.screen.text)

    def wait(self, *texts: str) -> None:
        """Read until the screen shows `texts` in this order."""
        self.until(lambda: self._missing(texts) is None, f"{texts}")

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Read until `holds` does."""
        until = time.monotonic() + _PATIENCE
        while not holds():
            assert time.monotonic() < until, f"no {what} in\n{self.text}"
            assert self.read() or holds(), f"it has ended ({self.code}) without {what}:\n{self.text}"

    def _missing(self, texts: Sequence[str]) -> str | None:
        shown, at = self.text, 0
        for text in texts:
            found = shown.find(text, at)
            if found < 0:
                return text
            at = found + len(text)
        return None

    def read(self, seconds: float = 0.1) -> bool:
        """Take what was written. False once the program has ended."""
        if self.code is not None:
            return False
        if not select.select([self._terminal], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._terminal, 1 << 16)
        except OSError as fault:
            if fault.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self.code = self._reaped()
            return False
        self.written += data
        self.screen.write(self.written_text(data), newlines=False)
        return True

    def _reaped(self) -> int:
        """Return how the process ended, which has let go of its terminal."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            number, status = os.waitpid(self.process, os.WNOHANG)
            if number:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(self.process, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def written_text(self, data: bytes) -> str:
        """Return `data` as text; a character that is cut in two waits for its rest."""
        data = self._rest + data
        for length in range(len(data), max(len(data) - 4, -1), -1):
            try:
                text = data[:length].decode()
            except UnicodeDecodeError:
                continue
            self._rest = data[length:]
            return text
        self._rest = b""
        return data.decode(errors="replace")

    def end(self) -> None:
        """Read until the program has ended; Ctrl-D is pressed unless the case ends by itself."""
        if not self.case.ends:
            self._prompts = 0
            self.until(lambda: self.code is not None or self.prompted(), "prompt")
            self.send(CTRL_D)
        until = time.monotonic() + _PATIENCE
        while self.read():
            assert time.monotonic() < until, f"it does not end:\n{self.text}"

    def close(self) -> None:
        if self.code is None:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self._terminal)
        os.close(self._go)


def play(case: Case, folder: Path) -> Play:
    """Play a case to its end and check all that it asks for."""
    it = Play(case, folder)
    try:
        for one in case.steps:
            it.step(one)
        it.wait(*case.show)
        it.end()
        _check(it)
    finally:
        it.close()
    return it


def _check(it: Play) -> None:
    case, text = it.case, it.text
    missing = it._missing(case.show)
    assert missing is None, f"no {missing!r} at the end of\n{text}"
    for word in case.lacks:
        assert word not in text, f"{word!r} in\n{text}"
    assert "Traceback" not in text, text
    raw = _RAW.search(text)
    assert raw is None, f"{raw and raw[0]!r} in\n{text}"
    assert it.code == case.code, f"ended with {it.code}:\n{text}"
    if case.plain:
        assert b"\x1b" not in it.written, it.written


def _become(case: Case, folder: Path, going: int) -> NoReturn:
    """Be `qwen` in this forked process, and end."""
    code = 1
    try:
        home = folder / ".home"
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        os.environ.clear()
        os.environ.update(
            {
                **keep,
                "TERM": "xterm-256color",
                "HOME": str(folder),
                "QWEN_HOME": str(home),
                "QWEN_CONFIG": str(home / "config.toml"),
                **case.env,
            }
        )
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("stdin", "stdout", "stderr"):
            number, mode = ("stdin", "stdout", "stderr").index(name), "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
        sys.argv = ["qwen", *case.command]
        code = _run(case, going)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _run(case: Case, going: int) -> int:
    from qwen_cli.commands import main
    from qwen_cli.commands.chat import command
    from qwen_cli.engines import load

    def opened(*settings: Any) -> Engine:
        return Engine(case, going)

    def refused(*given: Any) -> NoReturn:
        raise AssertionError("a model was loaded")

    if case.loads:
        command.open_engine = opened  # type: ignore[assignment]
    load.open_engine = refused  # type: ignore[assignment]
    if case.job:
        _be_a_shell()
    try:
        main.main()
    except SystemExit as leaving:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return leaving.code if isinstance(leaving.code, int) else 1


def _be_a_shell() -> None:
    """Go on in a process of a group of its own, in the foreground; this one is the shell above it."""
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        while os.tcgetpgrp(0) != os.getpgrp():
            time.sleep(0.001)
        return
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the job may have done it
        os.setpgid(job, job)
    while True:
        os.tcsetpgrp(0, job)
        _, status = os.waitpid(job, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            os._exit(os.waitstatus_to_exitcode(status))
        os.write(1, b"\r\nsuspended\r\n")
        os.read(0, 1)
        os.tcsetpgrp(0, job)
        os.kill(job, signal.SIGCONT)


def calls(name: str, **arguments: Any) -> list[Any]:
    """An answer that calls a tool."""
    return [Piece(call=ToolCall("call_1", name, arguments)), end("tool_calls")]


def import_all() -> None:
    """Import what a forked process would, so that none of them has to."""
    for name in (
        "prompt_toolkit.shortcuts.prompt",
        "prompt_toolkit.output.vt100",
        "rich.progress",
        "rich.syntax",
        "rich.markdown",
        "qwen_cli.commands.main",
        "qwen_cli.commands.chat.command",
        "qwen_cli.commands.chat.repl",
        "qwen_cli.ui.markdown",
        "qwen_cli.ui.highlight",
        "qwen_cli.ui.formula",
    ):
        importlib.import_module(name)
