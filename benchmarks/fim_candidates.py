"""Four candidates against one: `-n 4` after a prompt of 1,500 tokens, the prompt read once.

    python benchmarks/fim_candidates.py [MODEL.gguf]

Starter model unless another is named; `fim.candidates` and `fim.complete` in turn, medians.
Nothing of the prompt is in the cache: each run has other names in every function.
"""

from __future__ import annotations

import statistics
import sys
import time

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.fim import complete

ROUNDS = 3
TOKENS = 1_500
WRITTEN = 64  # most tokens of a completion, in both
CANDIDATES = 4


def main() -> None:
    weights = resolve.resolve(sys.argv[1] if len(sys.argv) > 1 else "starter")
    seconds: dict[int, list[float]] = {1: [], CANDIDATES: []}
    # As `qwen code-fim` opens it: room for the candidates beside each other.
    with LlamaCpp(weights, context=4096) as engine:
        for run in range(ROUNDS):
            for n in seconds:
                hole = hole_of(TOKENS, engine, f"{'abc'[run]}{n}")
                started = time.perf_counter()
                if n == 1:
                    complete.complete(engine, hole, sampling=Sampling(max_tokens=WRITTEN))
                else:
                    found = complete.candidates(
                        engine, hole, n, sampling=Sampling(seed=run, max_tokens=WRITTEN)
                    )
                seconds[n].append(time.perf_counter() - started)
        tokens = engine.count_tokens(complete.prompt(hole))
    one, several = (statistics.median(times) for times in seconds.values())
    print(f"model {weights.path.name}, prompt {tokens:,} tokens, {len(found)} different in the last run")
    print(f"-n 1  {one:6.2f} s")
    print(f"-n {CANDIDATES}  {several:6.2f} s, ratio {several / one:.2f} (bar ≤ 1.5)")


def hole_of(tokens: int, engine: LlamaCpp, name: str) -> complete.Hole:
    """A body that is missing after about `tokens` tokens of source text, with `name` in all its names."""
    text, n = "", 0
    while engine.count_tokens(text) < tokens:
        n += 1
        text += f"def compute_{name}_{n}(value):\n    scaled = value * {n}\n    return scaled + {n}\n\n\n"
    last = f"def compute_{name}_{n + 1}(value):\n"
    return complete.Hole(text + last, f"\n\n\nprint(compute_{name}_{n + 1}(2))\n", "compute.py")


if __name__ == "__main__":
    main()
