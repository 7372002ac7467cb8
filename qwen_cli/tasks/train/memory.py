"""How much memory a training takes, reckoned before anything is loaded, and what is done where it is
short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qwen_cli.errors import ModelError
from qwen_cli.models.formats.parameters import Counted
from qwen_cli.models.sizes import gb
from qwen_cli.tasks.train.settings import TrainSettings

# Tokens that are computed together at most: more are no faster, and take memory.
_AT_ONCE = {"cpu": 1_024, "cuda": 16_384, "mps": 2_048}
# What a layer keeps of a token for the gradient, in numbers of the model's dtype: so many times its hidden
# size, and its intermediate size. Fitted to the starter in bfloat16, 512 tokens together: estimated 3.5 GB,
# measured 3.2; with activations computed again 2.4 and 2.3.
_OF_HIDDEN, _OF_INTERMEDIATE = 10, 8
_LIBRARIES = 400 << 20  # torch, transformers and peft, resident
_SHARE = 0.9  # of the free memory: allocators keep some, and other programs go on


@dataclass(frozen=True)
class MemoryPlan:
    """`at_once` tokens are computed together; `recompute` says that activations are computed again for the
    gradient; `memory` is the estimate in bytes."""

    at_once: int
    recompute: bool
    memory: int


@dataclass(frozen=True)
class Demand:
    """What memory goes to: the model's `weights` in bytes, `value_bytes` of each of its numbers, `trained`
    parameters, tokens of the `longest` sequence, bytes of the `logits` that are computed together."""

    counted: Counted
    weights: int
    value_bytes: int
    trained: int
    longest: int
    logits: int

    def memory(self, tokens: int, *, recompute: bool) -> int:
        """Return the bytes while `tokens` are computed together."""
        c = self.counted
        layer = self.value_bytes * (_OF_HIDDEN * c.hidden + _OF_INTERMEDIATE * c.intermediate)
        kept = self.value_bytes * c.layers * c.hidden + layer if recompute else c.layers * layer
        # Libraries reorder the output layer for a product, once for the loss and once for its gradient.
        output = 2 * self.value_bytes * c.vocabulary * c.hidden + 3 * self.logits
        # Weights, gradients and AdamW's two moments, all in float32.
        return self.weights + 16 * self.trained + kept * tokens + output + _LIBRARIES


def planned(demand: Demand, settings: TrainSettings, free: int, device: str, label: str) -> MemoryPlan:
    """Return how to train within `free` bytes, the fastest way that fits. Raises `ModelError` where none
    does."""
    plans = list(_ways(demand, settings, device))
    for plan in plans:
        if plan.memory <= free * _SHARE:
            return plan
    least = min(plans, key=lambda plan: plan.memory)
    raise ModelError(
        f"training {label} needs {gb(least.memory)} with sequences of {demand.longest:,} tokens,"
        f" {gb(free)} are free",
        _remedy(demand, settings, free),
    )


def _ways(demand: Demand, settings: TrainSettings, device: str) -> Iterator[MemoryPlan]:
    usual = max(demand.longest, min(settings.tokens_per_step, _AT_ONCE.get(device, 1_024)))
    for recompute in (False, True):
        if settings.checkpointing == ("off" if recompute else "on"):
            continue
        for at_once in dict.fromkeys((usual, demand.longest)):
            yield MemoryPlan(at_once, recompute, demand.memory(at_once, recompute=recompute))


def _remedy(demand: Demand, settings: TrainSettings, free: int) -> str:
    shortest = 64
    if settings.checkpointing == "off" and demand.memory(demand.longest, recompute=True) <= free * _SHARE:
        return "use `checkpointing=auto`, which computes activations twice to save memory"
    length = demand.longest // 2
    while length >= shortest:
        if demand.memory(length, recompute=settings.checkpointing != "off") <= free * _SHARE:
            return f"use `max_length={length}`, or close other programs"
        length //= 2
    if demand.value_bytes > 2:
        return "use `dtype=bf16`, or choose a smaller model"
    return "close other programs, or choose a smaller model"
