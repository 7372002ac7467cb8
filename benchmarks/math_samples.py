"""`qwen math --samples 8` against eight single solutions, and what stopping early saves.

    python benchmarks/math_samples.py PROBLEMS.jsonl [MODEL.gguf] [--limit N] [--single N] [--mode tir|cot]

Starter model unless another is named, temperature 0.7. The first problems of the file are solved by all eight
samples together, and the first few of them also by eight single solutions with eight seeds, in the same
process. When a vote would have ended is read off the same eight samples: two runs of them differ by what is
drawn, more than by when they end.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.math import batch, tir, vote
from qwen_cli.tasks.math import solve as math_solve
from qwen_cli.tasks.math.answer import Judge

SAMPLES = 8
SPREAD = Sampling(temperature=0.7, top_p=0.8, seed=1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("problems", type=Path)
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--single", type=int, default=3, help="problems that are also solved singly")
    parser.add_argument("--mode", default="tir", choices=("tir", "cot"))
    asked = parser.parse_args()
    weights = resolve.resolve(asked.model)
    problems = batch.load(asked.problems, print)[: asked.limit]
    way = math_solve.SolveOptions(mode=asked.mode, sampling=SPREAD)
    singly, together, early = 0.0, [], []
    needed = same = 0
    with LlamaCpp(weights, context=16_384) as engine, Judge() as judge:
        solve(engine, problems[0].problem, judge, way)  # the prompt's example is in the cache for all
        for index, problem in enumerate(problems):
            started = time.perf_counter()
            if index < asked.single:
                for seed in range(SAMPLES):
                    one = replace(way, sampling=replace(SPREAD, seed=seed + 1))
                    solve(engine, problem.problem, judge, one)
                singly += time.perf_counter() - started
            states = votes(engine, problem.problem, judge, replace(way, samples=SAMPLES))
            whole, decided = (
                states[-1],
                next(state for state in states if is_decided(state[1], states[-1][1])),
            )
            together.append(whole[0])
            early.append(decided[0])
            needed += len(decided[1].solutions)
            answers = [state.solution.answer for _, state in (decided, whole)]
            same += answers[0] == answers[1] or bool(all(answers) and judge.same(*map(str, answers)))
            print(f"{problem.id}: together {whole[0]:.0f} s, decided after {decided[0]:.0f} s", flush=True)
    print(f"model {weights.path.name}, {len(problems)} problems, mode {asked.mode}")
    if asked.single:
        print(f"eight together / eight single: {sum(together[: asked.single]) / singly:.2f} (bar ≤ 0.85)")
    print(
        f"until decided / eight together: {sum(early) / sum(together):.2f} (bar ≤ 0.75),"
        f" {needed / len(problems):.1f} samples"
    )
    print(f"the same answer in {same} of {len(problems)}")


def solve(engine: LlamaCpp, problem: str, judge: Judge, way: math_solve.SolveOptions) -> None:
    """One solution, to its end."""
    tir.finished(math_solve.solve(engine, problem, judge, way))  # type: ignore[arg-type]


def votes(
    engine: LlamaCpp, problem: str, judge: Judge, way: math_solve.SolveOptions
) -> list[tuple[float, vote.Vote]]:
    """The vote after each of all samples, and the seconds until then. A score that never says anything has
    all of them made."""
    started = time.perf_counter()
    states = []
    for event in math_solve.solve(engine, problem, judge, replace(way, reward=_Indifferent())):
        if isinstance(event, vote.Vote):
            states.append((time.perf_counter() - started, replace(event, scores=())))
    return states


def is_decided(state: vote.Vote, whole: vote.Vote) -> bool:
    """Whether the vote would have ended at `state` of what became `whole`."""
    order = [id(solution) for solution in whole.solutions]
    numbers = [order.index(id(solution)) for solution in state.solutions]
    groups = [[numbers[place] for place in group] for group in state.groups]
    return vote._decided(groups, [n for n in range(SAMPLES) if n not in numbers])


class _Indifferent:
    """A reward model to which all solutions are alike."""

    def score(self, messages: object, solution: str) -> float:
        return 0.0


if __name__ == "__main__":
    main()
