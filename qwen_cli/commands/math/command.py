"""`qwen math`: a problem in, a checked answer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import changing, check_thinking, choose_model, open_engine, open_reward
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.commands.math.batch import Batch
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.math.solve import Picture, SolveOptions

SOLVING = "How to solve it"
OUTPUT = "Output"
BATCH = "Many problems"
_REWARDED = 8  # samples for a reward model to choose from, as RM@8 of Qwen2.5-Math's report
_AT_ONCE = 4  # problems in flight: more gains nothing on a CPU and takes context from each


@dataclass(frozen=True)
class MathSamplingOptions(options.SamplingOptions):
    """The sampling flags; what a model may write at once depends on the model."""

    max_tokens: Annotated[
        int | None,
        options.max_tokens(
            "Maximum length of each generation in tokens; if not given 2,048 for Qwen2.5-Math and models "
            "under 2 billion parameters, 32,768 for thinking, no limit for others. A solution cut there is "
            "reported."
        ),
    ] = None


@options.grouped
def math(
    problem: Annotated[
        list[str] | None,
        typer.Argument(help="Problem to solve; without one, problems are read from the terminal."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            help="File with one problem (.txt, .tex, .md; - reads standard input) or many (.jsonl).",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="tir: reason and run Python; cot: reason in words alone; short: in a line or two; auto: tir "
            "where it can run, else cot.",
            rich_help_panel=SOLVING,
        ),
    ] = "auto",
    lang: Annotated[
        str,
        typer.Option("--lang", help="Language of the prompt: auto, en or zh.", rich_help_panel=SOLVING),
    ] = "auto",
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=1,
            max=256,
            help="Maximum number of solutions to vote among; fewer if the vote is decided earlier.",
            show_default="1",
            rich_help_panel=SOLVING,
        ),
    ] = None,
    rm: Annotated[
        str | None,
        typer.Option(
            "--rm",
            help="Reward model that chooses the best of --samples solutions (8 if not given), such as "
            "qwen2.5-math-prm:7b.",
            rich_help_panel=SOLVING,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Have a second program put the answer back into the problem, and tell whether it holds.",
            rich_help_panel=SOLVING,
        ),
    ] = False,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image", help="Image, PDF page or web address of the problem, for a vision model (repeatable)."
        ),
    ] = None,
    max_rounds: Annotated[
        int,
        typer.Option(
            "--max-rounds",
            min=1,
            max=64,
            help="Maximum number of programs run for one solution.",
            rich_help_panel=SOLVING,
        ),
    ] = 6,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, help="Maximum seconds that one program may run.", rich_help_panel=SOLVING
        ),
    ] = 5.0,
    sandbox: Annotated[
        str,
        typer.Option(
            "--sandbox",
            help="on: programs run in the sandbox; off: with all your rights, after asking.",
            rich_help_panel=SOLVING,
        ),
    ] = "on",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the answer alone.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object with the answer and every step.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    save_plots: Annotated[
        Path | None,
        typer.Option(
            "--save-plots", help="Folder to save the plots that programs draw.", rich_help_panel=OUTPUT
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File for the results: append one JSONL row per problem; resumes an interrupted run.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            help="File for the correct solutions, as chats to train on (JSONL).",
            rich_help_panel=BATCH,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Solve only this many problems from the start of the file.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    at_once: Annotated[
        int,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="Number of problems solved at the same time; a server can take many.",
            rich_help_panel=BATCH,
        ),
    ] = _AT_ONCE,
    no_log: options.NoLog = False,
    think: options.Think = None,
    allow_local_urls: options.AllowLocalUrls = False,
    sampling_options: MathSamplingOptions = MathSamplingOptions(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Solve math problems: the model reasons and writes Python, and a sandbox runs it.

    Without a problem on a terminal, problems are asked for one after another.

    Examples:
      qwen math "What is 123 times 456?"
      qwen math -f problems.jsonl --out results.jsonl --samples 8
    """
    from qwen_cli.commands.math import request
    from qwen_cli.sandbox import Limits
    from qwen_cli.tasks.math.solve import MODES, SolveOptions

    if mode not in MODES:
        raise UsageError(f"--mode must be auto, tir, cot or short, got {mode!r}")
    if lang not in ("auto", "en", "zh"):
        raise UsageError(f"--lang must be auto, en or zh, got {lang!r}")
    if sandbox not in ("on", "off"):
        raise UsageError(f"--sandbox must be on or off, got {sandbox!r}")
    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other", "choose one")
    many = file is not None and file.suffix == ".jsonl"
    if many and (problem or image):
        raise UsageError("a problem and a file of problems exclude each other", "choose one")
    if (out or export or limit) and not many:
        raise UsageError("--out, --export and --limit are for many problems", "name a .jsonl with --file")
    if many and not out:
        raise UsageError("the results of many problems need a place", "add --out results.jsonl")
    if many and (save_plots or as_json):
        raise UsageError(
            "--save-plots and --json are for one problem", "leave them out: --out keeps the traces"
        )
    pictures = request.pictures(image or [], allow_local_urls=allow_local_urls)
    text = None if many else request.problem(problem or [], file, pictured=bool(pictures))
    if text is None and not many and (quiet or as_json):
        raise UsageError("there is no problem", 'write one: `qwen math "…"`')
    settings = options.merged(user_settings.load(), loading, sampling_options)
    check_thinking(settings, think, None)
    asked_sampling = options.exact_sampling(settings, sampling_options)
    if sandbox == "off":
        request.agree_to_no_sandbox()
    elif mode in ("auto", "tir"):
        from qwen_cli.sandbox import warm

        warm()  # imports what programs need while the model loads
    choose_model(settings, "math")
    with (
        _batch(file, out, export) if many else nullcontext() as batch,
        open_reward(rm) as reward,
        open_engine(settings, loading) as loaded,
    ):
        solve_options = SolveOptions(
            mode=cast("Any", mode),
            language=None if lang == "auto" else cast("Any", lang),
            samples=samples or (_REWARDED if rm else 1),
            max_rounds=max_rounds,
            limits=Limits(wall_seconds=timeout),
            contained=sandbox == "on",
            reward=reward,
            verify=verify,
            sampling=asked_sampling,
            thinking=think,
        )
        if batch:
            from qwen_cli.commands.math import batch as math_batch

            flags = changing(settings, loading, asked_sampling)
            math_batch.run(loaded, batch, solve_options, flags, limit=limit, at_once=at_once)
        elif text is None:
            from qwen_cli.commands.math import repl

            repl.run(
                loaded,
                solve_options,
                lambda name: open_engine({**settings, "model": name}, loading.for_another()),
                save_plots,
            )
        else:
            parts = request.picture_parts(loaded, pictures)
            blamed = "--max-tokens" if sampling_options.max_tokens else "the setting max_tokens ="
            _solve(
                loaded,
                text,
                solve_options,
                settings,
                parts,
                no_log=no_log,
                quiet=quiet,
                as_json=as_json,
                save_plots=save_plots,
                blamed=blamed,
            )


def _batch(file: Path | None, out: Path | None, export: Path | None) -> AbstractContextManager[Batch]:
    from qwen_cli.commands.math import batch as math_batch

    assert file
    assert out
    return math_batch.opened(file, out, export)


def _solve(
    engine: Engine,
    problem: str,
    options: SolveOptions,
    settings: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    *,
    no_log: bool,
    quiet: bool,
    as_json: bool,
    save_plots: Path | None,
    blamed: str,
) -> None:
    """Solve one problem and print what was asked for; exit code 1 where there is no answer. `blamed` is
    what the most tokens were given with."""
    from qwen_cli.commands.math import output
    from qwen_cli.commands.shared import logged
    from qwen_cli.tasks.math import solve
    from qwen_cli.tasks.math.answer import Judge

    with logged.recording("math", problem, engine, settings, no_log=no_log) as recorder:
        with Judge(contained=options.contained) as judge:
            solving = recorder.follow(solve.solve(engine, problem, judge, options, pictures=pictures))
            checked = output.watched(solving) if quiet or as_json else output.render(solving)
        answer = checked.solution.text + (f"\n\nAnswer: {checked.answer}" if checked.answer else "")
        recorder.tell(answer, checked.solution.usage)
    if as_json:
        output.as_json(checked, engine)
    elif quiet:
        output.answer(checked)
        if checked.verification and checked.verification.verdict == "fails":
            say(checked.verification.words)
    if save_plots:  # the answer is out, whatever becomes of these
        output.save_plots(checked, save_plots)
    if checked.answer is None:
        say(output.why_none(checked, options.sampling.max_tokens, blamed))
        raise typer.Exit(1)
