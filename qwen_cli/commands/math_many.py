"""`qwen math --file problems.jsonl`: a bar with the running accuracy, a line for each result, a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.opening import say
from qwen_cli.errors import UsageError
from qwen_cli.tasks import evaluation, journal, math_batch
from qwen_cli.ui.bar import Bar

if TYPE_CHECKING:
    from qwen_cli.engines import Engine
    from qwen_cli.tasks.math_solve import Way


def run(
    engine: Engine,
    file: Path,
    out: Path,
    way: Way,
    *,
    export: Path | None,
    limit: int | None,
    at_once: int,
) -> None:
    """Solve what is not in `out` yet; at the end its lines are in the order of the problems."""
    problems = math_batch.load(file, say)
    rows = _known(out, problems)
    wanted = problems[:limit]
    # What the engine failed on is tried again.
    left = [p for p in wanted if p.id not in rows or "error" in rows[p.id]]
    if rows:
        say(f"{len(wanted) - len(left):,} of {len(wanted):,} are there already: {out}")
    with Bar(len(wanted)) as bar:
        done = {p.id: rows[p.id] for p in wanted if p not in left}
        bar.show(len(done), _share(list(done.values())))
        for row in math_batch.solve_all(engine, left, way, at_once=at_once):
            journal.add(out, row)
            rows[row["id"]] = done[row["id"]] = row
            bar.show(len(done), _share(list(done.values())))
    journal.rewrite(out, [rows[p.id] for p in problems if p.id in rows])
    solved = [done[p.id] for p in wanted]
    if export:
        chats = list(math_batch.training(solved))
        journal.rewrite(export, chats)
        say(f"{len(chats):,} correct solutions in {export}")
    _summary(solved)


def _known(out: Path, problems: list[math_batch.Problem]) -> dict[str, dict[str, Any]]:
    """Results that are there, by id. Raises `UsageError` where they are of other problems."""
    texts = {p.id: p.problem for p in problems}
    rows = {str(row.get("id")): row for row in journal.read(out)}
    for name, row in rows.items():
        if texts.get(name) != row.get("problem"):
            raise UsageError(f"{out} holds the result of another problem, {name!r}", "give another --out")
    return rows


def _share(rows: list[dict[str, Any]]) -> str:
    marked = [row["correct"] for row in rows if row.get("correct") is not None]
    if not marked:
        return "–"
    low, high = evaluation.interval(sum(marked), len(marked))
    return f"{sum(marked) / len(marked):.1%} ({sum(marked)} of {len(marked)}, 95 % {low:.1%} to {high:.1%})"


def _summary(rows: list[dict[str, Any]]) -> None:
    coded = [row for row in rows if row.get("runs")]
    lines = [
        ("problems", f"{len(rows):,}"),
        ("correct", _share(rows)),
        ("with an answer", f"{sum(row.get('answer') is not None for row in rows):,}"),
        ("programs run in", f"{len(coded):,} ({len(coded) / len(rows):.0%})"),
        ("  of these correct", _share(coded)),
        ("engine failures", f"{sum('error' in row for row in rows):,}"),
    ]
    for name, value in lines:
        typer.echo(f"{name:<20} {value}")
