"""Infilling with unit tests: `qwen eval fim` against a bare llama.cpp script, in the same run.

    python benchmarks/fim_infilling.py TASKS.jsonl [MODEL.gguf] [--limit N] [--lines N] [--span]

TASKS.jsonl has HumanEval's infilling format. Starter model unless another is named; greedy. The bare script
sends the model card's prompt and stops at a newline; with `--lines N` the hole is made N lines long (it takes
in the lines after it), with `--span` it begins and ends anywhere within lines (drawn, always the same); the
bare script goes on to the model's own end then, as the card's example does.
Every program runs in the sandbox.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.common import statistics
from qwen_cli.tasks.fim import complete, evaluate

BARE_TOKENS = 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", type=Path)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--span", action="store_true")
    asked = parser.parse_args()
    weights = resolve.resolve(asked.model)
    tasks = evaluate.load(asked.tasks)
    if asked.lines > 1:
        tasks = [longer for task in tasks if (longer := lengthened(task, asked.lines))]
    if asked.span:
        rows = [json.loads(line) for line in asked.tasks.read_text("utf-8").splitlines() if line.strip()]
        tasks = [spanning(task, row["canonical_solution"]) for task, row in zip(tasks, rows, strict=True)]
    tasks = tasks[: asked.limit]
    single = asked.lines == 1 and not asked.span
    peer = Bare(str(weights.path), newline=single)
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
    kind = "spans within lines" if asked.span else f"holes of {asked.lines} line(s)"
    print(f"model {weights.path.name}, {len(tasks)} {kind}")
    for name, count in passed.items():
        low, high = statistics.interval(count, len(tasks))
        print(
            f"{name}: pass@1 {count / len(tasks):.1%} ({count}, 95 % interval {low:.1%} to {high:.1%}), "
            f"{seconds[name] / len(tasks):.2f} s a hole"
        )
    gain = (passed["ours"] - passed["bare"]) / len(tasks) * 100
    print(f"difference {gain:+.1f} points (bar {'≥ 5' if single else '≥ 0'})")


def lengthened(task: evaluate.Task, lines: int) -> evaluate.Task | None:
    """The task with a hole that takes in the next lines too; `None` where there are not enough of them."""
    rest = task.hole.suffix.split("\n")
    if sum(bool(line.strip()) for line in rest[: lines - 1]) < lines - 1:
        return None
    return replace(task, hole=replace(task.hole, suffix="\n".join(rest[lines - 1 :])))


def spanning(task: evaluate.Task, line: str) -> evaluate.Task:
    """The task with a hole from within its `line` to within one of the next two."""
    draw = random.Random(task.id)
    code = line + task.hole.suffix
    words = len(line) - len(line.lstrip())
    begin = draw.randrange(words, max(words + 1, len(line.rstrip())))
    end = draw.randrange(begin + 1, min(len(code), begin + 120) + 1)
    hole = replace(task.hole, prefix=task.hole.prefix + code[:begin], suffix=code[end:])
    return replace(task, hole=hole)


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
