"""`qwen sandbox`: what contains model-written code here, and running a program in it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_cli import reading
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json
from qwen_cli.errors import SandboxError, UsageError

if TYPE_CHECKING:
    from qwen_cli.sandbox.attack_suite import Verdict
    from qwen_cli.sandbox.probe import Layer

app = App(
    """Run Python in the sandbox that contains model-written code, and check that it holds.

    Examples:
      qwen sandbox check
      qwen sandbox run program.py --timeout 5
    """
)
_UNKNOWN_END = 1
_TIMED_OUT = 124  # as timeout(1) leaves
_KILLED = 137  # 128 + SIGKILL, as a shell says it


@app.command()
def check(
    attacks: Annotated[
        bool, typer.Option(help="Try to break out with attack programs too (about 20 s), or not.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Show which layers of the sandbox are active, and attack them. Exits 1 if it does not hold here.

    Examples:
      qwen sandbox check --no-attacks
    """
    from qwen_cli.sandbox import probe

    layers = probe.check()
    level = probe.probe().level
    if not as_json:
        for layer in layers:
            _show_layer(layer)
        typer.echo(f"  code is {'contained' if level != 'none' else 'not run here'} ({level})")
    from qwen_cli.sandbox import attack_suite

    verdicts: list[Verdict] = []
    if attacks and level != "none" and attack_suite.POSSIBLE:
        verdicts = attack_suite.run(on_verdict=(lambda verdict: None) if as_json else _show_verdict)
    escapes = [v for v in verdicts if v.fault]
    if as_json:
        report = {
            "level": level,
            "layers": [asdict(f) for f in layers],
            "attacks": [asdict(v) for v in verdicts],
        }
        print_json(report)
    elif verdicts:
        for verdict in escapes:
            typer.echo(f"{typer.style('✗', fg='red')} {verdict.name}: {verdict.fault}")
        typer.echo(f"  {len(verdicts) - len(escapes)} of {len(verdicts)} attacks blocked")
    if level == "none" or escapes:
        raise typer.Exit(1)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Python program to run; - reads it from standard input.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Maximum seconds it may run.")] = 10.0,
    memory: Annotated[
        int, typer.Option(min=16, help="Maximum memory in MB, on top of the interpreter's own.")
    ] = 512,
    processes: Annotated[
        int, typer.Option(min=1, help="Maximum number of processes and threads at the same time.")
    ] = 32,
    save_plots: Annotated[Path | None, typer.Option(help="Folder to save the plots it draws.")] = None,
) -> None:
    """Run a program in the sandbox. The exit code is the program's, 124 after the timeout, 137 if killed.

    Examples:
      qwen sandbox run program.py --timeout 5
    """
    from qwen_cli.sandbox import Limits, Sandbox

    limits = Limits(
        wall_seconds=timeout,
        cpu_seconds=max(1, int(timeout) + 1) * 2,
        memory_bytes=memory << 20,
        processes=processes,
    )
    source = _read(file)
    with Sandbox(limits) as box:
        outcome = box.run(source, on_output=_write)
    if outcome.error and not outcome.error.startswith("SystemExit"):
        sys.stderr.write(_clean(outcome.traceback or f"{outcome.error}\n"))
    if save_plots:
        from qwen_cli.commands.shared import plots

        for target in plots.save(outcome.plots, save_plots, "plot" if str(file) == "-" else file.stem):
            sys.stderr.write(f"saved {target}\n")
    if outcome.status == "refused":
        raise SandboxError(outcome.error or "the program was refused")
    if outcome.exit_code is not None:
        raise typer.Exit(outcome.exit_code)
    if outcome.status != "ok":
        raise typer.Exit({"timeout": _TIMED_OUT, "killed": _KILLED}.get(outcome.status, _UNKNOWN_END))


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else reading.read(file).decode()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {file}: {reason}", "name a Python program") from fault


def _write(data: bytes) -> None:
    # A pipe gets the bytes as they are; a terminal must not be steered by them.
    if sys.stdout.isatty():
        sys.stdout.write(_clean(data.decode(errors="replace")))
        sys.stdout.flush()
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _clean(text: str) -> str:
    from qwen_cli.sanitize import strip_escapes

    return strip_escapes(text)


def _show_layer(layer: Layer) -> None:
    mark = typer.style("✓", fg="green") if layer.active else typer.style("✗", fg="yellow")
    advice = f"; {layer.advice}" if layer.advice else ""
    typer.echo(f"{mark} {layer.name:<11} {layer.detail}{advice}")


def _show_verdict(verdict: Verdict) -> None:
    if not verdict.fault:
        typer.echo(f"{typer.style('✓', fg='green')} {verdict.name:<28} blocked")
