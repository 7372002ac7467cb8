"""Why something was chosen, in words: a form for a model, a model for a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qwen_cli.models.planning.hardware import Machine


class Chosen(Protocol):
    """What is read of a plan: see `plan.Plan`."""

    @property
    def name(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def fit(self) -> str: ...
    @property
    def memory(self) -> int: ...
    @property
    def n_cpu_moe(self) -> int: ...
    @property
    def speed(self) -> float | None: ...
    @property
    def bearable(self) -> bool: ...


def of_form(plan: Chosen, machine: Machine, *, free: bool) -> str:
    """Return why a model comes in the form of `plan` on `machine`. `free` says that there was a choice."""
    if not free:
        return "its files are in this form"
    if not machine.gpus:
        return "without a GPU llama.cpp is the fastest" if _is_gguf(plan) else "no GGUF of it is published"
    gpus, able = _named(machine), machine.gpu_engines
    if plan.engine not in able:
        if not able:
            return f"nothing that is installed computes on {gpus}"
        if _is_gguf(plan):
            return f"PyTorch alone computes on {gpus}, where it would not fit or be slower"
        return f"no GGUF of it is published, which llama.cpp would run on {gpus}"
    if _is_gguf(plan):
        where = f"llama.cpp computes on {gpus}"
        if plan.n_cpu_moe:
            return f"{where}, with experts of {plan.n_cpu_moe} layers in main memory"
        if machine.unified:
            return where
        if plan.fit == "spills":
            return f"{where}, and on the processor what that does not hold"
        return f"{where}, which holds all of it"
    alone = "PyTorch computes on" if "llamacpp" in able else "PyTorch alone computes on"
    if plan.fit == "spills":
        return f"{alone} {gpus}, which holds a part of it"
    return f"{alone} {gpus}, which holds {'it in four bits' if plan.form == '4bit' else 'all of it'}"


def of_model(better: Sequence[Chosen]) -> str:
    """Return why a model is the best for a task: what is wrong with the smallest of those that are
    `better`."""
    if not better:
        return "the best that there is"
    next_one = min(better, key=lambda plan: plan.memory)
    faults = {"no": ["does not fit"], "spills": ["fits in parts alone"], "tight": ["leaves little memory"]}
    fault = faults.get(next_one.fit, [])
    if next_one.speed and not next_one.bearable:
        fault = [*fault, f"writes {next_one.speed:.1f} tokens/s"]
    return f"{next_one.name} is better, but {' and '.join(fault) or 'its speed is not known'}"


def _is_gguf(plan: Chosen) -> bool:
    return plan.engine == "llamacpp"


def _named(machine: Machine) -> str:
    """Return the GPUs by their names: "2 × RTX 4090"."""
    names = [gpu.name for gpu in machine.gpus]
    return " and ".join(
        name if names.count(name) == 1 else f"{names.count(name)} × {name}" for name in dict.fromkeys(names)
    )
