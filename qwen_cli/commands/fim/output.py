"""How completions are shown: the bytes to insert, a diff, one object, a choice of several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from qwen_cli.commands.shared.output import figures, print_json, say
from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.fim.complete import Middle

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.fim.source import Source
    from qwen_cli.tasks.repository.context import Taken


def as_json(source: Source, middles: Sequence[Middle], engine: Engine, files: Sequence[Taken]) -> None:
    """Write the best completion, all of them, what they cost, and what the model saw beside the file."""
    best = middles[0]
    answer = {
        "middle": source.inserted(best.text),
        "candidates": [
            {
                "middle": source.inserted(middle.text),
                "stop_reason": middle.stop,
                "mean_logprob": middle.mean_logprob,
            }
            for middle in middles
        ],
        "model": engine.model,
        "engine": engine.name,
        "files": [{"path": taken.path, "why": taken.why} for taken in files],
        **figures(best.usage),
        "stop_reason": best.stop,
    }
    print_json(answer)


def pick(middles: Sequence[Middle]) -> Middle:
    """Return the one the person chooses, on a terminal; else the likeliest, which comes first."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return middles[0]
    for number, middle in enumerate(middles, 1):
        likelihood = f"  mean logprob {middle.mean_logprob:.2f}" if middle.mean_logprob is not None else ""
        typer.secho(f"[{number}]{likelihood}", err=True, bold=True)
        typer.echo(strip_escapes(middle.text).rstrip("\n"), err=True)
    while True:
        answer = typer.prompt("Which one", default="1", err=True).strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(middles):
            return middles[int(answer) - 1]
        say(f"a number from 1 to {len(middles)}, or Ctrl-C to leave")
