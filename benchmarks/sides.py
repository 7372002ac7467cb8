"""Sides of a comparison, each in a process of its own, taking turns.

The script that compares starts itself once for each side (`beside`) and asks in turn, so that what else the
machine does meets both alike; the process that was started answers `requests`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class Side:
    """A process of `script` with these arguments, to be asked by JSON."""

    def __init__(self, script: str, *arguments: str) -> None:
        command = [sys.executable, script, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: Any) -> Any:
        """Return what the side answers. Ends the benchmark where it ended."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"a side ended with exit code {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def beside(script: str, sides: dict[str, list[str]]) -> Iterator[dict[str, Side]]:
    """Start the sides by name, end them afterwards."""
    started = {name: Side(script, *arguments) for name, arguments in sides.items()}
    try:
        yield started
    finally:
        for side in started.values():
            side.close()


def requests() -> Iterator[tuple[Any, Callable[[Any], None]]]:
    """Yield what this side is asked, and how it answers. What libraries write to standard output meanwhile
    goes to standard error."""
    sys.stdout.flush()
    out: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        yield json.loads(line), lambda answer: print(json.dumps(answer), file=out, flush=True)
