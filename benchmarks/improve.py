"""How much a model gains of a round of `qwen improve`: families of problems, held-out ones, a control, GSM8K.

    python benchmarks/improve.py [FOLDER] [--model starter] [--engine NAME] [--families all] [--mode short]
        [--rounds 1] [--count 120] [--samples 8] [--temperature 0.8] [--rows 300] [--heldout 200]
        [--gsm8k FILE] [--gsm8k-limit 50] [--no-control] [--survey]

The run is kept in FOLDER and goes on there. `--survey` trains nothing: it tells, for each family, how often
the likeliest answer is right and how often one of the samples is. A family is worth practising where the
first is 25 to 60 % and the second at least 25 points higher. `--gsm8k` names a file of `question` and
`answer`, of which a part is asked before and after, in the usual words (`cot`). Bars: 8 points of the
likeliest answers with a chance below 0.05, GSM8K not lower by more than 2 points, the control not higher by
more than 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.load import open_engine
from qwen_cli.tasks.eval import summary
from qwen_cli.tasks.improve import decontaminate, generators, judge, problem, rounds, training
from qwen_cli.tasks.improve.asking import Asking, Progress
from qwen_cli.tasks.improve.judge import Judged
from qwen_cli.tasks.improve.stages import Wanted


def main() -> None:
    asked = arguments()
    how = Asking(
        asked.mode, asked.samples, asked.temperature, max_tokens=asked.max_tokens, at_once=asked.parallel
    )
    families = tuple(asked.families.split(","))
    if asked.survey:
        survey(asked, families, how)
    else:
        improve(asked, families, how)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path("improve-run"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--engine", default="llamacpp", choices=("llamacpp", "llama-server", "transformers"))
    parser.add_argument("--families", default="all")
    parser.add_argument("--mode", default="short", choices=("short", "cot", "tir"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--heldout", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--gsm8k", type=Path)
    parser.add_argument("--gsm8k-limit", type=int, default=50)
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("--survey", action="store_true")
    return parser.parse_args()


def load(asked: argparse.Namespace, adapter: Path | None) -> Engine:
    """Return the model with this adapter."""
    adapters = (adapter,) if adapter else ()
    return open_engine(
        LoadOptions(model=asked.model, engine=asked.engine, adapters=adapters, parallel=asked.parallel)
    )


@contextmanager
def timed(name: str) -> Iterator[Progress]:
    """Print how long a stage takes."""
    started = time.perf_counter()
    last = [0]

    def show(done: int, total: int, words: str) -> None:
        if done == total or done >= last[0] + max(1, total // 4):
            last[0] = done
            print(f"  {name}: {done:,} of {total:,} {words}", flush=True)

    yield show
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def survey(asked: argparse.Namespace, families: tuple[str, ...], how: Asking) -> None:
    """Print how the model does on each family."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    problems = generators.generate(families, asked.count, seed=1)
    with load(asked, None) as engine, timed("survey") as progress:
        judged = judge.judge(engine, problems, how, asked.folder, {"model": asked.model}, progress)
    print(f"\n| family | problems | likeliest | a sample | one of {how.samples} | in a box | tokens |")
    print("|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(one.family for one in problems):
        rows, samples = (
            [row for row in of if row["subject"] == name] for of in (judged.rows, judged.samples)
        )
        one = Judged(rows, samples)
        drawn = one.sampled
        assert drawn
        tokens = fmean(row["tokens"] for row in rows)
        print(
            f"| {name} | {len(rows)} | {one.greedy.whole.share:.1%} | {drawn.at[0]:.1%} | {drawn.at[-1]:.1%} "
            f"| {one.formed:.1%} | {tokens:.0f} |"
        )


def improve(asked: argparse.Namespace, families: tuple[str, ...], how: Asking) -> None:
    """Run the rounds, then the part of GSM8K, and print the table."""
    started = time.perf_counter()
    settings = rounds.Settings(
        asked.model,
        {},
        Wanted(families, asked.count),
        how,
        most=asked.rows,
        held_out=asked.heldout,
        control=not asked.no_control,
    )
    weights = training.trainable(asked.model, print)
    trainer = training.trainer(weights, lambda folder: nullcontext(lambda event: None))

    def trained(one: rounds.Training) -> Any:
        with timed(f"train {one.out.parent.name}"):
            return trainer(one)

    outcome = rounds.improve(
        settings,
        asked.rounds,
        [],
        [],
        decontaminate.of_this_machine(print),
        asked.folder,
        lambda adapter: load(asked, adapter),
        trained,
        rounds.Hooks(print, timed),
        lambda: training.check(weights, settings.lessons),
    )
    columns = [("before", outcome.before)]
    columns += [(f"round {one.number}", one.judged) for one in outcome.rounds if one.judged]
    columns += [("control", outcome.control)] if outcome.control else []
    table(f"{asked.families}, {asked.mode}", columns)
    if asked.gsm8k:
        table("GSM8K, cot", gsm8k(asked, how, outcome.adapter))
    print(f"\nin all: {(time.perf_counter() - started) / 60:.0f} min")


def gsm8k(asked: argparse.Namespace, how: Asking, adapter: Path | None) -> list[tuple[str, Judged]]:
    """Return the model on the first problems of the file, without and with the adapter."""
    problems = problem.load(asked.gsm8k, print)[: asked.gsm8k_limit]
    greedy = replace(how, mode="cot", samples=0, max_tokens=512)
    folder = asked.folder.with_name(f"{asked.folder.name}-gsm8k")  # the run's own holds nothing else
    judged = []
    for name, one in (("before", None), ("after", adapter)):
        run = {"model": asked.model, "adapter": rounds.mark(one) if one else None}
        with load(asked, one) as engine, timed(f"gsm8k {name}") as progress:
            judged.append((name, judge.judge(engine, problems, greedy, folder / name, run, progress)))
    return judged


def table(title: str, columns: list[tuple[str, Judged]]) -> None:
    """Print a row for each model; the first is what the others are compared with."""
    first = columns[0][1]
    print(f"\n| {title} | right | 95 % interval | difference | by chance | in a box | cut | tokens |")
    print("|---|---|---|---|---|---|---|---|")
    for name, one in columns:
        whole, (found, *_) = one.greedy.whole, summary.compare(first.rows, one.rows)
        against = ("", "")
        if one is not first:
            against = (f"{100 * (found.second - found.first):+.1f} points", f"{found.chance:.2g}")
        interval = f"{whole.low:.1%} to {whole.high:.1%}"
        print(
            f"| {name} | {one.right} of {whole.items}, {whole.share:.1%} | {interval} "
            f"| {against[0]} | {against[1]} | {one.formed:.1%} | {one.greedy.cut} "
            f"| {one.greedy.tokens / max(1, whole.items):.0f} |"
        )


if __name__ == "__main__":
    main()
