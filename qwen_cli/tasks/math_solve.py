"""One problem to one checked answer: which way of solving, what it falls back to, how sure it is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwen_cli.engines.protocol import Engine, Sampling
from qwen_cli.errors import UsageError
from qwen_cli.models import catalog
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.tasks import math_prompts, math_vote, tir
from qwen_cli.tasks.math_answer import Judge
from qwen_cli.tasks.math_prompts import Language

Mode: TypeAlias = Literal["auto", "tir", "cot"]
MODES = ("auto", "tir", "cot")
_PATIENCE = 2  # failed programs in a row after which `auto` goes on without


@dataclass(frozen=True)
class Way:
    """How problems are to be solved. `spoken` `None`: the language of the problem."""

    mode: Mode = "auto"
    spoken: Language | None = None
    samples: int = 1
    max_rounds: int = tir.MAX_ROUNDS
    limits: Limits = tir.LIMITS
    sampling: Sampling = Sampling()
    thinking: bool | int | None = None


@dataclass(frozen=True)
class Checked:
    """A solution and what speaks for it.

    `how` is "code" (the last program printed the answer), "vote" (most of several samples agree), or
    "unverified". `votes` of `samples` solutions have this answer; `wanted` were asked for.
    """

    solution: tir.Solution
    how: Literal["code", "vote", "unverified"]
    votes: int = 1
    samples: int = 1
    wanted: int = 1

    @property
    def answer(self) -> str | None:
        return self.solution.answer

    @property
    def words(self) -> str:
        """The check in a few words."""
        if self.how == "vote":
            early = f", {self.wanted - self.samples} not needed" if self.samples < self.wanted else ""
            return f"vote {self.votes} of {self.samples}{early}"
        return "code agrees" if self.how == "code" else "not verified"


Solving: TypeAlias = "Generator[tir.Event | math_vote.Vote, None, Checked]"


def solve(engine: Engine, problem: str, judge: Judge, way: Way = Way()) -> Solving:
    """Solve `problem`, telling what happens. Closing the generator ends model and programs.

    Raises `UsageError` for an empty problem, `ContextFull`, `SandboxError`, `EngineError`.
    """
    problem = problem.strip()
    if not problem:
        raise UsageError("the problem is empty", 'write one: `qwen math "…"`')
    if way.samples > 1:
        return _voted(engine, problem, judge, way)
    return _single(engine, problem, judge, way)


def specialist(engine: Engine) -> bool:
    """Whether the model was trained to write programs between its sentences: Qwen's mathematics family."""
    known = catalog.find(engine.model) or catalog.related(engine.model)
    return "math" in (known.family if known else engine.model.lower())


def _single(engine: Engine, problem: str, judge: Judge, way: Way) -> Solving:
    spoken = way.spoken or math_prompts.language(problem)
    sampling = way.sampling.over(_greedy(engine, way))
    if way.mode != "cot":
        messages = math_prompts.messages(problem, "tir", spoken, specialist=specialist(engine))
        with Sandbox(way.limits) as sandbox:
            solution = yield from tir.solve(
                engine,
                messages,
                sandbox,
                max_rounds=way.max_rounds,
                sampling=sampling,
                thinking=way.thinking,
                patience=_PATIENCE if way.mode == "auto" else None,
                nudge=_nudge(engine, spoken),
            )
        if way.mode == "tir" or solution.answer is not None:
            return _checked(solution, judge)
        why = "its code kept failing" if solution.stop == "failing" else "it came to no answer with code"
        yield tir.Restart(why)
    messages = math_prompts.messages(problem, "cot", spoken, specialist=specialist(engine))
    return _checked(
        (yield from tir.reason(engine, messages, sampling=sampling, thinking=way.thinking)), judge
    )


def _voted(engine: Engine, problem: str, judge: Judge, way: Way) -> Solving:
    spoken = way.spoken or math_prompts.language(problem)
    mode: math_prompts.Mode = "cot" if way.mode == "cot" else "tir"
    messages = math_prompts.messages(problem, mode, spoken, specialist=specialist(engine))
    vote = yield from math_vote.vote(
        engine,
        messages,
        way.samples,
        mode,
        judge,
        limits=way.limits,
        max_rounds=way.max_rounds,
        sampling=way.sampling,
        thinking=way.thinking,
        nudge=_nudge(engine, spoken),
    )
    how: Literal["vote", "unverified"] = "vote" if vote.votes > 1 else "unverified"
    return Checked(vote.solution, how, vote.votes, len(vote.solutions), way.samples)


def _checked(solution: tir.Solution, judge: Judge) -> Checked:
    printed = solution.printed
    agrees = solution.answer and printed and judge.same(solution.answer, printed)
    return Checked(solution, "code" if agrees else "unverified")


def _nudge(engine: Engine, spoken: Language) -> math_prompts.Nudge | None:
    return None if specialist(engine) else math_prompts.NUDGE[spoken]


def _greedy(engine: Engine, way: Way) -> Sampling:
    """Greedy, as Qwen2.5-Math's card has it; but a model that thinks must sample (Qwen3's cards)."""
    thinks = engine.capabilities.thinking is not None and way.thinking is not False
    return Sampling() if thinks else Sampling(temperature=0.0)
