"""What `qwen improve` prints: how far a stage is, the table of its rounds, how the adapter is used."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.eval.output import printed
from qwen_cli.commands.shared.output import say
from qwen_cli.tasks.improve import judge
from qwen_cli.tasks.improve.asking import Progress
from qwen_cli.tasks.improve.judge import Judged
from qwen_cli.tasks.improve.rounds import Outcome

if TYPE_CHECKING:
    from qwen_cli.tasks.improve import reward
    from qwen_cli.tasks.train.settings import Evaluated, Event, Report, Resumed, Stepped

Table = list[tuple[str, ...]]


@contextmanager
def watched(name: str) -> Iterator[Progress]:
    """Say that a stage begins and show how far it is."""
    from qwen_cli.ui.progress import Bar

    say(f"{name} …")
    with ExitStack() as shown:
        bar: Bar | None = None

        def show(done: int, total: int, words: str) -> None:
            nonlocal bar
            bar = bar or shown.enter_context(Bar(total))
            bar.show(done, words)

        yield show


def table(columns: Sequence[tuple[str, Judged]], kept: Sequence[str]) -> Table:
    """Return the figures of each column; the first is what the others are compared with. `kept` says of each
    whether it stays."""
    first = columns[0][1]
    rows: Table = [("", *(name for name, _ in columns))]
    whole = [judged.greedy.whole for _, judged in columns]
    rows.append(("likeliest answer right", *(_share(one.share) for one in whole)))
    rows.append(("  95 % interval", *(f"{_share(one.low)} to {_share(one.high)}" for one in whole)))
    rows.append(("  problems", *(f"{one.items:,}" for one in whole)))
    differing = [judge.compare(first, judged) for _, judged in columns[1:]]
    gains = [f"{100 * (one.second - one.first):+.1f} points" for one in differing]
    rows.append(("  difference", "", *gains))
    rows.append(("  by chance (McNemar)", "", *(f"{one.chance:.2g}" for one in differing)))
    for k in sorted({1, len(first.sampled.at)} if first.sampled else ()):
        shares = [_share(judged.sampled.at[k - 1]) if judged.sampled else "" for _, judged in columns]
        rows.append((f"one of {k} samples right" if k > 1 else "a sample right", *shares))
    for name, chosen in (
        (f"most of {_samples(first)} samples agree", [judged.agreed for _, judged in columns]),
        (f"best of {_samples(first)} by reward", [judged.best_of for _, judged in columns]),
    ):
        if any(share is not None for share in chosen):
            rows.append((name, *("" if share is None else _share(share) for share in chosen)))
    rows.append(("in a box", *(_share(judged.formed) for _, judged in columns)))
    rows.append(("cut at a limit", *(str(judged.greedy.cut) for _, judged in columns)))
    rows.append(("tokens an answer", *(_mean_tokens(judged) for _, judged in columns)))
    if any(kept):
        rows.append(("kept", *kept))
    return rows


def _samples(judged: Judged) -> int:
    return len(judged.sampled.at) if judged.sampled else 0


def columns(outcome: Outcome) -> tuple[list[tuple[str, Judged]], list[str]]:
    """Return the models of a run by their names, and of each whether it is kept."""
    named: list[tuple[str, Judged]] = [("before", outcome.before)]
    kept = [""]
    for one in outcome.rounds:
        if one.judged:
            named.append((f"round {one.number}", one.judged))
            kept.append("yes" if one.kept else "no")
    if outcome.control:
        named.append(("control", outcome.control))
        kept.append("")
    return named, kept


def families(before: Judged, after: Judged) -> Table:
    """Return a row for each family of problems; only the head where there is one."""
    rows: Table = [("family", "problems", "before", "after", "difference")]
    for one in judge.by_family(before, after):
        gain = f"{100 * (one.second - one.first):+.1f} points"
        rows.append((one.name or "given", f"{one.items:,}", _share(one.first), _share(one.second), gain))
    return rows


def show(outcome: Outcome, model: str, mode: str) -> None:
    """Print the table of a run and the commands that use its adapter."""
    named, kept = columns(outcome)
    typer.echo(printed(table(named, kept), markdown=False))
    best = next((one.judged for one in reversed(outcome.rounds) if one.kept), None)
    if best and len(rows := families(outcome.before, best)) > 1:
        typer.echo("\n" + printed(rows, markdown=False))
    for line in advice(outcome.adapter, model, mode):
        typer.echo(line)


def advice(adapter: Path | None, model: str, mode: str) -> list[str]:
    """Return how the adapter is used, or that there is none to use."""
    if adapter is None:
        return ["\nNo adapter is better than the model alone: go on with the model as it is."]
    words = f"-m {shlex.quote(model)} --adapter {shlex.quote(str(adapter))}"
    return [
        "\nUse the adapter:",
        f'  qwen math {words} --mode {mode} "…"',
        f"  qwen chat {words}",
    ]


def as_dict(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """Return a run for programs."""
    best = [one for one in outcome.rounds if one.kept]
    return {
        "out": str(folder),
        "adapter": str(outcome.adapter) if outcome.adapter else None,
        "before": outcome.before.figures(),
        "rounds": [
            {
                "round": one.number,
                "learned from": one.gathered,
                "adapter": str(one.adapter) if one.adapter else None,
                "kept": one.kept,
                **({"stopped": one.stopped} if one.stopped else {}),
                **({"reward": dict(one.reward)} if one.reward else {}),
                **({"after": one.judged.figures()} if one.judged else {}),
                **(_difference(outcome.before, one.judged) if one.judged else {}),
            }
            for one in outcome.rounds
        ],
        **(
            {"control": {**outcome.control.figures(), **_difference(outcome.before, outcome.control)}}
            if outcome.control
            else {}
        ),
        "best round": best[-1].number if best else None,
    }


def _difference(before: Judged, after: Judged) -> dict[str, Any]:
    one = judge.compare(before, after)
    return {
        "only before": one.only_first,
        "only after": one.only_second,
        "mcnemar": round(one.chance, 6),
    }


def _mean_tokens(judged: Judged) -> str:
    figures = judged.greedy
    return f"{figures.tokens / max(1, figures.answers):.0f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def show_verdict(before: Judged, after: Judged) -> None:
    """Print the table of two models."""
    typer.echo(printed(table([("before", before), ("after", after)], []), markdown=False))
    if len(rows := families(before, after)) > 1:
        typer.echo("\n" + printed(rows, markdown=False))


def verdict(before: Judged, after: Judged) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "before": before.figures(),
        "after": after.figures(),
        **_difference(before, after),
        "kept": judge.is_kept(before, after),
    }


@contextmanager
def training(folder: Path) -> Iterator[Report]:
    """Yield who is told of a training: its plan and losses on stderr, and a bar while it runs."""
    from qwen_cli.tasks.train.settings import Planned

    with _steps() as show:

        def report(event: Event) -> None:
            if isinstance(event, Planned):
                say(
                    f"{event.sequences:,} solutions of {event.counted:,} tokens, {_many_steps(event.steps)}; "
                    f"{event.memory / 1e9:.1f} GB"
                )
            else:
                show(event)

        yield report


@contextmanager
def rewarding(folder: Path) -> Iterator[reward.Report]:
    """Yield who is told of a reward model's training, in the same way."""
    from qwen_cli.tasks.improve.reward import RewardPlanned

    with _steps() as show:

        def report(event: reward.Event) -> None:
            if isinstance(event, RewardPlanned):
                for line in reward_plan(event):
                    say(line)
            else:
                show(event)

        yield report


def reward_plan(event: reward.RewardPlanned) -> list[str]:
    """Return what is about to be trained."""
    lines = [
        f"{event.pairs:,} pairs of {event.problems:,} problems to learn from, {event.heldout_pairs:,} of "
        f"{event.heldout:,} held out; {_many_steps(event.steps)}",
        f"{event.parameters:,} parameters learn, {event.memory / 1e9:.1f} GB of memory by estimate"
        + (", activations computed twice to save it" if event.checkpointing else ""),
    ]
    if event.long:
        lines.append(f"{event.long:,} solutions longer than --max-length are left out")
    return lines


@contextmanager
def _steps() -> Iterator[Callable[[Resumed | Stepped | Evaluated], None]]:
    """Yield who is told of the steps of a training."""
    from qwen_cli.tasks.train.settings import Evaluated, Stepped
    from qwen_cli.ui.progress import Bar

    with ExitStack() as shown:
        bar: Bar | None = None

        def show(event: Resumed | Stepped | Evaluated) -> None:
            nonlocal bar
            if isinstance(event, Evaluated):
                best = ", the lowest" if event.best else ""
                figures = "".join(f", {name} {value:.1%}" for name, value in event.figures.items())
                say(f"step {event.step:,}: held-out loss {event.loss:.4f}{figures}{best}")
            elif isinstance(event, Stepped):
                bar = bar or shown.enter_context(Bar(event.steps))
                bar.show(event.step, f"loss {event.loss:.4f}")
            else:
                say(f"goes on after step {event.step:,} of {event.steps:,}")

        yield show


def _many_steps(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps:,} steps"
