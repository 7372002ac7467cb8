"""`qwen eval`: measure a model on tasks with known answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.eval import bench, several
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import changing, choose_model, open_engine
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json, say
from qwen_cli.errors import EngineError, UsageError

app = App(
    """Measure a model on tasks with known answers.

    Examples:
      qwen eval list
      qwen eval mmlu -m qwen3:8b --limit 300
      qwen eval suite quick -m qwen3:4b
    """
)


@app.callback()
def root() -> None:
    """Measure a model on tasks with known answers."""


@app.command("fim")
@options.grouped
def fim(
    file: Annotated[
        Path,
        typer.Argument(help="Fill-in tasks with unit tests (JSONL, in the format of HumanEval Infilling)."),
    ],
    mode: Annotated[
        str, typer.Option("--mode", help="How much to fill in: line, block, or auto (until the model ends).")
    ] = "auto",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Run only this many tasks from the start of the file."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="File for the results: append one JSONL row per task; resumes an interrupted run.",
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="Number of tasks run at the same time.",
            show_default="1, 4 on a server",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as one JSON object.")] = False,
    loading: options.Loading = options.Loading(),
) -> None:
    """Measure code completion: fill in each task greedily, run its tests in the sandbox, count what passes.

    Examples:
      qwen eval fim HumanEval-Infilling.jsonl -m qwen2.5-coder:7b --limit 100
    """
    from qwen_cli.tasks.common import statistics
    from qwen_cli.tasks.fim import evaluate
    from qwen_cli.ui.progress import Bar

    if mode not in ("line", "block", "auto"):
        raise UsageError(f"--mode must be line, block or auto, got {mode!r}")
    tasks = evaluate.load(file)[:limit]
    if results:
        evaluate.check(results)  # before the model loads
    settings = options.merged(user_settings.load(), loading)
    choose_model(settings, "code")
    with (
        open_engine(settings, loading) as loaded,
        evaluate.Journal(
            results or _place(file, loaded.model, mode),
            model=loaded.model,
            mode=mode,
            tasks=file,
            settings=changing(settings, loading),
        ) as journal,
    ):
        if journal.done:
            say(f"{len(journal.done):,} results are there already: {journal.path}")
        passed, unanswered = 0, []
        lanes = at_once or loaded.capabilities.concurrent_requests
        with Bar(len(tasks)) as bar:
            for count, result in enumerate(
                evaluate.evaluate(loaded, tasks, journal.done, mode, at_once=lanes),  # type: ignore[arg-type]  # checked above
                1,
            ):
                if result.stop == evaluate.UNANSWERED:
                    unanswered.append(result)
                elif result.id not in journal.done:
                    journal.add(result)
                passed += result.passed
                bar.show(count, f"{passed} passed")
    if unanswered:
        raise EngineError(
            f"{len(unanswered):,} of {len(tasks):,} tasks got no answer, {unanswered[0].id} first:"
            f" {unanswered[0].error}",
            f"run it again, the others are kept in {journal.path}",
        )
    low, high = statistics.interval(passed, len(tasks))
    if as_json:
        figures = {
            "model": loaded.model,
            "mode": mode,
            "tasks": len(tasks),
            "passed": passed,
            "pass@1": round(passed / len(tasks), 4),
            "interval": [round(low, 4), round(high, 4)],
            "results": str(journal.path),
        }
        print_json(figures)
        return
    typer.echo(
        f"pass@1 {passed / len(tasks):.1%} ({passed} of {len(tasks)}, 95 % interval {low:.1%} to {high:.1%})"
    )


def _place(file: Path, model: str, mode: str) -> Path:
    from qwen_cli import paths

    name = re.sub(r"[^\w.-]+", "_", f"{file.stem}-{model}-{mode}")
    return paths.data_folder() / "evaluations" / f"{name}.jsonl"


bench.add(app)
several.add(app)
