"""How code is shown: while it is written, as the bytes of a file, as a diff."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

import typer

from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.common.drain import drain
from qwen_cli.ui.terminal import draws

if TYPE_CHECKING:
    from qwen_cli.tasks.fim.source import Source

Result = TypeVar("Result")


def watched(running: Generator[str, None, Result]) -> Result:
    """Run a completion to its end; on a terminal its last line is to be seen on stderr while it grows."""
    terminal = draws()

    def show(written: str) -> None:
        if terminal:
            line = strip_escapes(written.rstrip("\n").rpartition("\n")[2]).replace("\t", " ")
            sys.stderr.write(f"\r\x1b[K\x1b[2m{line[:76]}\x1b[0m")
            sys.stderr.flush()

    try:
        return drain(running, show)
    finally:
        if terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def raw(source: Source, written: str, *, whole: bool = False) -> None:
    """Write exactly the bytes that go into (or make up) the file; on a terminal no escape sequence of
    theirs."""
    if sys.stdout.isatty():
        sys.stdout.write(strip_escapes(written))
        if not written.endswith(("\n", "\r")):
            sys.stdout.write("\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write((source.bom if whole else b"") + written.encode(source.encoding))
    sys.stdout.buffer.flush()


def text(written: str) -> None:
    """Write text that is no part of a file."""
    if sys.stdout.isatty():
        sys.stdout.write(strip_escapes(written))
    else:
        sys.stdout.buffer.write(written.encode())
        sys.stdout.buffer.flush()


def diff(source: Source, before: str, after: str) -> None:
    """Write a unified diff that `patch` takes, coloured on a terminal."""
    colours = {"+": typer.colors.GREEN, "-": typer.colors.RED, "@": typer.colors.CYAN}
    for line in diff_lines(source, before, after):
        if sys.stdout.isatty():
            typer.secho(strip_escapes(line.rstrip("\n")), fg=colours.get(line[:1]))
        else:
            sys.stdout.write(line)


def diff_lines(source: Source, before: str, after: str) -> Iterator[str]:
    """Yield the lines of a unified diff, each with its end."""
    import difflib

    name = str(source.path or "stdin").lstrip("/")
    for line in difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n"
        if not line.endswith("\n"):
            yield "\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    # `str.splitlines` would also split at characters that editors and `patch` keep inside a line
    import re

    return re.findall(r"[^\n]*\n|[^\n]+", text)
