"""How often an answer of `qwen math` is right, by what spoke for it: "code agrees" against "not verified".

    python benchmarks/math_agreement.py PROBLEMS.jsonl [MORE.jsonl …] --out RESULTS.jsonl [--model MODEL]
        [--limit N] [--seconds N] [--parallel N] [--mode auto|tir|cot]

Starter model unless another is named; greedy. The files are taken in turn, a problem of each, until there are
`--limit` (1,000) or the seconds are over; with the same `--out` it goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.common import jsonl, statistics
from qwen_cli.tasks.math import batch, solve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problems", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--limit", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--mode", default="tir", choices=("auto", "tir", "cot"))
    asked = parser.parse_args()
    problems = list(islice(mixed(asked.problems), asked.limit))
    way = solve.SolveOptions(mode=asked.mode)
    ends = time.monotonic() + asked.seconds
    with (
        jsonl.Journal(asked.out, "math_agreement") as book,
        LlamaCpp(resolve.resolve(asked.model), context=16_384) as engine,
    ):
        book.begin({"model": engine.model, "mode": asked.mode})
        known = {row["id"] for row in book.rows if "error" not in row}
        left = [problem for problem in problems if problem.id not in known]
        for row in batch.solve_all(engine, left, way, at_once=asked.parallel):
            book.add(row)
            if time.monotonic() > ends:
                break
        model = engine.model
        rows = {row["id"]: row for row in book.rows}
    print(f"{model}, {asked.mode}, {len(rows):,} problems of {', '.join(p.name for p in asked.problems)}")
    tell([row for row in rows.values() if "error" not in row])


def mixed(files: Sequence[Path]) -> Iterator[batch.Problem]:
    """Yield the problems of `files`, one of each in turn, under names that tell the file."""
    found = [
        [replace(problem, id=f"{file.stem}/{problem.id}") for problem in batch.load(file, print)]
        for file in files
    ]
    return (problem for problem in chain(*zip_longest(*found)) if problem)


def tell(rows: Sequence[dict[str, Any]]) -> None:
    """Print how many are right of those that have each check; no answer is a check of its own."""
    checks: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        check = "no answer" if row["answer"] is None else row["check"]
        checks[check].append(bool(row["correct"]))
        checks["all"].append(bool(row["correct"]))
    for check, right in checks.items():
        low, high = statistics.interval(sum(right), len(right))
        share = sum(right) / len(right)
        print(f"{check:<14} {sum(right)} of {len(right)}, {share:.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
