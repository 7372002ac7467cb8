"""`qwen math --file problems.jsonl`: a bar with the running accuracy, a line for each result, a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli import reading
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.errors import UsageError
from qwen_cli.tasks.common import jsonl, statistics
from qwen_cli.tasks.math import batch as math_batch
from qwen_cli.ui.progress import Bar

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.math.solve import SolveOptions

_LARGEST = 2 << 30  # bytes of chats to train on
BY = "qwen math"


@dataclass(frozen=True)
class Batch:
    """The problems of a file, the journal of their results, which is held, and where solutions go."""

    problems: Sequence[math_batch.Problem]
    book: jsonl.Journal
    export: Path | None


@contextmanager
def opened(file: Path, out: Path, export: Path | None) -> Iterator[Batch]:
    """Yield a batch to `run`. What is wrong before a model loads raises `UsageError`: a file without
    problems, an `out` that holds something else, an `export` that would replace what did not come of
    `out`."""
    problems = math_batch.load(file, relay)
    with jsonl.Journal(out, BY) as book:
        _known(book, problems)
        if export:
            _replaceable(export, book, (file, out))
        yield Batch(problems, book, export)


def run(
    engine: Engine,
    batch: Batch,
    options: SolveOptions,
    flags: Mapping[str, Any],
    *,
    limit: int | None,
    at_once: int,
) -> None:
    """Solve what the journal has not yet; at the end its lines are in the order of the problems. `flags` are
    what else the results depend on. Exit code 1 where the engine failed on any: these are tried again."""
    book, problems = batch.book, batch.problems
    book.begin(_run_settings(engine, options, flags))
    rows = _known(book, problems)
    wanted = problems[:limit]
    left = [p for p in wanted if p.id not in rows or "error" in rows[p.id]]
    if rows:
        say(f"{len(wanted) - len(left):,} of {len(wanted):,} are there already: {book.path}")
    with Bar(len(wanted)) as bar:
        done = {p.id: rows[p.id] for p in wanted if p not in left}
        bar.show(len(done), _share(list(done.values())))
        for row in math_batch.solve_all(engine, left, options, at_once=at_once):
            rows[row["id"]] = done[row["id"]] = book.add(row)
            bar.show(len(done), _share(list(done.values())))
    book.arrange("id", [p.id for p in problems])
    if batch.export:
        chats = list(math_batch.training([rows[p.id] for p in problems if p.id in rows]))
        jsonl.replace(batch.export, chats)
        say(f"{len(chats):,} correct solutions in {batch.export}")
    solved = [done[p.id] for p in wanted]
    _summary(solved)
    failed = [row for row in solved if "error" in row]
    for row in failed:
        relay(f"{row['id']}: {row['error']}")
    if failed:
        say(f"{len(failed):,} of {len(solved):,} got no answer. Run it again: the others are kept")
        raise typer.Exit(1)


def _run_settings(engine: Engine, options: SolveOptions, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the results depend on, as the rows tell it."""
    return {
        "model": engine.model,
        "mode": options.mode,
        "lang": options.language,
        "samples": options.samples,
        "verify": options.verify or None,
        "rm": options.reward.model if options.reward else None,
        "max_rounds": options.max_rounds,
        "timeout": options.limits.wall_seconds,
        "sandbox": None if options.contained else "off",
        "think": options.thinking,
        **flags,
    }


def _known(book: jsonl.Journal, problems: Sequence[math_batch.Problem]) -> dict[str, dict[str, Any]]:
    """Return the results that are there, by id. Raises `UsageError` where they are of other problems."""
    texts = {p.id: (p.problem, p.answer) for p in problems}
    rows = {str(row.get("id")): row for row in book.rows}
    for name, row in rows.items():
        if texts.get(name) != (row.get("problem"), row.get("expected")):
            raise UsageError(
                f"{book.path} holds the result of another problem or answer, {name!r}", "give another --out"
            )
    return rows


def _replaceable(export: Path, book: jsonl.Journal, others: Sequence[Path]) -> None:
    """Raise `UsageError` unless `export` is new, or holds nothing but what `book` gives again."""
    if any(export.resolve() == other.resolve() for other in others):
        raise UsageError(f"--export {export} is --file or --out as well", "give another --export")
    if not export.exists():
        return
    if not export.is_file():
        raise UsageError(f"--export {export} is no regular file", "give another --export")
    again = {json.dumps(chat, sort_keys=True) for chat in math_batch.training(book.rows)}
    try:
        lines = reading.read(export, _LARGEST).decode().split("\n") if export.stat().st_size else []
        lines_there = {json.dumps(reading.parsed_json(line), sort_keys=True) for line in lines if line}
    except (OSError, ValueError, RecursionError):
        lines_there = {""}
    if not lines_there <= again:
        raise UsageError(
            f"--export {export} is there, and not of the solutions in {book.path}", "give another --export"
        )


def _share(rows: list[dict[str, Any]]) -> str:
    """Return the share that is correct of what the model answered and whose answer is known: what the engine
    failed on is not wrong."""
    marked = [row["correct"] for row in rows if row.get("correct") is not None and "error" not in row]
    if not marked:
        return "–"
    low, high = statistics.interval(sum(marked), len(marked))
    return f"{sum(marked) / len(marked):.1%} ({sum(marked)} of {len(marked)}, 95 % {low:.1%} to {high:.1%})"


def _summary(rows: list[dict[str, Any]]) -> None:
    coded = [row for row in rows if row.get("runs")]
    lines = [
        ("problems", f"{len(rows):,}"),
        ("correct", _share(rows)),
        ("with an answer", f"{sum(row.get('answer') is not None for row in rows):,}"),
        ("programs run in", f"{len(coded):,} ({len(coded) / len(rows):.0%})"),
        ("  of these correct", _share(coded)),
        *_verdicts(rows),
        ("engine failures", f"{sum('error' in row for row in rows):,}"),
    ]
    for name, value in lines:
        typer.echo(f"{name:<20} {value}")


def _verdicts(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return a line for each outcome of putting answers back, where that was done."""
    labels = {"holds": "put back, holds", "fails": "put back, does not", "open": "not put back"}
    verdicts = [(row["verification"]["verdict"], row) for row in rows if row.get("verification")]
    if not verdicts:
        return []
    groups = {verdict: [row for said, row in verdicts if said == verdict] for verdict in labels}
    return [(labels[verdict], f"{len(group):,}, right: {_share(group)}") for verdict, group in groups.items()]
