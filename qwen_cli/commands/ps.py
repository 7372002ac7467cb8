"""`qwen ps`: the server of this user, and its models."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from qwen_cli.commands.opening import say


def ps(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the server of this user and its models. Exits 1 if none runs."""
    from qwen_cli.engines import warm

    running = warm.asked("/engine/status")
    if running is None:
        if as_json:
            typer.echo("null")
        else:
            say("no server is running; `qwen serve` starts one")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(running, indent=2, ensure_ascii=False))
    else:
        _show(running)


def _show(running: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    say(f"{running['address']}, process {running['pid']}, up {_ago(running['since'])}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, side in (
        ("model", "left"),
        ("engine", "left"),
        ("weights", "right"),
        ("context", "right"),
        ("loaded", "right"),
        ("requests", "right"),
        ("now", "left"),
    ):
        table.add_column(column, justify=side)  # type: ignore[arg-type]  # rich's own literals
    for model in running["models"]:
        idle = model["idle_seconds"]
        busy = f"{model['running']} running, {model['waiting']} waiting"
        table.add_row(
            model["model"],
            model["engine"],
            f"{model['bytes'] / 1e9:.1f} GB",
            f"{model['context']:,}",
            _ago(model["since"]),
            f"{model['requests']:,}",
            f"idle for {_span(idle)}" if idle else busy,
        )
    Console(soft_wrap=True, markup=False).print(table)


def _ago(then: float) -> str:
    return _span(time.time() - then)


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
