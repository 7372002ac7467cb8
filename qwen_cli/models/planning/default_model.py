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
    """Which models that are here suit a task, in the order of which ranking (`ranking.RANKED`), and which one
    is fetched where none does: with `fetches` the best of the ranking that fits this machine, else `fetched`.
    `quick` are, without a GPU, the most parameters (those used for a token) that are quick enough."""

    suits: Callable[[Weights], bool]
    ranking: str
    fetched: str | None = None
    fetches: bool = False
    quick: int | None = None


def _sees(weights: Weights) -> bool:
    return bool(weights.model and "vision" in weights.model.tasks) and (
        weights.mmproj is not None or weights.format == "safetensors"
    )


def _answers(task: str) -> Callable[[Weights], bool]:
    return lambda weights: bool(weights.model and task in weights.model.tasks and not weights.model.base)


# Beyond 4 billion parameters a line of code takes too long to wait for on two CPU cores.
_QUICK = 4_000_000_000
_RULES: dict[Task, _Rule] = {
    "code": _Rule(lambda w: bool(w.model and w.model.fim), "code", "starter", quick=_QUICK),
    # Instructions are for models with a chat template.
    "edit": _Rule(
        lambda w: bool(w.model and w.model.fim and not w.model.base), "code", "starter", quick=_QUICK
    ),
    "math": _Rule(_answers("math"), "math"),
    # The smallest that sees runs anywhere: Apache-2.0, a GGUF of 0.8 GB with its eyes.
    "vision": _Rule(_sees, "vision", "qwen3.5:0.8b", fetches=True),
}


def preferred_format() -> Format:
    """Return "safetensors" where a CUDA or Apple GPU is present, else "gguf". Looks at driver files, imports
    nothing."""
    return "safetensors" if hardware.has_gpu() else "gguf"


def for_task(task: Task) -> str | None:
    """Return the model for a task of its own where none is named: the best here that can do it on this
    machine, else one to fetch; `None` where the usual one will do (`default_model`)."""
    from qwen_cli.models.planning import ranking

    rule = _RULES[task]
    quick = None if hardware.has_gpu() else rule.quick
    here = [
        weights
        for weights in resolve.local()
        if (model := weights.model)
        and rule.suits(weights)
        and (quick is None or (model.active or model.parameters) <= quick)
    ]
    there = machine() if here and quick is None else None  # what is quick enough fits, too
    if best_here := _best_of(here, rule.ranking, there):
        return best_here.label
    if not rule.fetches:
        return rule.fetched
    best = next(ranking.suited(rule.ranking, machine(), preferred_format()), None)
    return best.name if best else rule.fetched


def _best_of(here: list[Weights], task: str, there: Machine | None) -> Weights | None:
    """Return the best of `here`, which suit `task`: of those that run well on the machine `there`, as fast as
    one reads if any does, the first of the ranking; `None` where none runs. Of two as good, base models
    continue a text better. Without a machine all run well."""
    from qwen_cli.models.planning import ranking

    places = {model.name: place for place, model in enumerate(ranking.ordered(task))}

    def place(weights: Weights) -> tuple[int, int, int, bool]:
        model = weights.model
        assert model  # it has suited
        runs = ranking.fits(model, there, weights.format) if there else 0
        own = places.get(model.name.removesuffix("-base"), len(places))
        return runs, own, -model.parameters, not model.base

    best = min(((place(weights), index) for index, weights in enumerate(here)), default=None)
    return here[best[1]] if best and best[0][0] < 3 else None


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
    from qwen_cli.models.planning import ranking

    return ranking.suited("chat", there or machine(), form)


def machine() -> Machine:
    """Return this machine, with what is known of it: finding out what is not known takes half a second."""
    return hardware.this_machine()


def _best_local(prefer: Format) -> Weights | None:
    """Return the best suited chat model that is here, of any generation and from anybody, in either form;
    else the starter."""
    here = []
    if any("/" in name for name in store.repositories()):
        here = [weights for weights in resolve.local() if _answers("chat")(weights)]
    others = [weights for weights in here if weights.label != "starter"]
    order: tuple[Format, ...] = ("gguf",) if prefer == "gguf" else ("safetensors", "gguf")
    for form in order:
        if best := _best_suited([weights for weights in others if weights.format == form]):
            return best
    carried = lookup.find("starter")
    return resolve.find_local(carried, prefer) or resolve.find_local(carried, "gguf")


def _best_suited(here: list[Weights]) -> Weights | None:
    """Return the first of the ranking among the chat models `here` that fit this machine well at a bearable
    speed, in the file type that is usual for it."""
    from qwen_cli.models.planning import ranking

    if not here:
        return None
    there = machine()
    for model in ranking.ordered("chat"):
        same = [weights for weights in here if weights.model == model]
        if same and ranking.fits(model, there, same[0].format) == 0:
            return min(same, key=lambda weights: weights.quant not in (model.quant, None))
    return None
