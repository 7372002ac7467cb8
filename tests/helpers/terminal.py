"""A program at a real terminal: keys in, screen out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
from screen import Screen

ENTER, ALT_ENTER, CTRL_C, CTRL_D, CTRL_R, UP = "\r", "\x1b\r", "\x03", "\x04", "\x12", "\x1b[A"


class Terminal:
    """A program in a terminal of 90 × 30, without an editor or a desktop's clipboard."""

    def __init__(self, command: list[str], folder: Path, **environ: str) -> None:
        plain = {
            k: v for k, v in os.environ.items() if k not in ("EDITOR", "VISUAL", "DISPLAY", "WAYLAND_DISPLAY")
        }
        self.process = pexpect.spawn(
            command[0],
            command[1:],
            env={**plain, "TERM": "xterm-256color", **environ},
            cwd=str(folder),
            dimensions=(30, 90),
            encoding="utf-8",
        )
        self.screen = Screen(90, 30, answer=self.process.send)
        self.written = ""

    def type(self, *keys: str) -> None:
        for key in keys:
            self.process.send(key)

    def say(self, line: str) -> None:
        self.type(line, ENTER)

    def wait(self, what: str | Callable[[], bool], seconds: float = 60) -> None:
        """Read until `what` (a pattern of the whole screen, or a condition) holds."""
        holds = what if callable(what) else lambda: re.search(what, self.text, re.MULTILINE) is not None
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"no {what!r} on\n{self.text}"
            self.read()

    def wait_for_prompt(self, after: str) -> None:
        """Until what was said is answered: a fresh prompt stands below `after`."""
        self.wait(rf"(?s){re.escape(after)}.*^>$")

    def wait_for_end(self) -> int:
        self.wait(lambda: not self.read(), 60)
        self.process.close()
        return int(self.process.exitstatus)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.text)

    def read(self) -> bool:
        try:
            data = self.process.read_nonblocking(65536, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.written += data
        self.screen.write(data, newlines=False)
        return True
