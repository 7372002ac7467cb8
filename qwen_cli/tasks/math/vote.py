"""Several solutions of one problem, and the answer that most of them agree on or that a reward model likes
best (maj@k and RM@k of Qwen2.5-Math's report)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.core.base import Completion, Engine, Sampling, usual
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.tasks.common import parallel
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.math import prompts, tir
from qwen_cli.tasks.math.allowance import limited
from qwen_cli.tasks.math.answer import Judge
from qwen_cli.tasks.math.extraction import final
from qwen_cli.tasks.math.prompts import Mode

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
        """Return the index of the best solution: the first with the answer that won, or the one of the
        highest score; the first of all where none has an answer."""
        if not self.scores or not self.groups:
            return self.groups[0][0] if self.groups else 0
        return max((i for group in self.groups for i in group), key=lambda i: self.scores[i])

    @property
    def solution(self) -> tir.Solution:
        """Return the solution that won."""
        return self.solutions[self.best]

    @property
    def votes(self) -> int:
        """Return how many solutions have the answer that won."""
        return next((len(group) for group in self.groups if self.best in group), 0)


def spread(engine: Engine, sampling: Sampling, thinking: bool | int | None = None) -> Sampling:
    """Return `sampling` under which several solutions differ, also where the model's own default is
    greedy."""
    return sampling.over(_SPREAD) if usual(engine, thinking).temperature == 0 else sampling


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
    nudge: prompts.Nudge | None = None,
) -> Generator[Vote, None, Vote]:
    """Yield `k` solutions made at the same time, after one prefill; yields the state after each of them.

    It ends as soon as those that are not finished cannot change which answer wins: they are stopped. With a
    `score` for the text of a solution all are finished.
    """
    spreading = spread(engine, sampling, thinking)

    def solve(lane: Engine, number: int, begun: Completion | None, stopped: Stopped) -> tir.Solution:
        chances = spreading.nth(number)
        if mode != "tir":
            if begun:
                text, usage = begun.text, begun.usage
                return tir.Solution(text, final(text), stop=usage.stop_reason, usage=usage, mode=mode)
            reasoning = tir.reason(lane, messages, mode=mode, sampling=chances, thinking=thinking)
            return tir.finished(reasoning, stopped)
        with Sandbox(limits, contained=contained) as sandbox:
            attempt = tir.solve(
                lane,
                messages,
                sandbox,
                begun=begun,
                max_rounds=max_rounds,
                sampling=chances,
                thinking=thinking,
                nudge=nudge,
            )
            return tir.finished(attempt, stopped)

    prompt: Any = messages
    bounded = limited(engine, spreading, thinking)
    if mode == "tir":
        prompt, bounded = tir.opening(engine, messages, spreading, thinking, nudge)
    begun: Sequence[Completion | None]
    if len(engine.lanes(k)) > 1:
        begun = [None] * k
        engine.sample(prompt, 1, sampling=replace(bounded, max_tokens=1), thinking=thinking)  # the prefill
    else:
        # It goes on with one at a time, but decodes the beginnings of all of them together.
        begun = engine.sample(prompt, k, sampling=bounded, thinking=thinking)

    done: dict[int, tir.Solution] = {}
    scores: dict[int, float] = {}
    state = Vote((), (), k)
    solving = parallel.map_unordered(
        engine.lanes(k, warm=True),
        list(enumerate(begun)),
        lambda lane, one, stopped: (one[0], solve(lane, *one, stopped)),
    )
    try:
        for number, solution in solving:
            done[number] = solution
            if score:
                scores[number] = score(solution.text)
            numbers = sorted(done)
            answered = [n for n in numbers if done[n].answer]
            groups = [[answered[i] for i in g] for g in judge.groups([str(done[n].answer) for n in answered])]
            state = Vote(
                tuple(done[n] for n in numbers),
                tuple(tuple(numbers.index(n) for n in group) for group in groups),
                k,
                tuple(scores[n] for n in numbers if score),
            )
            yield state
            if not score and _decided(groups, [n for n in range(k) if n not in done]):
                break
    finally:
        solving.close()
    return state


def _decided(groups: Sequence[Sequence[int]], left: Sequence[int]) -> bool:
    """Return whether the samples that are `left` cannot change which answer wins. `groups` are numbers of
    samples with equal answers, the largest first. A tie goes to the answer of the lowest number."""
    if not left or not groups:
        return not left
    winner, *rivals = groups
    for rival in [*rivals, ()]:
        behind = len(winner) - len(rival) - len(left)
        if behind < 0 or (behind == 0 and min(winner) > min([*rival, *left])):
            return False
    return True
