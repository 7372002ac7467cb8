"""A reward model: LoRA on the model itself and a small head, trained to tell right solutions of a problem
from wrong ones (Qwen2.5-Math, arXiv:2409.12122, section 3.2). What it is asked in is the prompt of a mode.

Its folder has peft's adapter, `reward_head.safetensors` and `reward.json`: which model it is for, in which
mode it is asked, and how well it orders solutions of problems that it was not trained on.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from qwen_cli import reading
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import lora
from qwen_cli.models.sizes import gb
from qwen_cli.tasks.common import statistics
from qwen_cli.tasks.improve import asking
from qwen_cli.tasks.improve.comparisons import Compared
from qwen_cli.tasks.math import prompts
from qwen_cli.tasks.train import base, batches, memory, sequences
from qwen_cli.tasks.train.folder import OURS, RunFolder
from qwen_cli.tasks.train.folder import Progress as State
from qwen_cli.tasks.train.loop import Learned, Loop, Measured
from qwen_cli.tasks.train.rows import Chat
from qwen_cli.tasks.train.settings import Evaluated, Resumed, Stepped, TrainSettings

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.tasks.improve.reward_network import Group, RewardNetwork
    from qwen_cli.tasks.train.sequences import Tokens

BY = "qwen improve reward"
HEAD, ABOUT = "reward_head.safetensors", "reward.json"
_LARGEST = 1 << 20  # bytes of `reward.json`
_ANY_LENGTH = 1 << 30  # tokens
_SCORED_AT_ONCE = 2_048  # tokens: without gradients little is kept of them
_ROOM = 600 << 20  # bytes beside the weights: libraries, and what is kept of the tokens


@dataclass(frozen=True)
class RewardSettings:
    """How a reward model is trained. All but `out` and `save_seconds` decide what becomes of it, bit by bit.

    `model` are the weights that it is put on; `name` is what the model is called, and `mode` how it is asked.
    A step takes `problems_per_step` problems with their solutions. A share `heldout` of the problems, one at
    least and all but one at most, is not trained on but measured, `evaluations` times an epoch; the training
    stops after `patience` of them without a lower loss. Solutions of more than `max_length` tokens with their
    prompt are left out. Others are as in `TrainSettings`.
    """

    model: str
    out: Path
    name: str
    mode: prompts.Mode
    rank: int = 16
    epochs: int = 3
    problems_per_step: int = 2
    learning_rate: float = 2e-4
    max_length: int = 2_048
    heldout: float = 0.2
    evaluations: int = 2
    patience: int = 4
    seed: int = 0
    dtype: str = "auto"
    checkpointing: Literal["auto", "on", "off"] = "auto"
    save_seconds: float = 60.0

    def training(self) -> TrainSettings:
        """Return it as trainings have it. Raises `UsageError` for a value that makes no sense."""
        if self.mode not in asking.MODES:
            raise UsageError(f"`mode` must be {', '.join(asking.MODES)}, got {self.mode!r}")
        if self.problems_per_step < 1:
            raise UsageError(f"`problems_per_step` must be at least 1, got {self.problems_per_step}")
        if not 0 < self.heldout < 1:
            raise UsageError(
                f"`heldout={self.heldout}` makes no sense",
                "it must be above 0 and below 1: it tells when to stop",
            )
        apart = ("name", "mode", "problems_per_step")
        shared = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        whole = TrainSettings(**shared, alpha=2.0 * self.rank, turns="last")
        whole.check()
        return whole

    def deciding(self) -> dict[str, Any]:
        """Return what the result depends on, as JSON has it."""
        own = {"name": self.name, "mode": self.mode, "problems_per_step": self.problems_per_step}
        return self.training().deciding() | own


@dataclass(frozen=True)
class RewardPlanned:
    """What is about to be trained, before the model is loaded: on `pairs` of solutions of `problems`, in
    `sequences`; `heldout` problems with `heldout_pairs` are measured. `long` solutions were longer than the
    maximum. `memory` is the estimate in bytes, `parameters` what is trained."""

    problems: int
    sequences: int
    pairs: int
    heldout: int
    heldout_pairs: int
    long: int
    steps: int
    memory: int
    parameters: int
    checkpointing: bool


Event: TypeAlias = "RewardPlanned | Resumed | Stepped | Evaluated"
Report: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class RewardResult:
    """A reward model that was trained. Of the `heldout` problems with their `pairs`, `accuracy` is the mean
    share of pairs in which the right solution has the higher score (equal ones count half), `interval` its
    95 % interval: each problem counts once, so that it is rather too wide. Losses are means over problems, in
    nats. `best_step` is the step whose weights the folder has."""

    out: Path
    model: str
    mode: str
    problems: int
    heldout: int
    pairs: int
    accuracy_before: float
    accuracy: float
    interval: tuple[float, float]
    loss_before: float
    loss: float
    steps: int
    best_step: int
    stopped: Literal["end", "patience"]
    tokens: int
    seconds: float

    @property
    def words(self) -> str:
        """Return it in a line."""
        if self.best_step == 0:
            return (
                f"the held-out loss never fell below {self.loss:.4f}: this reward model scores all solutions "
                "alike"
            )
        low, high = self.interval
        return (
            f"{self.pairs:,} pairs of {self.heldout:,} held-out problems: {self.accuracy_before:.1%} ordered "
            f"rightly before (chance: all scores were equal), {self.accuracy:.1%} after "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"out": str(self.out), "interval": list(self.interval)}


def train(
    settings: RewardSettings, compared: Sequence[Compared], report: Report = lambda event: None
) -> RewardResult:
    """Train a reward model on `compared` solutions and return what became of it.

    Where `settings.out` has the state of the same training it goes on with it, and where that was complete
    its result is returned. Raises `UsageError` for a setting that makes no sense, fewer than two problems and
    a folder of something else; `ModelError` for weights that cannot be trained or do not fit; all before a
    model is loaded.
    """
    chosen = settings.training()
    folder = RunFolder(settings.out, BY, (*OURS, HEAD, ABOUT))
    weights = base.trainable(settings.model)
    prepared = _prepare(settings, chosen, compared, weights)
    with folder.held():
        found = folder.begin(prepared.identity, asdict(prepared.plan))
        if found and found.result:
            interval = tuple(found.result["interval"])
            return RewardResult(**found.result | {"out": folder.path, "interval": interval})
        plan = memory.MemoryPlan(**found.plan) if found else prepared.plan
        report(prepared.event(plan))
        from qwen_cli.engines.transformers import load

        with load.quiet():
            network = _network(chosen, prepared, plan)
            state = Loop(
                chosen, _Learner(network, prepared, settings, folder), prepared.steps, folder, report
            ).run()
        result = _result(state, settings, prepared, folder)
        folder.write(ABOUT, _about(result, prepared))
        folder.finish(result.to_json())
        return result


@dataclass(frozen=True)
class _Prepared:
    """All that is known before the model is loaded."""

    weights: Weights
    learned: tuple[Group, ...]
    held: tuple[Group, ...]
    long: int
    steps: tuple[tuple[int, tuple[int, ...]], ...]
    plan: memory.MemoryPlan
    trained: int
    dtype: str
    identity: dict[str, Any]

    def event(self, plan: memory.MemoryPlan) -> RewardPlanned:
        """Return what is told of it."""
        return RewardPlanned(
            problems=len(self.learned),
            sequences=sum(len(group.sequences) for group in self.learned),
            pairs=sum(group.pairs for group in self.learned),
            heldout=len(self.held),
            heldout_pairs=sum(group.pairs for group in self.held),
            long=self.long,
            steps=len(self.steps),
            memory=plan.memory,
            parameters=self.trained,
            checkpointing=plan.recompute,
        )


def _prepare(
    settings: RewardSettings, chosen: TrainSettings, compared: Sequence[Compared], weights: Weights
) -> _Prepared:
    template = _template(weights)
    groups, long = _groups(template, settings, compared)
    if len(groups) < 2:
        raise UsageError(
            f"{len(groups)} of {len(compared):,} problems has right and wrong solutions of at most "
            f"{settings.max_length:,} tokens, two are needed: one to train on and one to measure",
            "raise `max_length`" if long else "draw samples of more problems",
        )
    one = 1 / len(groups)
    learned, held = sequences.parted(groups, min(max(settings.heldout, one), 1 - one), settings.seed)
    alike = [1] * len(learned)
    steps = [
        (epoch, tuple(step))
        for epoch in range(settings.epochs)
        for step in batches.epoch(alike, settings.problems_per_step, settings.seed, epoch)
    ]
    dtype = base.number_format(settings.dtype)
    longest = 1 + max(len(one) for group in groups for one in group.sequences)
    plan, trained = base.fitted(chosen, weights, dtype, longest, head=True)
    mark = hashlib.sha256(json.dumps([one.row() for one in compared]).encode()).hexdigest()
    identity = settings.deciding() | {
        "dtype": dtype,
        "weights": base.weights_digest(weights.path),
        "data": mark,
        "start_from": None,
    }
    return _Prepared(weights, tuple(learned), tuple(held), long, tuple(steps), plan, trained, dtype, identity)


def _groups(
    template: sequences.Template, settings: RewardSettings, compared: Sequence[Compared]
) -> tuple[list[Group], int]:
    """Return the problems that have a right and a wrong solution within the maximum length, and how many
    solutions are longer."""
    import numpy as np

    from qwen_cli.engines.transformers import load

    with load.quiet():
        from qwen_cli.tasks.improve.reward_network import Group

    groups, long = [], 0
    for one in compared:
        whole = _sequences(
            template, one.problem.problem, (*one.right, *one.wrong), settings.mode, settings.name
        )
        kept = [
            (sequence, at < len(one.right))
            for at, sequence in enumerate(whole)
            if len(sequence) <= settings.max_length
        ]
        long += len(whole) - len(kept)
        if len({right for _, right in kept}) == 2:
            groups.append(
                Group(tuple(sequence for sequence, _ in kept), np.array([right for _, right in kept]))
            )
    return groups, long


def _template(weights: Weights) -> sequences.Template:
    from qwen_cli.engines.transformers import load

    return sequences.Template(load.tokenizer(weights.path, trust_remote_code=False), weights.label, "last")


def _sequences(
    template: sequences.Template, problem: str, solutions: Sequence[str], mode: prompts.Mode, name: str
) -> list[Tokens]:
    """Return a problem with each of its solutions, as the model called `name` is asked and answers."""
    asked = asking.asked(problem, mode, name)
    chats = [
        Chat((*asked, {"role": "assistant", "content": solution.strip() or " "}), (), number)
        for number, solution in enumerate(solutions)
    ]
    made = template.prepare(chats, _ANY_LENGTH).sequences
    assert len(made) == len(solutions), "each solution is one turn"
    return list(made)


def _network(chosen: TrainSettings, prepared: _Prepared, plan: memory.MemoryPlan) -> RewardNetwork:
    """Load the model and put adapter and head on it."""
    adapted = base.adapted(chosen, prepared.weights, prepared.dtype)
    return _with_head(adapted, prepared.weights, plan)


def _with_head(adapted: Any, weights: Weights, plan: memory.MemoryPlan) -> RewardNetwork:
    from qwen_cli.tasks.improve import reward_network
    from qwen_cli.tasks.train.compute import Network

    network = Network(adapted, at_once=plan.at_once, recompute=plan.recompute)
    return reward_network.RewardNetwork(network, reward_network.head(base.counts(weights).hidden))


@dataclass(frozen=True)
class _Learner:
    """An adapter and a head that learn which solutions are right."""

    network: RewardNetwork
    prepared: _Prepared
    settings: RewardSettings
    folder: RunFolder

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the adapter's matrices and the head's."""
        return self.network.parameters

    def gradients(self, chosen: Sequence[int]) -> Learned:
        """Add the gradients of the mean loss over these problems."""
        groups = [self.prepared.learned[at] for at in chosen]
        loss = self.network.gradients(groups)
        return Learned(loss, sum(group.tokens for group in groups), sum(group.pairs for group in groups))

    def measure(self) -> Measured:
        """Return the mean loss over the held-out problems, and the share of their pairs in order."""
        import torch

        from qwen_cli.tasks.improve.reward_network import listwise, ordered

        losses, shares = [], []
        for group in self.prepared.held:
            scores, right = self.network.scores(group.sequences), torch.from_numpy(group.right)
            losses.append(float(listwise(scores, right)))
            shares.append(ordered(scores, right))
        return Measured(sum(losses) / len(losses), {"accuracy": sum(shares) / len(shares)})

    def save(self) -> None:
        """Write adapter and head into the folder."""
        self.folder.put_adapter(self._write, (HEAD,))

    def _write(self, place: Path) -> None:
        from safetensors.torch import save_file

        base.save_adapter(self.network.network.adapted, self.prepared.weights.label, place)
        head = {f"score.{name}": tensor for name, tensor in self.network.head.state_dict().items()}
        save_file(head, place / HEAD, {"format": "pt"})


def _result(state: State, settings: RewardSettings, prepared: _Prepared, folder: RunFolder) -> RewardResult:
    assert state.before is not None and state.best_loss is not None, "problems are held out"
    accuracy = state.figures["accuracy"]
    return RewardResult(
        out=folder.path,
        model=settings.name,
        mode=settings.mode,
        problems=len(prepared.learned),
        heldout=len(prepared.held),
        pairs=sum(group.pairs for group in prepared.held),
        accuracy_before=state.figures_before["accuracy"],
        accuracy=accuracy,
        interval=statistics.interval(accuracy * len(prepared.held), len(prepared.held)),
        loss_before=state.before,
        loss=state.best_loss,
        steps=state.step,
        best_step=state.best_step,
        stopped="end" if state.step >= len(prepared.steps) else "patience",
        tokens=state.tokens,
        seconds=round(state.seconds, 1),
    )


def _about(result: RewardResult, prepared: _Prepared) -> dict[str, Any]:
    """Return what `reward.json` says."""
    kept = ("model", "mode", "accuracy_before", "accuracy", "interval", "loss_before", "loss")
    figures = {name: value for name, value in result.to_json().items() if name in kept}
    return {"by": BY, **figures, "heldout": result.heldout, "pairs": result.pairs} | {
        "weights": prepared.identity["weights"]
    }


def about(folder: Path) -> dict[str, Any]:
    """Return what `reward.json` in `folder` says. Raises `UsageError` where it is no reward model, or one
    whose training has not ended."""
    folder = folder.expanduser()
    try:
        said = reading.parsed_json(reading.read(folder / ABOUT, _LARGEST).decode())
        if said["by"] != BY or said["mode"] not in asking.MODES:
            raise ValueError("it is of something else")
        return dict(said) | {"model": str(said["model"]), "weights": str(said["weights"])}
    except FileNotFoundError:
        begun = (folder / "training.json").is_file()
        raise UsageError(
            f"{folder} is no reward model: it has no {ABOUT}",
            f"run `{BY}` again, which ends its training" if begun else f"name a folder that `{BY}` made",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise UsageError(
            f"{folder / ABOUT} is no description of a reward model: {fault}",
            f"name a folder that `{BY}` made",
        ) from None


class RewardModel:
    """A reward model that is loaded, for several threads."""

    def __init__(self, folder: Path, model: str) -> None:
        """Load the reward model in `folder` on the weights `model`. Raises `UsageError` for a folder that is
        none or of other weights, `ModelError` where it does not fit into memory: both before anything is
        loaded."""
        folder = folder.expanduser()
        said = check(folder, model)
        weights = base.trainable(model)
        dtype = base.number_format("auto")
        _check_room(weights, dtype)
        self.mode: prompts.Mode = said["mode"]
        self._name = said["model"]
        self._template = _template(weights)
        self._alone = threading.Lock()
        self._network: RewardNetwork | None = _loaded(folder, weights, dtype)

    def scores(self, problem: str, solutions: Sequence[str]) -> list[float]:
        """Return how good each of `solutions` is for `problem`: more is better, and only the differences
        within a problem mean anything."""
        if not solutions:
            return []
        made = _sequences(self._template, problem, solutions, self.mode, self._name)
        with self._alone:
            assert self._network, "it is closed"
            return [float(score) for score in self._network.scores(made)]

    def close(self) -> None:
        """Free the weights."""
        self._network = None

    def __enter__(self) -> RewardModel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check(folder: Path, model: str, mode: str | None = None) -> Mapping[str, Any]:
    """Return what `folder` says of its reward model. Raises `UsageError` where that is none, or one for other
    weights than `model`, or asked in another `mode`."""
    said = about(folder)
    for name in (lora.CONFIG, lora.WEIGHTS, HEAD):
        if not (folder.expanduser() / name).is_file():
            raise UsageError(f"the reward model {folder} has no {name}", f"name a folder that `{BY}` made")
    if mode is not None and said["mode"] != mode:
        raise UsageError(
            f"the reward model {folder} is for solutions of the mode {said['mode']}, here it is {mode}",
            f"use `mode={said['mode']}`, or train one for {mode}",
        )
    if base.weights_digest(base.trainable(model).path) != said["weights"]:
        raise UsageError(
            f"the reward model {folder} was trained on other weights than {model}: on {said['model']}",
            "name the model that it was trained on, or train one for this",
        )
    return said


def _check_room(weights: Weights, dtype: str) -> None:
    """Raise `ModelError` where the weights do not fit into free memory."""
    import torch

    from qwen_cli.engines.transformers import device, load

    needed = base.counts(weights).parameters * base.number_bytes(dtype) + _ROOM
    free = load.free_memory(torch.device(device.best_device(torch)))
    if needed > free:
        raise ModelError(
            f"the reward model on {weights.label} needs {gb(needed)}, {gb(free)} are free",
            "close other programs",
        )


def _loaded(folder: Path, weights: Weights, dtype: str) -> RewardNetwork:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from qwen_cli.engines.transformers import adapters, load

    with load.quiet():
        model = load.model(weights, dtype=dtype).requires_grad_(False)
        adapted = adapters.learning(model, folder)
        network = _with_head(adapted, weights, memory.MemoryPlan(_SCORED_AT_ONCE, False, 0))
    try:
        head = {name.removeprefix("score."): tensor for name, tensor in load_file(folder / HEAD).items()}
        network.head.load_state_dict(head)
    except (SafetensorError, OSError, RuntimeError) as fault:
        raise UsageError(
            f"{folder / HEAD} is no head for {weights.label}: {next(iter(str(fault).splitlines()), '')}",
            f"name a folder that `{BY}` made",
        ) from None
    return network
