"""Which model suits this machine when none is named: the plan's choice (`models.plan`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwen_cli.models import progress
from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub import resolve, sources, starter, store
from qwen_cli.models.hub.resolve import Format, Weights
from qwen_cli.models.planning import hardware
from qwen_cli.models.planning.hardware import Machine

Task: TypeAlias = Literal["code", "edit", "math", "vision"]


@dataclass(frozen=True)
class _Rule:
    """Which models that are here suit a task, which one is fetched where none does, and, without a GPU, the
    most parameters (those used for a token) that are quick enough."""

    suits: Callable[[Weights], bool]
    fetched: str | None = None
    quick: int | None = None


def _sees(weights: Weights) -> bool:
    return bool(weights.model and weights.model.vision) and (
        weights.mmproj is not None or weights.format == "safetensors"
    )


# Beyond 4 billion parameters a line of code takes too long to wait for on two CPU cores.
_QUICK = 4_000_000_000
_RULES: dict[Task, _Rule] = {
    "code": _Rule(lambda w: bool(w.model and w.model.fim), "starter", _QUICK),
    # Instructions are for models with a chat template.
    "edit": _Rule(lambda w: bool(w.model and w.model.fim and not w.model.base), "starter", _QUICK),
    "math": _Rule(lambda w: bool(w.model and "math" in w.model.family and not w.model.base)),
    # Where none is here: Apache-2.0, a GGUF of 1.1 GB, any machine.
    "vision": _Rule(_sees, "qwen3-vl:2b-instruct"),
}


def preferred_format() -> Format:
    """Return "safetensors" where a CUDA or Apple GPU is present, else "gguf". Looks at driver files, imports
    nothing."""
    return "safetensors" if hardware.has_gpu() else "gguf"


def for_task(task: Task) -> str | None:
    """Return the model for a task of its own where none is named: the largest here that can do it, else one
    to fetch; `None` where the usual one will do (`default_model`)."""
    rule = _RULES[task]
    quick = None if hardware.has_gpu() else rule.quick
    here = [
        weights
        for weights in resolve.local()
        if (model := weights.model)
        and rule.suits(weights)
        and (quick is None or (model.active or model.parameters) <= quick)
    ]
    best = max(here, key=lambda one: _rank(one.model), default=None)
    return best.label if best else rule.fetched


def _rank(model: lookup.Model | None) -> tuple[int, bool]:
    """Return what a larger model has more of. Of two as large, base models continue a text better."""
    return (model.parameters, model.base) if model else (0, False)


def default_model(
    *,
    prefer: Format = "gguf",
    progress: progress.Progress | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Weights:
    """Return the best chat model for this machine, preferring one that is here; no network is asked then.

    With none here the machine's best is fetched, after `notice` has said so; where no source of models can
    be reached, the starter model is used. Raises `DownloadError`.
    """
    if here := _best_local(prefer):
        return here
    # Half a second for the memory's speed is nothing beside fetching gigabytes of what does not suit it.
    model = next(suited_models(prefer), None) if sources.hub_reachable() else None
    if model:
        form = prefer if prefer == "safetensors" or model.gguf_repo else "safetensors"
        from qwen_cli.models.catalog import published  # not on the way to a model that is here

        size = published.download_bytes(model, form) / 1e9
        by = f", made by {model.community}" if form == "gguf" and model.community else ""
        notice(f"fetching {model.name} ({size:.1f} GB{by}), the best fit for this machine")
        return resolve.resolve(model.name, prefer=form, progress=progress)
    notice(f"hub not reachable, using the starter model ({starter.LABEL}, {starter.SIZE // 10**6} MB)")
    starter.fetch(progress)
    return resolve.resolve("starter", prefer=prefer)


def suited_models(form: Format, there: Machine | None = None) -> Iterator[lookup.Model]:
    """Chat models that are published in this form and that fit this machine well at a bearable speed, best
    first. `there` is another machine."""
    from qwen_cli.models.planning import describe, plan, ranking

    there = there or machine()
    for name in ranking.RANKED["chat"]:
        model = lookup.find(name)
        if model and (form == "safetensors" or model.gguf_repo):
            made = plan.make(describe.of_model(model), there, form=model.quant if form == "gguf" else "bf16")
            if made.fit == "well" and made.bearable:
                yield model


def machine() -> Machine:
    """Return this machine, with what is known of it: finding out what is not known takes half a second."""
    return hardware.this_machine()


def _best_local(prefer: Format) -> Weights | None:
    """Return the best suited model that is here, in either form; else the starter; else any chat model."""
    cached = [name for name in store.repositories() if "/" in name]
    if cached:
        order: tuple[Format, ...] = (prefer, "gguf" if prefer == "safetensors" else "safetensors")
        for form in order if prefer == "safetensors" else order[:1]:
            for model in suited_models(form):
                repo = model.gguf_repo if form == "gguf" else model.repo
                if repo in cached and (here := resolve.find_local(model, form)):
                    return here
    carried = lookup.find("starter")
    return resolve.find_local(carried, prefer) or resolve.find_local(carried, "gguf")
