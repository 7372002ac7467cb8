"""What a training is told, what it tells while it runs, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qwen_cli.errors import UsageError

# All linear layers of a block, as the QLoRA paper recommends (https://arxiv.org/abs/2305.14314, section 4).
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TURNS = ("all", "last")
CHECKPOINTING = ("auto", "on", "off")


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter is trained. All but `out` and `save_seconds` decide what becomes of it, bit by bit.

    `model` is an alias, a hub id or a folder of safetensors; `out` the folder that the adapter, its log and
    the state of the training are written to: new, empty, or of an earlier run with the same settings, which
    is resumed. `rank`, `alpha`, `dropout` and `targets` (ends of layers' names) are LoRA's own; those of
    `start_from`, an adapter to go on with, replace them. A step takes sequences of `tokens_per_step` tokens
    together; `steps` ends the training before its `epochs` are over. `learning_rate` is reached after
    `warmup`, a share of the steps, and falls to a tenth along half a cosine. Gradients are clipped to the
    norm `clip`. Sequences are cut at `max_length` tokens. `turns` are the assistant's that count: "all" or
    "last". `heldout` is the share of the rows that is not trained on but measured, where no such rows are
    given; that is done `evaluations` times an epoch, and the training stops after `patience` of them without
    a better loss (0: never). `dtype` is that of the model's weights (the adapter's are float32),
    `checkpointing` computes activations twice to save memory ("auto": where it is needed). The state is on
    the disk at least every `save_seconds`.
    """

    model: str
    out: Path
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS
    start_from: Path | None = None
    epochs: int = 2
    steps: int | None = None
    tokens_per_step: int = 2_048
    learning_rate: float = 2e-4
    warmup: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    max_length: int = 2_048
    turns: Literal["all", "last"] = "all"
    heldout: float = 0.1
    evaluations: int = 4
    patience: int = 4
    seed: int = 0
    dtype: str = "auto"
    checkpointing: Literal["auto", "on", "off"] = "auto"
    save_seconds: float = 60.0

    def check(self) -> None:
        """Raise `UsageError` for a value that makes no sense."""
        whole = ("rank", "epochs", "tokens_per_step", "max_length", "evaluations")
        for name in whole:
            if getattr(self, name) < 1:
                raise _unfit(name, getattr(self, name), "1 or more")
        if self.max_length < 8:
            raise _unfit("max_length", self.max_length, "8 tokens or more")
        if self.steps is not None and self.steps < 1:
            raise _unfit("steps", self.steps, "1 or more")
        for name in ("alpha", "learning_rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise _unfit(name, getattr(self, name), "above 0")
        for name in ("dropout", "warmup", "heldout"):
            if not 0 <= getattr(self, name) < 1:
                raise _unfit(name, getattr(self, name), "0 or more and below 1")
        if not 0 <= self.weight_decay < float("inf"):
            raise _unfit("weight_decay", self.weight_decay, "0 or more")
        if self.patience < 0:
            raise _unfit("patience", self.patience, "0 or more")
        for name, known in (("turns", TURNS), ("checkpointing", CHECKPOINTING)):
            if getattr(self, name) not in known:
                raise _unfit(name, getattr(self, name), " or ".join(known))
        if not self.targets or not all(name.strip() for name in self.targets):
            raise _unfit("targets", ",".join(self.targets), "ends of layers' names, such as q_proj,v_proj")

    def deciding(self) -> dict[str, Any]:
        """Return what the result depends on, as JSON has it, but for what files hold: model and adapter."""
        apart = ("model", "out", "save_seconds", "start_from")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        return values | {"targets": list(self.targets)}


@dataclass(frozen=True)
class Planned:
    """What is about to be trained, before the model is loaded.

    `rows` were given, `heldout_rows` of them are measured alone; `sequences` to train on hold `tokens` an
    epoch, of which `counted` are the assistant's; of `split` rows a template that rewrites earlier turns
    makes several sequences. `cut` sequences were longer than the maximum, `left_out` rows had nothing of the
    assistant before it, `repeated` rows are held out too and were left out. `memory` is the estimate in
    bytes, `parameters` what is trained, `at_once` the tokens computed together.
    """

    model: str
    rows: int
    heldout_rows: int
    sequences: int
    tokens: int
    counted: int
    split: int
    cut: int
    left_out: int
    repeated: int
    longest: int
    steps: int
    at_once: int
    memory: int
    parameters: int
    checkpointing: bool


@dataclass(frozen=True)
class Resumed:
    """The training goes on after this `step` of an earlier run."""

    step: int
    steps: int


@dataclass(frozen=True)
class Stepped:
    """One step is done: `loss` is the mean over its counted tokens, in nats; `tokens` were computed in
    `seconds`."""

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    gradient: float
    tokens: int
    counted: int
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """The mean loss (nats a token) over the rows that are held out, after `step`; `best` says that it is the
    lowest so far, which the adapter in the folder has. `figures` are what else was measured, by name."""

    step: int
    loss: float
    best: bool
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)


Event: TypeAlias = "Planned | Resumed | Stepped | Evaluated"
Report: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class TrainResult:
    """An adapter that was trained. `out` is peft's folder; `best_step` the step whose weights it has (the
    last where nothing is held out); losses are means in nats a token, `None` where nothing is held out.
    `stopped` is "end" or "patience"."""

    out: Path
    model: str
    steps: int
    best_step: int
    train_loss: float
    heldout_before: float | None
    heldout_loss: float | None
    stopped: Literal["end", "patience"]
    tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"out": str(self.out)}


def _unfit(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"`{name}={value}` makes no sense", f"it must be {wanted}")
