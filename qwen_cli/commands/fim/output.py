"""How completions are shown: the bytes to insert, a diff, one object, a choice of several."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import typer

from qwen_cli.commands.shared.output import figures, print_json, say
from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.fim.complete import Middle

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.fim.source import Source
    from qwen_cli.tasks.repository.context import Taken


def watched(running: Generator[str, None, Middle]) -> Middle:
    """Run a completion to its end; on a terminal its last line is to be seen on stderr while it grows."""
    terminal = sys.stderr.isatty()

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


def diff(source: Source, middle: str) -> None:
    """Write a unified diff that `patch` takes, coloured on a terminal."""
    import difflib

    name = str(source.path or "stdin").lstrip("/")
    before, after = source.before + source.after, source.filled(middle)
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
    colours = {"+": typer.colors.GREEN, "-": typer.colors.RED, "@": typer.colors.CYAN}
    for line in lines:
        bare = line.rstrip("\n")
        if sys.stdout.isatty():
            typer.secho(strip_escapes(bare), fg=colours.get(line[:1]))
        else:
            sys.stdout.write(bare + "\n")
        if not line.endswith("\n"):
            sys.stdout.write("\\ No newline at end of file\n")


def _lines(text: str) -> list[str]:
    # `str.splitlines` would also split at characters that editors and `patch` keep inside a line
    import re

    return re.findall(r"[^\n]*\n|[^\n]+", text)


def as_json(source: Source, found: Sequence[Middle], engine: Engine, files: Sequence[Taken]) -> None:
    """Write the best completion, all of them, what they cost, and what the model saw beside the file."""
    best = found[0]
    answer = {
        "middle": source.inserted(best.text),
        "candidates": [
            {
                "middle": source.inserted(middle.text),
                "stop_reason": middle.stop,
                "mean_logprob": middle.mean_logprob,
            }
            for middle in found
        ],
        "model": engine.model,
        "engine": engine.name,
        "files": [{"path": taken.path, "why": taken.why} for taken in files],
        **figures(best.usage),
        "stop_reason": best.stop,
    }
    print_json(answer)


def pick(found: Sequence[Middle]) -> Middle:
    """Return the one the person chooses, on a terminal; else the likeliest, which comes first."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return found[0]
    for number, middle in enumerate(found, 1):
        likelihood = f"  mean logprob {middle.mean_logprob:.2f}" if middle.mean_logprob is not None else ""
        typer.secho(f"[{number}]{likelihood}", err=True, bold=True)
        typer.echo(strip_escapes(middle.text).rstrip("\n"), err=True)
    while True:
        answer = typer.prompt("Which one", default="1", err=True).strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(found):
            return found[int(answer) - 1]
        say(f"a number from 1 to {len(found)}, or Ctrl-C to leave")
