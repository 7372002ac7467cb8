"""Rounds of self-improvement in a folder: problems, samples, an adapter, a verdict, and again.

Each round begins with the better model. Whatever ends a run, the next one goes on with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.models.formats import lora
from qwen_cli.tasks.common import jsonl
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.improve import asking, gather, generators, judge, ranking, stages, synthesize
from qwen_cli.tasks.improve.asking import Asking, Progress
from qwen_cli.tasks.improve.comparisons import Compared, comparisons
from qwen_cli.tasks.improve.decontaminate import Protected, ProtectedTexts, of_problems
from qwen_cli.tasks.improve.judge import Judged
from qwen_cli.tasks.improve.manifest import Manifest, digest
from qwen_cli.tasks.improve.problem import Problem, normalised, unique
from qwen_cli.tasks.improve.ranking import Scorer
from qwen_cli.tasks.improve.stages import Outputs, Say, Wanted
from qwen_cli.tasks.math import prompts

_LARGEST = 2 << 30  # bytes of a file of a run
_HELD_OUT_SEED = 1_000_003  # apart from those of rounds


@dataclass(frozen=True)
class Lessons:
    """How an adapter is trained on what was gathered; other settings are the trainer's own."""

    epochs: int = 2
    rank: int = 16
    learning_rate: float = 2e-4
    max_length: int = 2_048


@dataclass(frozen=True)
class Training:
    """One adapter to be trained: on `rows`, with `held` to tell when to stop, into `out`; going on with the
    adapter `start_from` where there is one."""

    rows: Sequence[Mapping[str, Any]]
    held: Sequence[Mapping[str, Any]]
    out: Path
    start_from: Path | None
    seed: int
    lessons: Lessons


@dataclass(frozen=True)
class RewardTraining:
    """One reward model to be trained: on `compared` solutions of this `mode`, into `out`."""

    compared: Sequence[Compared]
    out: Path
    mode: prompts.Mode
    seed: int


@dataclass(frozen=True)
class Rewarding:
    """How reward models come about: `train` makes one and returns its figures, and goes on with what a killed
    training left in the folder; `load` has the one in a folder ready while its context lasts."""

    train: Callable[[RewardTraining], Mapping[str, Any]]
    load: Callable[[Path], AbstractContextManager[Scorer]]


Trainer = Callable[[Training], Mapping[str, Any]]
"""Trains an adapter and returns its figures; goes on with what a killed one left in `out`."""
Load = Callable[["Path | None"], Engine]
"""Loads the model with this adapter, or without one."""


@dataclass(frozen=True)
class Settings:
    """What a run is asked for. `loaded` says how the model is loaded, as a journal tells it. `solving` draws
    the samples that are learned from; `judged_samples` of each held-out problem are drawn as well as its
    likeliest answer. At most `per_problem` solutions of a problem are learned from, `most` in all. `held_out`
    problems are made where none are given. With `control` a second adapter is trained on the first round's
    problems with the solutions of others. With `reward` each round trains a reward model on its samples: it
    chooses among the right ones, weights the votes of the next round and says which judged sample is best."""

    model: str
    loaded: Mapping[str, Any] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)
    solving: Asking = field(default_factory=Asking)
    judged_samples: int = 0
    per_problem: int = 4
    most: int | None = None
    held_out: int = 200
    lessons: Lessons = Lessons()
    seed: int = 0
    control: bool = field(default=False, compare=False)
    reward: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a value that makes no sense."""
        self.wanted.check()
        self.solving.check()
        if self.solving.samples < 2:
            raise UsageError(
                f"`samples` must be 2 or more, got {self.solving.samples}",
                "a problem that is always answered rightly teaches nothing",
            )

    def deciding(self) -> dict[str, Any]:
        """Return what the result depends on: a folder is of one such set. Rounds and a control may be
        added."""
        whole = asdict(self)
        del whole["control"]
        if not self.reward:  # a run of before there was one is the same
            del whole["reward"]
        return {**whole, "solving": self.solving.settings()}


@dataclass(frozen=True)
class Hooks:
    """Who is told: `say` remarks, `stage` that a stage begins, and with its context how far it is."""

    say: Say = lambda text: None
    stage: Callable[[str], AbstractContextManager[Progress]] = lambda name: nullcontext(asking._silent)


@dataclass(frozen=True)
class Round:
    """A round that is done. `adapter` is what was trained, `kept` says whether the model goes on with it;
    `stopped` why there was nothing to train on; `reward` what the reward model came to."""

    number: int
    gathered: str
    adapter: Path | None
    judged: Judged | None
    kept: bool
    stopped: str | None = None
    reward: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the model before it, its rounds, the control, and the adapter that is the best of
    it; `None` where none is better than the model alone."""

    before: Judged
    rounds: Sequence[Round]
    adapter: Path | None
    control: Judged | None = None


def improve(
    settings: Settings,
    rounds: int,
    given: Sequence[Problem],
    held_out: Sequence[Problem],
    tests: Sequence[Protected],
    folder: Path,
    load: Load,
    trainer: Trainer,
    hooks: Hooks = Hooks(),
    check: Callable[[], None] = lambda: None,
    rewarding: Rewarding | None = None,
) -> Outcome:
    """Run `rounds` rounds in `folder`, those that it has not had yet. `given` problems and those of families
    are practised on, `held_out` ones judged; problems too near to these or to `tests` are left out. `check`
    is called before anything is asked, where an adapter is to be trained: it raises what would stop that.
    `rewarding` is needed where the settings have `reward`.

    Raises `UsageError` for settings that make no sense and a folder that is another run's, `QwenError` for a
    model that answers nothing rightly, and what loading, asking and training raise.
    """
    settings.check()
    if not given and not settings.wanted.families:
        raise UsageError("there is nothing to practise on", "give problems, or `families`")
    with Manifest(folder) as manifest, _Model(load) as model:
        examined = list(held_out) or _made_held_out(settings, given)
        manifest.begin(settings.deciding(), {"problems": _digest_of(given), "heldout": _digest_of(held_out)})
        if manifest.figures(f"round-{rounds}/train") is None:
            check()
        run = _Run(settings, manifest, model, trainer, hooks, unique(examined), tests, rewarding)
        return run.whole(rounds, given)


@dataclass
class _Run:
    """A run in its folder: each step first looks at what the manifest has of it."""

    settings: Settings
    manifest: Manifest
    model: _Model
    trainer: Trainer
    hooks: Hooks
    examined: Sequence[Problem]
    tests: Sequence[Protected]
    rewarding: Rewarding | None

    def whole(self, rounds: int, given: Sequence[Problem]) -> Outcome:
        """Run what is left of all rounds."""
        self.problems("round-1", 1, given, None)  # what is wrong with them is told before much is asked
        before = self.judged("round-0", None)
        best, adapter = before, None
        done: list[Round] = []
        for number in range(1, rounds + 1):
            one = self.round(number, given, adapter, best)
            done.append(one)
            if one.stopped:
                self.hooks.say(f"round {number}: {one.stopped}")
                break
            if one.kept and one.judged:
                best, adapter = one.judged, one.adapter
        control = self.control() if self.settings.control and done[0].adapter else None
        return Outcome(before, done, adapter, control)

    def round(self, number: int, given: Sequence[Problem], adapter: Path | None, best: Judged) -> Round:
        """Run one round from the model with `adapter`, which has come to `best`."""
        name = f"round-{number}"
        problems = self.problems(name, number, given, adapter)
        words = self.solutions(name, number, problems, adapter)
        chats = _read(self.place(name) / "train.jsonl")
        reward = self.manifest.figures(f"{name}/reward")
        if not chats:
            why = "there is nothing left to learn from"
            return Round(number, words, None, None, kept=False, stopped=why, reward=reward)
        trained = self.trained(name, adapter, number)
        judged = self.judged(name, trained, self.reward_of(name))
        kept = judge.is_kept(best, judged)
        if not kept:
            self.hooks.say(
                f"round {number}: {judged.right} of {len(judged.rows)} right, {best.right} before: "
                "its adapter is not kept"
            )
        return Round(number, words, trained, judged, kept, reward=reward)

    def problems(
        self, name: str, number: int, given: Sequence[Problem], adapter: Path | None
    ) -> list[Problem]:
        """Return the problems of a round."""
        place, stage = self.place(name), f"{name}/synthesize"
        files = [place / "problems.jsonl", place / "dropped.jsonl"]
        if self.manifest.figures(stage) is None:
            tests = ProtectedTexts([*of_problems("the held-out problems", self.examined), *self.tests])

            def write(clean: Sequence[Problem]) -> list[dict[str, Any]]:
                how = replace(self.settings.solving, seed=self.seed(number))
                with (
                    self.hooks.stage(stage) as progress,
                    Journal(place / "variants.jsonl", synthesize.BY) as book,
                ):
                    reward = self.reward_of(f"round-{number - 1}")
                    book.begin(
                        {
                            **self.of(adapter),
                            **how.settings(),
                            **asdict(self.settings.wanted.variants),
                            "reward": mark(reward) if reward else None,
                        }
                    )
                    with self.scorer(reward) as score:
                        return synthesize.variants(
                            self.model.engine(adapter),
                            clean,
                            self.settings.wanted.variants,
                            how,
                            book,
                            progress,
                            score,
                        )

            made = stages.synthesized(given, self.settings.wanted, tests, self.seed(number), write)
            stages.write_synthesized(made, files[0], files[1])
            stages.tell_dropped(made, files[1], self.hooks.say)
            self.manifest.record(stage, files, {"problems": len(made.problems), "dropped": len(made.dropped)})
        return [Problem(**row) for row in _read(files[0])]

    def solutions(self, name: str, number: int, problems: Sequence[Problem], adapter: Path | None) -> str:
        """Draw samples of each problem and write what is to be learned from; return that in a line."""
        place, stage = self.place(name), f"{name}/solve"
        if figures := self.manifest.figures(stage):
            return str(figures["words"])
        how = replace(self.settings.solving, seed=self.seed(number))
        samples = place / "samples.jsonl"
        with self.hooks.stage(stage) as progress:
            engine = self.model.engine(adapter)
            rows = stages.sampled(engine, problems, how, samples, self.of(adapter), progress)
        model = engine.model
        gathered = gather.gather(
            problems,
            rows,
            per_problem=self.settings.per_problem,
            most=self.settings.most,
            scores=self.scores(name, number, problems, rows),
        )
        outputs = Outputs(
            place / "difficulty.jsonl", place / "train.jsonl", place / "held.jsonl", place / "pairs.jsonl"
        )
        stages.write_solutions(gathered, how.mode, model, outputs)
        self.hooks.say(f"round {number}: {gathered.words}")
        files = [samples, outputs.difficulty, outputs.train, outputs.held, outputs.pairs]
        self.manifest.record(
            stage,
            files,
            {
                "words": gathered.words,
                "solutions": len(gathered.solutions),
                "pairs": len(gathered.pairs),
                "always right": gathered.always,
                "never right": gathered.never,
            },
        )
        return gathered.words

    def scores(
        self, name: str, number: int, problems: Sequence[Problem], rows: Sequence[Mapping[str, Any]]
    ) -> gather.Scores | None:
        """Return what a reward model that is trained on samples says of the right ones; `None` where there is
        to be none."""
        if not self.settings.reward or not any(row["correct"] for row in rows):
            return None
        self.rewarded(name, number, problems, rows)
        reward = self.reward_of(name)
        if reward is None:
            return None
        self.model.close()
        with self.scorer(reward) as score, self.hooks.stage(f"{name}/rank") as progress:
            assert score
            return ranking.of_right(problems, rows, score, progress)

    def rewarded(
        self, name: str, number: int, problems: Sequence[Problem], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Train the reward model of a round, where its samples are enough for one."""
        assert self.rewarding, "the settings have `reward`"
        stage, out = f"{name}/reward", self.place(name) / "reward"
        if self.manifest.figures(stage) is not None:
            return
        self.model.close()  # training needs the memory
        self.hooks.say(f"{stage} …")
        try:
            compared = comparisons(problems, rows)
            if len(compared.problems) < 2:
                raise QwenError("1 problem has right and wrong solutions, two are needed")
        except QwenError as fault:
            self.hooks.say(f"round {number}: there is no reward model: {fault.message}")
            self.manifest.record(stage, [], {"none": fault.message})
            return
        training = RewardTraining(compared.problems, out, self.settings.solving.mode, self.seed(number))
        figures = self.rewarding.train(training)
        self.hooks.say(f"round {number}: {figures['words']}")
        self.manifest.record(stage, [out], figures)

    def reward_of(self, name: str) -> Path | None:
        """Return the reward model of a round; `None` where there is none."""
        figures = self.manifest.figures(f"{name}/reward")
        return self.place(name) / "reward" if figures and "none" not in figures else None

    def scorer(self, reward: Path | None) -> AbstractContextManager[Scorer | None]:
        """Return the reward model in a folder, to be loaded; nothing where there is none."""
        if reward is None:
            return nullcontext(None)
        assert self.rewarding, "the settings have `reward`"
        return self.rewarding.load(reward)

    def trained(
        self,
        name: str,
        start_from: Path | None,
        number: int,
        rows: Sequence[Mapping[str, Any]] | None = None,
    ) -> Path:
        """Return the adapter of a round, trained on its solutions, or on `rows`."""
        place, stage = self.place(name), f"{name}/train"
        out = place / "adapter"
        if self.manifest.figures(stage) is None:
            self.model.close()  # training needs the memory
            self.hooks.say(f"{stage} …")
            chats = _read(place / "train.jsonl") if rows is None else rows
            held = _read(place / "held.jsonl") if rows is None else ()
            training = Training(chats, held, out, start_from, self.seed(number), self.settings.lessons)
            figures = self.trainer(training)
            self.manifest.record(stage, [out], {**figures, "rows": len(chats)})
        return out

    def judged(self, name: str, adapter: Path | None, reward: Path | None = None) -> Judged:
        """Return how the model with `adapter` does on the held-out problems, the samples with the scores of
        `reward` where there is one."""
        place, stage = self.place(name), f"{name}/judge"
        if self.manifest.figures(stage) is None:
            how = replace(self.settings.solving, samples=self.settings.judged_samples)
            with self.hooks.stage(stage) as progress:
                engine = self.model.engine(adapter)
                judged = judge.judge(engine, self.examined, how, place, self.of(adapter), progress)
            files = [place / judge.GREEDY, *([place / judge.SAMPLED] if judged.samples else [])]
            if reward and how.samples > 1:
                self.model.close()
                about = {**self.of(adapter), "reward": mark(reward)}
                with self.scorer(reward) as score, self.hooks.stage(f"{name}/score") as progress:
                    assert score
                    judged = judge.scored(judged, self.examined, score, place, about, progress)
                files.append(place / judge.SCORES)
            self.manifest.record(stage, files, judged.figures())
        return judge.read(place)

    def control(self) -> Judged:
        """Return what comes of an adapter that was trained on the first round's problems, each with the
        solutions of another."""
        place, solved = self.place("control"), self.place("round-1")
        rows = _read(solved / "train.jsonl")
        mixed = place / "train.jsonl"
        if self.manifest.figures("control/shuffle") is None:
            jsonl.replace(mixed, gather.shuffled(rows))
            self.manifest.record("control/shuffle", [mixed], {"rows": len(rows)})
        adapter = self.trained("control", None, 1, _read(mixed))
        return self.judged("control", adapter)

    def place(self, name: str) -> Path:
        """Return the folder of a round, which is there."""
        place = self.manifest.folder / name
        place.mkdir(exist_ok=True)
        return place

    def seed(self, number: int) -> int:
        """Return the seed of a round: each has problems and samples of its own."""
        return self.settings.seed + number - 1

    def of(self, adapter: Path | None) -> dict[str, Any]:
        """Return which model answers, as a journal tells it."""
        return {"model": self.settings.model, "adapter": mark(adapter) if adapter else None}


class _Model:
    """The model with the adapter that was asked for last, loaded once it is needed."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._engine: Engine | None = None
        self._adapter: Path | None = None

    def engine(self, adapter: Path | None) -> Engine:
        """Return the model with this adapter."""
        if self._engine is None or adapter != self._adapter:
            self.close()
            self._engine, self._adapter = self._load(adapter), adapter
        return self._engine

    def close(self) -> None:
        """Free its memory."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> _Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _made_held_out(settings: Settings, given: Sequence[Problem]) -> list[Problem]:
    """Return problems of the families to be judged by. Raises `UsageError` where there are no families."""
    if not settings.wanted.families:
        raise UsageError(
            "there is nothing to judge by", "give held-out problems with `heldout`, or `families`"
        )
    avoid = {normalised(one.problem) for one in given}
    return generators.generate(
        settings.wanted.families, settings.held_out, settings.seed + _HELD_OUT_SEED, avoid=avoid
    )


def mark(adapter: Path) -> str:
    """Return by what an adapter is known again: its weights."""
    weights = adapter / lora.WEIGHTS
    return digest(weights if weights.is_file() else adapter)


def _digest_of(problems: Sequence[Problem]) -> str:
    """Return by what the same problems are known again."""
    text = json.dumps([problem.row() for problem in problems], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of this run, whose digest is known to be right."""
    lines = reading.read(path, _LARGEST).decode().split("\n") if path.stat().st_size else []
    return [reading.parsed_json(line) for line in lines if line]
