"""What `qwen bench` has measured, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.tasks.bench.measure import Result


def show(results: Sequence[Result]) -> None:
    """Print a table for each result."""
    for number, result in enumerate(results):
        if number:
            typer.echo()
        typer.echo(f"{result.model} {result.form} on {result.engine}".replace("  ", " "))
        if result.load is not None:
            typer.echo(f"  load         {result.load:.2f} s")
        if result.first_token is not None:
            typer.echo(f"  first token  {result.first_token:.2f} s")
        if result.memory:
            typer.echo(f"  memory       {result.memory / 1e9:.2f} GB")
        if result.rows:
            typer.echo(f"  {'prompt':>8}  {'read tok/s':>10}  {'written tok/s':>13}")
        for row in result.rows:
            if row.skipped:
                typer.echo(f"  {row.tokens:>8,}  left out: {row.skipped}")
            else:
                typer.echo(f"  {row.tokens:>8,}  {row.prefill:>10.1f}  {row.decode:>13.1f}")
        if result.fault:
            typer.echo(f"  ended early: {result.fault}")


def check_plot(path: Path) -> None:
    """Raise `UsageError` where a picture cannot be drawn into `path`, before anything is measured."""
    from importlib.util import find_spec

    from qwen_cli import install_hint

    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot must name a .png file, got {path}", "such as speed.png")
    if path.exists():
        raise UsageError(f"--plot: {path} is there already", "name another file, or remove it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot: there is no folder {path.absolute().parent}", "make it first")
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib, which is not installed",
                         f"run `{install_hint.command('plots')}`")  # fmt: skip


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw reading and writing speeds over the length of the prompt into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, name, title in zip(axes, ("prefill", "decode"), ("reading", "writing"), strict=True):
        for result in results:
            rows = [row for row in result.rows if not row.skipped]
            label = f"{result.model} {result.form}, {result.engine}"
            axis.plot([row.tokens for row in rows], [getattr(row, name) for row in rows], "o-", label=label)
        _ruled(axis, title)
    axes[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _ruled(axis: Any, title: str) -> None:
    axis.set_title(title)
    axis.set_xscale("log", base=2)
    axis.set_xlabel("tokens of the prompt")
    axis.set_ylabel("tokens a second")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
