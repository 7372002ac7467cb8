"""Infilling with unit tests: `qwen eval fim` against a bare llama.cpp script, in the same run.

    python benchmarks/fim_infilling.py TASKS.jsonl [MODEL.gguf] [--limit N] [--lines N]

TASKS.jsonl has HumanEval's infilling format. Starter model unless another is named; greedy. The bare script
sends the model card's prompt and stops at a newline; with `--lines N` the hole is made N lines long (it takes
in the lines after it) and the bare script goes on to the model's own end, as the card's example does.
Every program runs in the sandbox.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.fim import complete, evaluate

BARE_TOKENS = 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", type=Path)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--lines", type=int, default=1)
    asked = parser.parse_args()
    weights = resolve.resolve(asked.model)
    tasks = evaluate.load(asked.tasks)
    if asked.lines > 1:
        tasks = [longer for task in tasks if (longer := lengthened(task, asked.lines))]
    tasks = tasks[: asked.limit]
    peer = Bare(str(weights.path), newline=asked.lines == 1)
    engine = LlamaCpp(weights, context=4096, parallel=1)
    passed = {"bare": 0, "ours": 0}
    seconds = {"bare": 0.0, "ours": 0.0}
    for number, task in enumerate(tasks, 1):
        started = time.perf_counter()
        middle = peer.fill(task.hole)
        seconds["bare"] += time.perf_counter() - started
        passed["bare"] += evaluate.failure(task, middle) is None
        started = time.perf_counter()
        middle = complete.complete(engine, task.hole).text
        seconds["ours"] += time.perf_counter() - started
        passed["ours"] += evaluate.failure(task, middle) is None
        print(f"\r{number}/{len(tasks)} bare {passed['bare']} ours {passed['ours']}", end="", file=sys.stderr)
    print(file=sys.stderr)
    engine.close()
    print(f"model {weights.path.name}, {len(tasks)} holes of {asked.lines} line(s)")
    for name, count in passed.items():
        low, high = evaluate.interval(count, len(tasks))
        print(
            f"{name}: pass@1 {count / len(tasks):.1%} ({count}, 95 % interval {low:.1%} to {high:.1%}), "
            f"{seconds[name] / len(tasks):.2f} s a hole"
        )
    gain = (passed["ours"] - passed["bare"]) / len(tasks) * 100
    print(f"difference {gain:+.1f} points (bar {'≥ 5' if asked.lines == 1 else '≥ 0'})")


def lengthened(task: evaluate.Task, lines: int) -> evaluate.Task | None:
    """The task with a hole that takes in the next lines too; `None` where there are not enough of them."""
    rest = task.hole.suffix.split("\n")
    if sum(bool(line.strip()) for line in rest[: lines - 1]) < lines - 1:
        return None
    return replace(task, hole=replace(task.hole, suffix="\n".join(rest[lines - 1 :])))


class Bare:
    """What a person writes after reading the model card and the library's README."""

    def __init__(self, model: str, *, newline: bool) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx = 4096
        params.verbosity = -1
        self._server: Any = xllamacpp.Server(params)
        self._newline = newline

    def fill(self, hole: complete.Hole) -> str:
        request = {
            "prompt": f"<|fim_prefix|>{hole.prefix}<|fim_suffix|>{hole.suffix}<|fim_middle|>",
            "max_tokens": BARE_TOKENS,
            "temperature": 0,
            "stop": ["\n"] if self._newline else [],
        }
        text: str = self._server.handle_completions(request)["choices"][0]["text"]
        return text + "\n" if self._newline else text


if __name__ == "__main__":
    main()
