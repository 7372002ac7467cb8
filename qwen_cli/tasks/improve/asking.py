"""How a model is asked for solutions: the samples of a problem, each of a seed of its own, kept as it comes.

Rows are those of `tasks.eval.run`: problem, number of the sample, answer, whether it is right, its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval import problems as eval_problems
from qwen_cli.tasks.eval import run as eval_run
from qwen_cli.tasks.eval.item import Attempt
from qwen_cli.tasks.eval.protocol import Protocol
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.math import prompts
from qwen_cli.tasks.math.allowance import is_specialist
from qwen_cli.tasks.math.answer import Judge
from qwen_cli.tasks.math.extraction import boxed

Row = dict[str, Any]
Progress = Callable[[int, int, str], None]
"""Told how many of how many are done, with a few words."""
MODES: tuple[prompts.Mode, ...] = ("short", "cot", "tir")


def _silent(done: int, total: int, words: str) -> None: ...


@dataclass(frozen=True)
class Asking:
    """How each problem is asked. `samples` answers are drawn of it at `temperature` and `top_p`; with a
    temperature of 0 there is one, the likeliest. Each has `max_tokens` at most. `at_once` of them are in
    flight."""

    mode: prompts.Mode = "cot"
    samples: int = 8
    temperature: float = 0.8
    top_p: float | None = 0.95
    max_tokens: int = 1024
    seed: int = 0
    at_once: int = field(default=8, compare=False)

    def check(self) -> None:
        """Raise `UsageError` for a value that makes no sense."""
        if self.mode not in MODES:
            raise UsageError(f"`mode` must be {', '.join(MODES)}, got {self.mode!r}")
        if self.samples < 1 or self.max_tokens < 1:
            name = "samples" if self.samples < 1 else "max_tokens"
            raise UsageError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if self.temperature < 0 or not 0 < (self.top_p or 1) <= 1:
            raise UsageError(f"a temperature of {self.temperature} with top_p {self.top_p} makes no sense")
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(
                f"{self.samples} samples at a temperature of 0 are all the same", "raise `temperature`"
            )

    @property
    def greedy(self) -> Asking:
        """Return the same for one answer, the likeliest."""
        return replace(self, samples=1, temperature=0.0, top_p=None)

    def settings(self) -> dict[str, Any]:
        """Return what answers depend on, as a journal tells it."""
        return {name: value for name, value in vars(self).items() if name != "at_once" and value is not None}

    def protocol(self, engine: Engine) -> Protocol:
        """Return it as the benches have it. Raises `UsageError` for an `engine` that always thinks."""
        sampling = Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, seed=self.seed
        )
        return Protocol("chat", 0, self.samples, sampling, thinking_of(engine))


class Judges:
    """Judges that compare answers, one for each that is asked for at the same time: the sandbox in which what
    is no plain number is compared takes a while to begin."""

    def __init__(self) -> None:
        self._free: SimpleQueue[Judge] = SimpleQueue()
        self._all: list[Judge] = []

    @contextmanager
    def one(self) -> Iterator[Judge]:
        """Yield a judge that nobody else has meanwhile."""
        try:
            judge = self._free.get_nowait()
        except Empty:
            judge = Judge()
            self._all.append(judge)
        try:
            yield judge
        finally:
            self._free.put(judge)

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, *exc: object) -> None:
        for judge in self._all:
            judge.close()


@dataclass(frozen=True)
class Question(eval_problems.Problem):
    """A problem as the benches ask it, with a seed of its own for each sample."""

    judges: Judges = field(default_factory=Judges, compare=False)

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        seed = seed_of(protocol.sampling.seed or 0, self.id, number)
        own = replace(protocol, sampling=replace(protocol.sampling, seed=seed))
        with self.judges.one() as judge:
            return self._solved(engine, own, 0, stopped, judge)


def thinking_of(engine: Engine) -> bool | None:
    """Return how a model is asked that can think: without, since thoughts are not learned. Raises
    `UsageError` for one that always thinks."""
    if engine.capabilities.thinking == "always":
        raise UsageError(
            f"{engine.model} always thinks, and its thoughts would not be learned", "choose an instruct model"
        )
    return False if engine.capabilities.thinking == "switch" else None


def seed_of(seed: int, id: str, number: int) -> int:
    """Return the seed of one sample: the same whenever and in whatever order it is drawn."""
    digest = hashlib.sha256(f"{seed}:{id}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def ask(
    engine: Engine,
    problems: Sequence[Problem],
    asking: Asking,
    book: Journal,
    progress: Progress = _silent,
) -> list[Row]:
    """Return a row for every sample of every problem, in their order; those that `book` has are not asked
    for again. Raises `EngineError` where any got no answer: the others are kept."""
    wanted = {(one.id, number) for one in problems for number in range(asking.samples)}
    done = {key: row for key, row in eval_run.known(book.rows).items() if key in wanted}
    right = sum(float(row["correct"]) for row in done.values())
    progress(len(done), len(wanted), share(right, len(done)))
    failed: dict[str, str] = {}
    with Judges() as judges:
        items = [
            Question(one.id, one.family, one.problem, one.answer, mode=asking.mode, judges=judges)
            for one in problems
        ]
        for row in eval_run.run(engine, items, asking.protocol(engine), done, at_once=asking.at_once):
            if "error" in row:
                failed[row["id"]] = row["error"]
                continue
            done[row["id"], row["sample"]] = book.add(row)
            right += float(row["correct"])
            progress(len(done), len(wanted), share(right, len(done)))
    if failed:
        first = next(iter(failed))
        raise EngineError(
            f"{len(wanted) - len(done):,} of {len(wanted):,} answers did not come, {first} first: "
            f"{failed[first]}",
            f"run it again, the others are kept in {book.path}",
        )
    return [done[one.id, number] for one in problems for number in range(asking.samples)]


def journaled(
    engine: Engine,
    problems: Sequence[Problem],
    asking: Asking,
    path: Path,
    by: str,
    run: Mapping[str, Any],
    progress: Progress = _silent,
) -> list[Row]:
    """Return the rows of `ask` with the journal of the command `by` at `path`; `run` says of which model."""
    with Journal(path, by) as book:
        book.begin({**run, **asking.settings()})
        return ask(engine, problems, asking, book, progress)


def share(right: float, total: int) -> str:
    """Return a share for a progress bar."""
    return f"{right / total:.1%} right" if total else ""


def has_box(row: Mapping[str, Any]) -> bool:
    """Return whether an answer is in a box, as it was asked for."""
    return boxed(str(row.get("text", ""))) is not None


def asked(problem: str, mode: prompts.Mode, model: str) -> list[dict[str, Any]]:
    """Return the messages that ask the model of this name for a solution: what it is trained to answer,
    too."""
    return prompts.messages(problem, mode, prompts.language(problem), specialist=is_specialist(model))
