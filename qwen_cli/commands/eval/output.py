"""Figures of a run: a line, a table of subjects, Markdown, JSON, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from qwen_cli import install_hint, reading
from qwen_cli.commands.shared.output import print_json, say
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import one_line, strip_escapes
from qwen_cli.tasks.eval import published, summary
from qwen_cli.tasks.eval.summary import Difference, Score, Summary

Table = list[tuple[str, ...]]


@dataclass(frozen=True)
class Report:
    """A bench on a model. `weights` are the numbers it is held in, `commit` that of the hub's data."""

    bench: str
    model: str
    engine: str
    protocol: str
    figures: Summary
    rows: Sequence[dict[str, Any]]
    results: str
    weights: str | None = None
    commit: str | None = None


def show(report: Report, *, as_json: bool, markdown: bool, compare: str | None, plot: Path | None) -> None:
    """Print a report in the form that is wanted, and draw it."""
    known = published.of(report.model, report.bench) if compare == "card" else ()
    others = compare_rows(Path(compare), report.rows) if compare and compare != "card" else []
    if plot:
        draw(report, plot)
        say(f"drawn: {plot}")
    if as_json:
        print_json(as_dict(report, known, others))
        return
    if markdown:
        typer.echo(_markdown(main_table([report])))
    else:
        typer.echo(headline(report))
    tables = [_subjects(report.figures), _many(report.figures), _published(known), differences(others)]
    for table in tables:
        if len(table) > 1:
            typer.echo("\n" + (_markdown(table) if markdown else _plain(table)))
    if compare == "card" and not known:
        say(f"no published figure of {report.model} for {report.bench} is known here")
    tell(report)


def tell(report: Report) -> None:
    """Say on standard error what a figure alone would hide."""
    figures = report.figures
    if figures.cut:
        say(
            f"{figures.cut:,} of {figures.answers:,} answers were cut at a limit: see --max-tokens, --context"
        )
    if figures.unread:
        say(f"{figures.unread:,} of {figures.answers:,} answers name no answer that could be read")


def headline(report: Report) -> str:
    """Return the figure with all that it depends on, in a line."""
    whole = report.figures.whole
    right = whole.share * whole.items
    counted = (
        f"{right:.0f} of {whole.items:,}" if abs(right - round(right)) < 1e-9 else f"{whole.items:,} items"
    )
    data = f" · data {report.commit[:12]}" if report.commit else ""
    held = f" ({report.weights})" if report.weights else ""
    asked = f"{report.bench} · {report.protocol} · {report.model}{held} on {report.engine}{data}"
    known = f"95 % interval {_per_cent(whole.low)} to {_per_cent(whole.high)}"
    return one_line(f"{asked}: {_per_cent(whole.share)} ({counted}, {known})")


def as_dict(
    report: Report, known: Sequence[published.Published] = (), others: Sequence[Difference] = ()
) -> dict[str, Any]:
    """Return the figures for programs."""
    figures = report.figures

    def score(one: Score) -> dict[str, Any]:
        return {
            "share": round(one.share, 4),
            "interval": [round(one.low, 4), round(one.high, 4)],
            "items": one.items,
        }

    whole = {
        "bench": report.bench,
        "model": report.model,
        "weights": report.weights,
        "engine": report.engine,
        "protocol": report.protocol,
        "data": report.commit,
        **score(figures.whole),
        "macro": round(figures.macro, 4),
        "pass_at": {str(k): round(value, 4) for k, value in enumerate(figures.at, 1)},
        "vote": None if figures.vote is None else round(figures.vote, 4),
        "answers": figures.answers,
        "cut": figures.cut,
        "unread": figures.unread,
        "generated_tokens": figures.tokens,
        "subjects": {one.name: score(one) for one in figures.subjects},
        "published": [asdict(one) for one in known],
        "compared": [asdict(one) for one in others],
        "results": report.results,
    }
    return {name: value for name, value in whole.items() if value is not None and value not in ([], {})}


def main_table(reports: Sequence[Report]) -> Table:
    """Return a row for each report."""
    rows: Table = [
        ("bench", "protocol", "model", "weights", "engine", "share", "95 % interval", "items", "cut")
    ]
    for one in reports:
        whole = one.figures.whole
        rows.append(
            (
                one.bench,
                one.protocol,
                one.model,
                one.weights or "",
                one.engine,
                _per_cent(whole.share),
                f"{_per_cent(whole.low)} to {_per_cent(whole.high)}",
                f"{whole.items:,}",
                str(one.figures.cut),
            )
        )
    return rows


def _subjects(figures: Summary) -> Table:
    rows: Table = [("subject", "share", "95 % interval", "items")]
    rows += [
        (one.name, _per_cent(one.share), f"{_per_cent(one.low)} to {_per_cent(one.high)}", f"{one.items:,}")
        for one in figures.subjects
    ]
    if figures.subjects:
        rows.append(("mean of the subjects", _per_cent(figures.macro), "", ""))
    return rows


def _many(figures: Summary) -> Table:
    rows: Table = [("of several answers", "share")]
    if len(figures.at) > 1:
        shown = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, 128, len(figures.at)) if k <= len(figures.at)})
        rows += [(f"pass@{k}", _per_cent(figures.at[k - 1])) for k in shown]
    if figures.vote is not None:
        rows.append((f"maj@{len(figures.at)}", _per_cent(figures.vote)))
    return rows


def _published(known: Sequence[published.Published]) -> Table:
    rows: Table = [("published", "protocol", "source")]
    return rows + [(f"{one.share:.1f} %", one.protocol, one.source) for one in known]


def differences(found: Sequence[Difference]) -> Table:
    """Return a row for each difference of two runs."""
    rows: Table = [("", "items", "first", "second", "only first", "only second", "p")]
    return rows + [
        (
            one.name or "all",
            f"{one.items:,}",
            _per_cent(one.first),
            _per_cent(one.second),
            str(one.only_first),
            str(one.only_second),
            f"{one.chance:.3f}",
        )
        for one in found
    ]


def other_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of results of another run, of `qwen eval` or `qwen math`. Raises `UsageError`."""
    try:
        rows = [
            reading.parsed_json(line)
            for line in reading.read(path, 512 << 20).decode().split("\n")
            if line.strip()
        ]
        made = {str(row["run"]["by"]) for row in rows}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise UsageError(f"{path} holds no results: {fault}", "give a file of --results") from None
    if not rows:
        raise UsageError(f"{path} is empty", "give a file of --results")
    if any(not one.startswith(("qwen eval", "qwen math")) for one in made):
        raise UsageError(f"{path} holds no results of `qwen eval`", "give a file of --results")
    return rows


def compare_rows(path: Path, rows: Sequence[dict[str, Any]]) -> list[Difference]:
    """Return how `rows` differ from the results in a file. Raises `UsageError` where they share no item."""
    found = summary.compare(rows, other_rows(path))
    if not found:
        raise UsageError(f"{path} holds results of other questions", "compare runs of the same file")
    return found


def _per_cent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _plain(table: Table) -> str:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return strip_escapes("\n".join(line.rstrip() for line in lines))


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(table[0]), "|" + "---|" * len(table[0]), *(line(row) for row in table[1:])])


def printed(table: Table, *, markdown: bool) -> str:
    """Return a table as text."""
    return _markdown(table) if markdown else _plain(table)


def draw(report: Report, path: Path) -> None:
    """Draw shares by subject with their intervals, and pass@k where there are samples. Raises `UsageError`
    without matplotlib, and where `path` cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("--plot needs matplotlib", f"run `{install_hint.command('plots')}`") from None
    scores = [report.figures.whole, *report.figures.subjects]
    names = ["all", *(one.name for one in report.figures.subjects)]
    panels = 2 if len(report.figures.at) > 1 else 1
    figure = Figure(figsize=(7 * panels, max(2.4, 0.32 * len(scores) + 1.2)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    shares = [one.share * 100 for one in scores]
    below = [max(0.0, (one.share - one.low) * 100) for one in scores]
    above = [max(0.0, (one.high - one.share) * 100) for one in scores]
    axes[0].errorbar(shares, range(len(scores)), xerr=[below, above], fmt="o", capsize=3)
    axes[0].set_yticks(range(len(scores)), names)
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, 100)
    axes[0].set_xlabel("right, % (95 % intervals)")
    axes[0].set_title(f"{report.bench} · {report.protocol}\n{report.model}", fontsize=9)
    if panels == 2:
        at = report.figures.at
        axes[1].plot(range(1, len(at) + 1), [value * 100 for value in at], marker="o")
        axes[1].set_xlabel("k")
        axes[1].set_ylabel("pass@k, %")
        axes[1].set_ylim(0, 100)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except OSError as fault:
        raise UsageError(f"{path} cannot be written: {fault.strerror}", "give another --plot") from None
