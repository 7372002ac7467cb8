"""Problems in flight together against one after another: `qwen math --file` with `--parallel 4` and 1.

    python benchmarks/math_batch.py PROBLEMS.jsonl [MODEL.gguf] [--limit N] [--parallel N] [--mode tir|cot]

Starter model unless another is named; greedy; the same problems in the same process, in turn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.math import batch, solve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problems", type=Path)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--mode", default="tir", choices=("auto", "tir", "cot"))
    asked = parser.parse_args()
    weights = resolve.resolve(asked.model)
    problems = batch.load(asked.problems, print)[: asked.limit]
    way = solve.SolveOptions(mode=asked.mode)
    with LlamaCpp(weights, context=16_384) as engine:
        list(batch.solve_all(engine, problems[:4], way, at_once=4))  # each slot has the prompt's example
        rates = []
        for at_once in (1, asked.parallel):
            started = time.perf_counter()
            rows = list(batch.solve_all(engine, problems, way, at_once=at_once))
            seconds = time.perf_counter() - started
            tokens = sum(row["tokens"] for row in rows)
            rates.append(len(rows) / seconds)
            print(f"{at_once} at once: {seconds:6.1f} s, {tokens:,} tokens, {tokens / seconds:.1f} tok/s")
    print(f"model {weights.path.name}, {len(problems)} problems, mode {asked.mode}")
    print(f"problems a second, {asked.parallel} at once / 1: {rates[1] / rates[0]:.2f} (bar ≥ 1.15)")


if __name__ == "__main__":
    main()
