"""`qwen math`: a problem in, a checked answer out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli import config
from qwen_cli.commands import options
from qwen_cli.commands.opening import open_engine, say
from qwen_cli.errors import QwenError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines import Engine, Sampling
    from qwen_cli.tasks.math_solve import Way

BATCH = "Many problems"
_AT_ONCE = 4  # problems in flight: more gains nothing on a CPU and takes context from each


def math(
    problem: Annotated[
        list[str] | None,
        typer.Argument(help="The problem. Without one, on a terminal, problems are asked for."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A problem (.txt, .tex, .md; - is stdin), or many (.jsonl)."),
    ] = None,
    mode: Annotated[
        str,
        typer.Option("--mode", help="tir: words and programs; cot: words alone; auto: tir, else cot."),
    ] = "auto",
    lang: Annotated[str, typer.Option("--lang", help="Language of the prompt: auto, en or zh.")] = "auto",
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=256, help="Solutions to vote among; stops when decided.")
    ] = 1,
    max_rounds: Annotated[
        int, typer.Option("--max-rounds", min=1, max=64, help="Most programs run for a solution.")
    ] = 6,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each program.")] = 5.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole trace as one object.")] = False,
    save_plots: Annotated[
        Path | None, typer.Option("--save-plots", help="Folder for figures that programs draw.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Results, a line each (JSONL); goes on where it was.", rich_help_panel=BATCH
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Correct solutions as chats for training.", rich_help_panel=BATCH),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Only the first so many.", rich_help_panel=BATCH),
    ] = None,
    at_once: Annotated[
        int,
        typer.Option("--parallel", min=1, max=8, help="Problems in flight at once.", rich_help_panel=BATCH),
    ] = _AT_ONCE,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Let the model think first, or not.")
    ] = None,
    model: options.Model = None,
    engine: options.Engine = None,
    endpoint: options.Endpoint = None,
    context: options.Context = None,
    adapter: options.Adapter = None,
    trust_remote_code: options.TrustRemoteCode = False,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    seed: options.Seed = None,
    max_tokens: options.MaxTokens = None,
) -> None:
    """Solve a problem: the model reasons and writes Python, a sandbox runs it, the answer is checked.

    `qwen math "problem"` solves one; `qwen math -f problems.jsonl --out results.jsonl` many.
    """
    from qwen_cli.tasks.math_solve import MODES

    if mode not in MODES:
        raise UsageError(f"--mode must be auto, tir or cot, got {mode!r}")
    if lang not in ("auto", "en", "zh"):
        raise UsageError(f"--lang must be auto, en or zh, got {lang!r}")
    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other", "choose one")
    many = file is not None and file.suffix == ".jsonl"
    if many and problem:
        raise UsageError("a problem and a file of problems exclude each other", "choose one")
    if (out or export or limit) and not many:
        raise UsageError("--out, --export and --limit are for many problems", "name a .jsonl with --file")
    if many and not out:
        raise UsageError("the results of many problems need a place", "add --out results.jsonl")
    asked = None if many else _problem(problem or [], file)
    if asked is None and not many and (quiet or as_json):
        raise UsageError("there is no problem", 'write one: `qwen math "…"`')
    settings = options.merged(
        config.load(),
        model=model,
        engine=engine,
        endpoint=endpoint,
        context=context,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
    )
    flags: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "max_tokens": max_tokens,
    }
    # Of the settings only flags: a temperature kept for talking is no reason to guess at numbers.
    asked_sampling = options.sampling(flags, seed=seed, stop=None)
    if mode != "cot":
        from qwen_cli.sandbox import warm

        warm()  # imports what programs need while the model loads
    _choose_model(settings)
    with open_engine(settings, adapters=adapter or (), trust_remote_code=trust_remote_code) as loaded:
        way = _way(mode, lang, samples, max_rounds, timeout, think, asked_sampling)
        if many:
            from qwen_cli.commands import math_many

            assert file
            assert out
            math_many.run(loaded, file, out, way, export=export, limit=limit, at_once=at_once)
        elif asked is None:
            _talk(loaded, way, save_plots)
        else:
            _solve(loaded, asked, way, quiet=quiet, as_json=as_json, save_plots=save_plots)


def _solve(
    engine: Engine, problem: str, way: Way, *, quiet: bool, as_json: bool, save_plots: Path | None
) -> None:
    """Solve one problem and print what was asked for; exit code 1 where there is no answer."""
    from qwen_cli.commands import math_output
    from qwen_cli.tasks import math_solve
    from qwen_cli.tasks.math_answer import Judge

    with Judge() as judge:
        solving = math_solve.solve(engine, problem, judge, way)
        checked = math_output.watched(solving) if quiet or as_json else math_output.shown(solving)
    if save_plots:
        math_output.save_plots(checked, save_plots)
    if as_json:
        math_output.as_json(checked, engine)
    elif quiet:
        math_output.answer(checked)
    if checked.answer is None:
        say(math_output.why_none(checked))
        raise typer.Exit(1)


def _talk(engine: Engine, way: Way, save_plots: Path | None) -> None:
    """Problems from the terminal, one after another, until Ctrl-D."""
    from qwen_cli.commands.chat_turn import Interrupts
    from qwen_cli.models import starter
    from qwen_cli.ui.line import LineEditor, unquoted

    say(f'{engine.model} on {engine.name}. Several lines between two """, Ctrl-C stops, Ctrl-D leaves')
    editor = LineEditor(history=starter.data_folder() / "math_history")
    with Interrupts() as interrupts:
        while True:
            try:
                problem = unquoted(editor.read()).strip()
            except EOFError:
                return
            interrupts.pressed = False
            try:
                with interrupts.stoppable():
                    if problem:
                        _solve(engine, problem, way, quiet=False, as_json=False, save_plots=save_plots)
            except KeyboardInterrupt:
                say("stopped")
            except QwenError as fault:
                say(str(fault))
            except typer.Exit:
                continue  # no answer, and that was said


def _problem(words: list[str], file: Path | None) -> str | None:
    """The text of the problem; `None` where it is to be asked for. Raises `UsageError`."""
    from qwen_cli.tasks import attachments

    typed = " ".join(words).strip()
    if words and not typed:
        raise UsageError("the problem is empty", 'write one: `qwen math "…"`')
    if typed and file:
        raise UsageError("a problem and --file exclude each other", "choose one")
    piped = sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()
    if file or (piped and not typed):
        typed = attachments.read_text(file or "-").strip()
        if not typed:
            raise UsageError("the problem is empty", 'write one: `qwen math "…"`')
    return typed or None


def _way(
    mode: Any,
    lang: Any,
    samples: int,
    max_rounds: int,
    timeout: float,
    think: bool | None,
    sampling: Sampling,
) -> Way:
    from qwen_cli.sandbox import Limits
    from qwen_cli.tasks.math_solve import Way

    return Way(
        mode=mode,
        spoken=None if lang == "auto" else lang,
        samples=samples,
        max_rounds=max_rounds,
        limits=Limits(wall_seconds=timeout),
        sampling=sampling,
        thinking=think,
    )


def _choose_model(settings: dict[str, Any]) -> None:
    """Without a wish for a model: the largest of the mathematics family that is here, else the usual one."""
    if settings.get("model") or settings.get("endpoint") or settings.get("engine") == "remote":
        return
    from qwen_cli.models import reference

    here = [w.model for w in reference.local() if w.model and "math" in w.model.family and not w.model.base]
    if best := max(here, key=lambda known: known.parameters, default=None):
        settings["model"] = best.name
