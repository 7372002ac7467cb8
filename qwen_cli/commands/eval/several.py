"""`qwen eval list`, `compare` and `suite`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qwen_cli.commands.eval.flags import Asked, Drawing
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.output import print_json, say
from qwen_cli.errors import QwenError, UsageError

Markdown = Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

# Benches of a suite with how many questions of each; 0 is all. What needs a file of one's own is taken where
# `--data` has it.
SUITES: dict[str, dict[str, int]] = {
    "quick": {"mmlu": 114, "gsm8k": 50, "humaneval": 40},
    "full": {"mmlu": 0, "mmlu-pro": 0, "humaneval": 0, "mbpp": 0, "gsm8k": 0, "math": 0},
}


def add(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("list")(list_benches)
    app.command("compare")(compare)
    app.command("suite")(options.grouped(suite))


def list_benches(as_json: Json = False) -> None:
    """List the benches: what each measures, where its data comes from, how many shots are usual.

    Examples:
      qwen eval list
    """
    from qwen_cli.commands.eval import output
    from qwen_cli.tasks.eval.benches import BENCHES

    if as_json:
        print_json(
            [
                {
                    "bench": one.name,
                    "measures": one.title,
                    "data": one.data.repo if one.data else None,
                    "fields": one.fields,
                    "shots": one.raw_shots,
                    "source": one.source,
                }
                for one in BENCHES
            ]
        )
        return
    table: output.Table = [("bench", "measures", "data", "shots")]
    for one in BENCHES:
        own = "made by itself" if one.kind == "passkey" else "your file"
        table.append((one.name, one.title, one.data.repo if one.data else own, str(one.raw_shots)))
    table.append(("fim", "Code filled in between two texts, tested", "your file", "0"))
    typer.echo(output.printed(table, markdown=False))


def compare(
    first: Annotated[Path, typer.Argument(help="Results of one run (--results).")],
    second: Annotated[Path, typer.Argument(help="Results of another run on the same questions.")],
    markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Compare two runs on the questions that both have answered: how often one alone was right, and how
    likely so large a difference is by chance (McNemar's exact test).

    Examples:
      qwen eval compare before.jsonl after.jsonl
    """
    from dataclasses import asdict

    from qwen_cli.commands.eval import output

    found = output.compare_rows(second, output.other_rows(first))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    typer.echo(output.printed(output.differences(found), markdown=markdown))


def suite(
    name: Annotated[str, typer.Argument(help="quick: some of three benches; full: all of six.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder with files called as the benches (gsm8k.jsonl); others are fetched."
        ),
    ] = None,
    markdown: Markdown = False,
    as_json: Json = False,
    drawing: Drawing = Drawing(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Measure several benches one after the other. What cannot be had is left out, and named.

    Examples:
      qwen eval suite quick -m qwen3:4b
    """
    from qwen_cli.commands.eval import measure, output
    from qwen_cli.tasks.eval.benches import NAMED

    if name not in SUITES:
        raise UsageError(f"there is no suite {name!r}", f"there are: {', '.join(SUITES)}")
    if data and not data.is_dir():
        raise UsageError(f"there is no folder {data}")
    reports: list[Any] = []
    missing: list[str] = []
    for bench, limit in SUITES[name].items():
        asked = Asked(limit=limit or None)
        try:
            reports.append(
                measure.measure(NAMED[bench], _file(data, bench), asked, measure.Own(), drawing, loading)
            )
        except QwenError as fault:
            missing.append(bench)
            say(f"{bench}: {fault}")
            continue
        output.tell(reports[-1])
    if as_json:
        print_json([output.as_dict(one) for one in reports])
    elif reports:
        typer.echo(output.printed(output.main_table(reports), markdown=markdown))
    if missing:
        say(f"left out: {', '.join(missing)}")
        raise typer.Exit(1)


def _file(data: Path | None, bench: str) -> Path | None:
    """Return the file of a bench in a folder: its name before any of the endings, or before a hyphen."""
    from qwen_cli.tasks.eval.rows import FORMATS

    found = sorted(
        path
        for path in (data.iterdir() if data else ())
        if path.suffix.lower() in FORMATS and (path.stem == bench or path.stem.startswith(f"{bench}-"))
    )
    exact = [path for path in found if path.stem == bench]
    return next(iter([*exact, *found]), None)
