"""One problem to one checked answer: which way of solving, what it falls back to, how sure it is."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import ContextFull, EngineError, SandboxError, UsageError
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.tasks.math import prompts, tir
from qwen_cli.tasks.math import vote as math_vote
from qwen_cli.tasks.math.allowance import limited, small, specialist
from qwen_cli.tasks.math.answer import Judge
from qwen_cli.tasks.math.prompts import Language
from qwen_cli.tasks.math.verify import Verification, verify

if TYPE_CHECKING:
    from qwen_cli.engines.transformers.reward import Reward

Picture: TypeAlias = dict[str, Any]
"""A content part of OpenAI's chat format: `{"type": "image_url", "image_url": {"url": "data:…"}}`."""
Mode: TypeAlias = Literal["auto", "tir", "cot", "short"]
MODES = ("auto", "tir", "cot", "short")
"""What a model does: reasons and runs Python ("tir"), reasons in words alone ("cot") or in a line or two
("short"); with "auto" it falls back from the first to the second."""
_PATIENCE = 2  # failed programs in a row after which `auto` goes on without


@dataclass(frozen=True)
class SolveOptions:
    """How problems are to be solved. `language` `None`: the language of the problem. `contained` false:
    programs run with the rights of this user. `reward` chooses among the samples where there is one. With
    `verify` the answer is put back into the problem."""

    mode: Mode = "auto"
    language: Language | None = None
    samples: int = 1
    max_rounds: int = tir.MAX_ROUNDS
    limits: Limits = tir.LIMITS
    contained: bool = True
    reward: Reward | None = None
    verify: bool = False
    sampling: Sampling = Sampling()
    thinking: bool | int | None = None


@dataclass(frozen=True)
class Checked:
    """A solution and what speaks for it.

    `how` is "code" (the last program printed the answer), "vote" (most of several samples agree), "reward"
    (a reward model likes it best), or "unverified". `votes` of `samples` solutions have this answer; `wanted`
    were asked for. `score` is the reward model's. `verification` says what came of putting it back.
    """

    solution: tir.Solution
    how: Literal["code", "vote", "reward", "unverified"]
    votes: int = 1
    samples: int = 1
    wanted: int = 1
    score: float | None = None
    verification: Verification | None = None

    @property
    def answer(self) -> str | None:
        return self.solution.answer

    @property
    def words(self) -> str:
        """Return the check in a few words."""
        return self._words + (f"; {self.verification.words}" if self.verification else "")

    @property
    def _words(self) -> str:
        if self.how == "vote":
            early = f", {self.wanted - self.samples} not needed" if self.samples < self.wanted else ""
            return f"vote {self.votes} of {self.samples}{early}"
        if self.score is not None:
            return f"best of {self.samples} by reward {self.score:.3g}, {self.votes} agree"
        if self.how == "code":
            return "code agrees"
        return "not verified, its outputs are made up" if self.solution.invents else "not verified"


Solving: TypeAlias = "Generator[tir.Event | math_vote.Vote, None, Checked]"


def prefill(engine: Engine, problem: str, options: SolveOptions = SolveOptions()) -> None:
    """Prefill the KV cache with the prompt of `problem`."""
    prompt = _MathPrompt(
        problem, options.language or prompts.language(problem), (), specialist(engine), small(engine)
    )
    messages = prompt.messages(_first(options.mode))
    engine.sample(messages, 1, sampling=Sampling(max_tokens=1), thinking=options.thinking)


def solve(
    engine: Engine,
    problem: str,
    judge: Judge,
    options: SolveOptions = SolveOptions(),
    *,
    pictures: Sequence[Picture] = (),
) -> Solving:
    """Solve `problem`, telling what happens. Closing the generator ends model and programs.

    `pictures` are content parts that show the problem, or belong to it. Raises `UsageError` for an empty
    problem and for pictures that the model cannot see, `ContextFull`, `SandboxError`, `EngineError`.
    """
    problem = problem.strip()
    if not problem and not pictures:
        raise UsageError("the problem is empty", 'write one: `qwen math "…"`')
    if pictures and not engine.capabilities.vision:
        raise UsageError(f"{engine.model} sees no pictures", "choose a vision model: `model=qwen3.5:4b`")
    language = options.language or prompts.language(problem)
    prompt = _MathPrompt(problem, language, tuple(pictures), specialist(engine), small(engine))
    solving = (
        _voted(engine, prompt, judge, options)
        if options.samples > 1
        else _single(engine, prompt, judge, options)
    )
    return _verified(engine, prompt, solving, options) if options.verify else solving


def usual(engine: Engine, options: SolveOptions) -> Sampling:
    """Return how tokens are sampled where `options` says nothing; what is not set there is the model's
    own."""
    chances = (
        math_vote.spread(engine, Sampling(), options.thinking)
        if options.samples > 1
        else _greedy(engine, options)
    )
    return limited(engine, chances, options.thinking)


@dataclass(frozen=True)
class _MathPrompt:
    """A problem, and what it depends on how a model is asked to solve it."""

    text: str
    language: Language
    pictures: tuple[Picture, ...]
    specialist: bool
    small: bool

    def messages(self, mode: prompts.Mode) -> list[dict[str, Any]]:
        return prompts.messages(
            self.text, mode, self.language, specialist=self.specialist, pictures=self.pictures
        )

    def reward_messages(self, mode: prompts.Mode) -> list[dict[str, Any]]:
        """Return the messages for a reward model: in the words it was trained on, without example and
        pictures."""
        return prompts.messages(self.text, mode, self.language, specialist=True)

    @property
    def nudge(self) -> prompts.Nudge | None:
        return prompts.NUDGE[self.language] if self.small and not self.specialist else None


def _single(engine: Engine, prompt: _MathPrompt, judge: Judge, options: SolveOptions) -> Solving:
    sampling = options.sampling.over(_greedy(engine, options))
    mode = _first(options.mode)
    if mode == "tir":
        with Sandbox(options.limits, contained=options.contained) as sandbox:
            solution = yield from tir.solve(
                engine,
                prompt.messages("tir"),
                sandbox,
                max_rounds=options.max_rounds,
                sampling=sampling,
                thinking=options.thinking,
                patience=_PATIENCE if options.mode == "auto" else None,
                nudge=prompt.nudge,
                # `auto` begins anew in words instead.
                last_words=prompts.NUDGE[prompt.language] if options.mode == "tir" else None,
            )
        if options.mode == "tir" or solution.answer is not None:
            return _checked(solution, judge)
        why = "its code kept failing" if solution.stop == "failing" else "it came to no answer with code"
        yield tir.Restart(why)
    words: prompts.Mode = "short" if mode == "short" else "cot"
    reasoned = yield from tir.reason(
        engine, prompt.messages(words), mode=words, sampling=sampling, thinking=options.thinking
    )
    return _checked(reasoned, judge)


def _voted(engine: Engine, prompt: _MathPrompt, judge: Judge, options: SolveOptions) -> Solving:
    mode = _first(options.mode)
    reward = options.reward

    def score(solution: str) -> float:
        assert reward
        return reward.score(prompt.reward_messages(mode), solution)

    vote = yield from math_vote.vote(
        engine,
        prompt.messages(mode),
        options.samples,
        mode,
        judge,
        limits=options.limits,
        contained=options.contained,
        score=score if reward else None,
        max_rounds=options.max_rounds,
        sampling=options.sampling,
        thinking=options.thinking,
        nudge=prompt.nudge,
    )
    if vote.scores and vote.groups:
        return Checked(
            vote.solution, "reward", vote.votes, len(vote.solutions), options.samples, vote.scores[vote.best]
        )
    how: Literal["vote", "unverified"] = "vote" if vote.votes > 1 else "unverified"
    return Checked(vote.solution, how, vote.votes, len(vote.solutions), options.samples)


def _verified(engine: Engine, prompt: _MathPrompt, solving: Solving, options: SolveOptions) -> Solving:
    """Put the answer that `solving` comes to back into the problem."""
    checked = yield from solving
    if checked.answer is None:
        return checked
    try:
        verification = yield from verify(
            engine,
            prompt.text,
            checked.answer,
            prompt.language,
            known=[run.code for run in checked.solution.runs],
            pictures=prompt.pictures,
            limits=options.limits,
            contained=options.contained,
            sampling=options.sampling.over(_greedy(engine, options)),
            thinking=options.thinking,
        )
    except (ContextFull, EngineError, SandboxError) as fault:  # the answer is there, whatever becomes of this
        verification = Verification("open", str(fault))
    return replace(checked, verification=verification)


def _first(mode: Mode) -> prompts.Mode:
    """Return the mode that a problem is tried in first."""
    return "tir" if mode == "auto" else mode


def _checked(solution: tir.Solution, judge: Judge) -> Checked:
    printed = solution.printed
    agrees = solution.answer and printed and judge.same(solution.answer, printed, printed=True)
    return Checked(solution, "code" if agrees else "unverified")


def _greedy(engine: Engine, options: SolveOptions) -> Sampling:
    """Return greedy sampling, as Qwen2.5-Math's card has it; but a model that thinks must sample (Qwen3's
    cards)."""
    thinks = engine.capabilities.thinking is not None and options.thinking is not False
    return Sampling() if thinks else Sampling(temperature=0.0)
