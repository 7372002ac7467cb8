"""Which model suits this machine when none is named: the plan's choice (`models.plan`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwen_cli.models import progress
from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub import resolve, sources, starter, store
from qwen_cli.models.hub.resolve import FORMATS, Format, Weights
from qwen_cli.models.planning import gpus, hardware
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


def preferred_format(name: str | None = None) -> Format:
    """Return the form of weights in which the model called `name` runs best here: what is planned for one of
    the catalog, else "safetensors" where transformers alone computes on the GPU. Without a GPU it is "gguf",
    and nothing is looked at but driver files."""
    if not gpus.has_gpu():
        return "gguf"
    there = machine()
    if model := lookup.find(name) if name else None:
        here = [form for form in FORMATS if resolve.find_local(model, form)]
        return _format_for(model, there, here or FORMATS)
    engines = there.gpu_engines if there.gpus else ()
    return "safetensors" if "transformers" in engines and "llamacpp" not in engines else "gguf"


def quantization(weights: Weights, context: int | None = None) -> str | None:
    """Return "4bit" where weights as they were published, of a model of the catalog, are quantized as they
    are loaded so that a GPU on which transformers computes holds them; else `None`."""
    if not weights.model or weights.format != "safetensors" or not gpus.has_gpu():
        return None
    there = machine()
    if not there.gpus or "transformers" not in there.gpu_engines:
        return None
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning.describe import of_model
    from qwen_cli.models.planning.plan import usual_form

    described = of_model(weights.model)
    only: tuple[Format, ...] = ("safetensors",)
    form = usual_form(described, there, context=context, formats=only)
    return form if form in weight_formats.BITSANDBYTES else None


def _format_for(model: lookup.Model, there: Machine, formats: Collection[Format]) -> Format:
    """Return that of `formats` in which `model` runs best on the machine `there`."""
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning.describe import of_model
    from qwen_cli.models.planning.plan import usual_form

    form = usual_form(of_model(model), there, formats=formats)
    return "gguf" if weight_formats.engine_of(form) == "llamacpp" else "safetensors"


def for_task(task: Task) -> str | None:
    """Return the model for a task of its own where none is named: the best here that can do it on this
    machine, else one to fetch; `None` where the usual one will do (`default_model`)."""
    from qwen_cli.models.planning import ranking

    rule = _RULES[task]
    quick = None if gpus.has_gpu() and machine().gpu_engines else rule.quick
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
    best = next(ranking.suited(rule.ranking, machine()), None)
    return best.name if best else rule.fetched


def _not_wasted(here: list[Weights], there: Machine) -> list[Weights]:
    """Return those of `here` that leave no GPU unused which llama.cpp computes on; all where each does."""
    return [
        weights
        for weights in here
        if not there.wasted_by("llamacpp" if weights.format == "gguf" else "transformers")
    ] or here


def _best_of(here: list[Weights], task: str, there: Machine | None) -> Weights | None:
    """Return the best of `here`, which suit `task`: of those that run well on the machine `there`, as fast as
    one reads if any does, the first of the ranking; `None` where none runs. Of two as good, base models
    continue a text better. Without a machine all run well."""
    from qwen_cli.models.planning import ranking

    here = _not_wasted(here, there) if there else here
    places = {model.name: place for place, model in enumerate(ranking.ordered(task))}

    def place(weights: Weights) -> tuple[int, int, int, bool]:
        model = weights.model
        assert model  # it has suited
        runs = ranking.fits(model, there, (weights.format,)) if there else 0
        own = places.get(model.name.removesuffix("-base"), len(places))
        return runs, own, -model.parameters, not model.base

    best = min(((place(weights), index) for index, weights in enumerate(here)), default=None)
    return here[best[1]] if best and best[0][0] < 3 else None


def default_model(
    *,
    prefer: Format | None = None,
    progress: progress.Progress | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Weights:
    """Return the best chat model for this machine in the form `prefer`, or in what suits it, preferring one
    that is here; no network is asked then.

    With none here the machine's best is fetched, after `notice` has said so; where no source of models can
    be reached, the starter model is used. Raises `DownloadError`.
    """
    formats: Sequence[Format] = (prefer,) if prefer else FORMATS
    if here := best_local(formats):
        return here
    # Half a second for the memory's speed is nothing beside fetching gigabytes of what does not suit it.
    there = machine()
    model = next(suited_models(formats, there), None) if sources.hub_reachable() else None
    if model:
        form = _format_for(model, there, formats)
        from qwen_cli.models.catalog import published  # not on the way to a model that is here

        size = published.download_bytes(model, form) / 1e9
        by = f", made by {model.community}" if form == "gguf" and model.community else ""
        notice(f"fetching {model.name} ({size:.1f} GB{by}), the best fit for this machine")
        return resolve.resolve(model.name, prefer=form, progress=progress)
    notice(f"hub not reachable, using the starter model ({starter.LABEL}, {starter.SIZE // 10**6} MB)")
    starter.fetch(progress)
    return resolve.resolve("starter", prefer=prefer or "gguf")


def suited_models(
    formats: Sequence[Format] = FORMATS, there: Machine | None = None
) -> Iterator[lookup.Model]:
    """Chat models that are published in one of `formats` and that fit this machine well at a bearable speed,
    best first. `there` is another machine."""
    from qwen_cli.models.planning import ranking

    return ranking.suited("chat", there or machine(), formats)


def machine() -> Machine:
    """Return this machine, with what is known of it: finding out what is not known takes half a second."""
    return hardware.this_machine()


def best_local(formats: Sequence[Format]) -> Weights | None:
    """Return the best suited chat model that is here in one of `formats`, of any generation and from anybody;
    else the starter."""
    here = []
    if any("/" in name for name in store.repositories()):
        here = [weights for weights in resolve.local() if _answers("chat")(weights)]
    others = [weights for weights in here if weights.label != "starter" and weights.format in formats]
    if best := _best_suited(others):
        return best
    carried = lookup.find("starter")
    return next((found for form in formats if (found := resolve.find_local(carried, form))), None) or (
        resolve.find_local(carried, "gguf")
    )


def _best_suited(here: list[Weights]) -> Weights | None:
    """Return the first of the ranking among the chat models `here` that fit this machine well at a bearable
    speed, in the form that suits it and the file type that is usual for it."""
    from qwen_cli.models.planning import ranking

    if not here:
        return None
    there = machine()
    here = _not_wasted(here, there)
    for model in ranking.ordered("chat"):
        same = [weights for weights in here if weights.model == model]
        formats = {weights.format for weights in same}
        if same and ranking.fits(model, there, formats) == 0:
            form = _format_for(model, there, formats)
            same = [weights for weights in same if weights.format == form]
            return min(same, key=lambda weights: weights.quant not in (model.quant, None))
    return None
