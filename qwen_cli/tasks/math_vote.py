"""Several solutions of one problem, and the answer that most of them agree on or that a reward model likes
best (maj@k and RM@k of Qwen2.5-Math's report)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.protocol import Completion, Engine, Sampling
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.tasks import in_flight, math_prompts, tir
from qwen_cli.tasks.in_flight import Stopped
from qwen_cli.tasks.math_answer import Judge, boxed
from qwen_cli.tasks.math_prompts import Mode

# For a model whose own default is greedy: the temperature of Qwen2.5-Math's maj@8 and RM@8.
_SPREAD = Sampling(temperature=0.7, top_p=0.8)


@dataclass(frozen=True)
class Vote:
    """What came of it. `groups` are indices into `solutions` of equal answers, the largest first; solutions
    without an answer are in none. `wanted` samples were asked for; fewer were made once it was decided.
    `scores` are a reward model's, where there is one: then the best of them wins."""

    solutions: tuple[tir.Solution, ...]
    groups: tuple[tuple[int, ...], ...]
    wanted: int
    scores: tuple[float, ...] = ()

    @property
    def best(self) -> int:
        """Which solution it is: the first with the answer that won, or the one of the highest score; the
        first of all where none has an answer."""
        if not self.scores or not self.groups:
            return self.groups[0][0] if self.groups else 0
        return max((i for group in self.groups for i in group), key=lambda i: self.scores[i])

    @property
    def solution(self) -> tir.Solution:
        """The solution that won."""
        return self.solutions[self.best]

    @property
    def votes(self) -> int:
        """How many solutions have the answer that won."""
        return next((len(group) for group in self.groups if self.best in group), 0)


def vote(
    engine: Engine,
    messages: Sequence[dict[str, Any]],
    k: int,
    mode: Mode,
    judge: Judge,
    *,
    limits: Limits | None = None,
    contained: bool = True,
    score: Callable[[str], float] | None = None,
    max_rounds: int = tir.MAX_ROUNDS,
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
    nudge: math_prompts.Nudge | None = None,
) -> Generator[Vote, None, Vote]:
    """At most `k` solutions, sampled together after one prefill; yields the state after each of them.

    It ends as soon as the samples that are left cannot change which answer wins; with a `score` for the text
    of a solution all are made.
    """
    spread = sampling.over(_SPREAD) if engine.defaults.temperature == 0 else sampling

    def finish(lane: Engine, numbered: tuple[int, Completion], stopped: Stopped) -> tuple[int, tir.Solution]:
        number, sample = numbered
        if mode == "cot":
            said, usage = sample.text, sample.usage
            return number, tir.Solution(said, boxed(said), stop=usage.stop_reason, usage=usage, mode="cot")
        with Sandbox(limits, contained=contained) as sandbox:
            attempt = tir.solve(
                lane,
                messages,
                sandbox,
                begun=sample,
                max_rounds=max_rounds,
                sampling=spread,
                thinking=thinking,
                nudge=nudge,
            )
            return number, tir.finished(attempt, stopped)

    prompt: Any = (tir.rendered(engine, messages, thinking) if mode == "tir" else None) or messages
    solutions: list[tir.Solution] = []
    scores: list[float] = []
    state = Vote((), (), k)
    while len(solutions) < k and (wanted := k if score else _next(state, k - len(solutions))):
        seed = None if sampling.seed is None else sampling.seed + len(solutions)
        asked = replace(tir.limited(spread), seed=seed)
        if mode == "tir":
            asked = replace(tir.beginning(engine, asked, nudge), stop=tir.stops(engine, nudge))
        made = engine.sample(prompt, wanted, sampling=asked, thinking=thinking)
        for solution in _in_order(engine.lanes(wanted, going_on=True), made, finish):
            solutions.append(solution)
            if score:
                scores.append(score(solution.text))
            answered = [i for i, s in enumerate(solutions) if s.answer]
            groups = judge.groups([str(solutions[i].answer) for i in answered])
            shares = tuple(tuple(answered[i] for i in group) for group in groups)
            state = Vote(tuple(solutions), shares, k, tuple(scores))
            yield state
            if not score and not _next(state, k - len(solutions)):
                break
    return state


def _in_order(
    lanes: Sequence[Engine],
    made: Sequence[Completion],
    finish: Callable[[Engine, tuple[int, Completion], Stopped], tuple[int, tir.Solution]],
) -> Iterator[tir.Solution]:
    """What becomes of the samples, finished together, told in the order they were made in: with the same seed
    the same vote stops at the same place."""
    done: dict[int, tir.Solution] = {}
    told = 0
    finishing = in_flight.each(lanes, list(enumerate(made)), finish)
    try:
        for number, solution in finishing:
            done[number] = solution
            while told in done:
                yield done[told]
                told += 1
    finally:
        finishing.close()


def _next(state: Vote, left: int) -> int:
    """How many samples to make now: the fewest after which it could be decided. 0 where it is."""
    sizes = [len(group) for group in state.groups] + [0, 0]
    ahead = sizes[0] - sizes[1]
    # A tie goes to the answer that came first.
    first = not state.groups or not sizes[1] or state.groups[0][0] < state.groups[1][0]
    if ahead > left or (ahead == left and first):
        return 0
    return max(1, -(-(left - ahead) // 2))
