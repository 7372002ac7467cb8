"""`qwen math --samples 8` against eight single solutions, and what stopping early saves.

    python benchmarks/math_samples.py PROBLEMS.jsonl [MODEL.gguf] [--limit N] [--mode tir|cot]

Starter model unless another is named; the first problems of the file, each solved three times in the same
process, in turn: eight single solutions with eight seeds, all eight samples together, and a vote that stops
when it is decided. Temperature 0.7 in all. Both votes begin with the same seed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from qwen_cli.engines.llamacpp import LlamaCpp
from qwen_cli.engines.protocol import Sampling
from qwen_cli.models import reference
from qwen_cli.tasks import math_batch, math_solve, math_vote, tir
from qwen_cli.tasks.math_answer import Judge

SAMPLES = 8
SPREAD = Sampling(temperature=0.7, top_p=0.8, seed=1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problems", type=Path)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--mode", default="tir", choices=("tir", "cot"))
    asked = parser.parse_args()
    weights = reference.resolve(asked.model)
    problems = math_batch.load(asked.problems, print)[: asked.limit]
    way = math_solve.Way(mode=asked.mode, sampling=SPREAD)
    seconds = {"eight single": 0.0, "eight together": 0.0, "until decided": 0.0}
    made = same = 0
    with LlamaCpp(weights, context=16_384) as engine, Judge() as judge:
        solve(engine, problems[0].problem, judge, way)  # the prompt's example is in the cache for all
        for problem in problems:
            started = time.perf_counter()
            for seed in range(SAMPLES):
                one = replace(way, sampling=replace(SPREAD, seed=seed + 1))
                solve(engine, problem.problem, judge, one)
            seconds["eight single"] += time.perf_counter() - started

            several = replace(way, samples=SAMPLES)
            started = time.perf_counter()
            whole = vote(engine, problem.problem, judge, several, early=False)
            seconds["eight together"] += time.perf_counter() - started

            started = time.perf_counter()
            decided = vote(engine, problem.problem, judge, several, early=True)
            seconds["until decided"] += time.perf_counter() - started
            made += len(decided.solutions)
            answers = whole.solution.answer, decided.solution.answer
            same += answers[0] == answers[1] or bool(
                answers[0] and answers[1] and judge.same(*map(str, answers))
            )
            print(f"{problem.id}: {', '.join(f'{k} {v:.0f} s' for k, v in seconds.items())}", flush=True)
    single, together, early = seconds.values()
    print(f"model {weights.path.name}, {len(problems)} problems, mode {asked.mode}")
    print(f"eight together / eight single: {together / single:.2f} (bar ≤ 0.85)")
    print(
        f"until decided / eight together: {early / together:.2f} (bar ≤ 0.75),"
        f" {made / len(problems):.1f} samples"
    )
    print(f"the same answer in {same} of {len(problems)}")


def solve(engine: LlamaCpp, problem: str, judge: Judge, way: math_solve.Way) -> None:
    """One solution, to its end."""
    tir.finished(math_solve.solve(engine, problem, judge, way))  # type: ignore[arg-type]


def vote(engine: LlamaCpp, problem: str, judge: Judge, way: math_solve.Way, *, early: bool) -> math_vote.Vote:
    """The last state of a vote; a score that never says anything has all samples made."""
    state = None
    for event in math_solve.solve(
        engine, problem, judge, replace(way, reward=None if early else _Indifferent())
    ):
        state = event if isinstance(event, math_vote.Vote) else state
    assert state
    return replace(state, scores=())


class _Indifferent:
    """A reward model to which all solutions are alike."""

    def score(self, messages: object, solution: str) -> float:
        return 0.0


if __name__ == "__main__":
    main()
