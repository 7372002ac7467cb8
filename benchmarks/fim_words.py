"""A cursor inside of a word: with the word written again (token healing) and without.

    python benchmarks/fim_words.py TASKS.jsonl [MODEL.gguf] [--limit N]

TASKS.jsonl has HumanEval's infilling format. Each missing line is given up to the middle of a word (chosen by
a fixed seed); what counts is whether the rest of the line is written as it was. Greedy, `--mode line`.
"""

from __future__ import annotations

import argparse
import random
import re
from dataclasses import replace
from pathlib import Path

from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.common import statistics
from qwen_cli.tasks.fim import complete

SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", type=Path)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    holes = list(cut(asked.tasks))[: asked.limit]
    right = {True: 0, False: 0}
    with LlamaCpp(resolve.resolve(asked.model), context=2048, parallel=1) as engine:
        for hole, rest in holes:
            for heal in right:
                engine.capabilities = replace(engine.capabilities, start=heal)
                right[heal] += complete.complete(engine, hole, mode="line").text.strip() == rest.strip()
    for heal, count in right.items():
        low, high = statistics.interval(count, len(holes))
        how = "written again" if heal else "left as it is"
        print(f"word {how}: {count / len(holes):.1%} of {len(holes)} ({low:.1%} to {high:.1%})")


def cut(path: Path) -> list[tuple[complete.Hole, str]]:
    """Holes that begin in the middle of a word, and the rest of their line."""
    import json

    choose = random.Random(SEED)
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        whole = row["canonical_solution"].rstrip("\n")
        words = list(re.finditer(r"[^\W\d]\w{3,}", whole))
        if not words:
            continue
        word = choose.choice(words)
        at = choose.randrange(word.start() + 1, word.end())
        hole = complete.Hole(row["prompt"] + whole[:at], "\n" + row["suffix"], "solution.py")
        found.append((hole, whole[at:]))
    return found


if __name__ == "__main__":
    main()
