"""What runs a model: the interface of back ends, of those built in and of those that other packages offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import Hooks, LoadOptions, torch_dtype
from qwen_cli.settings import ENGINES

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.models.hub.resolve import Format, Weights
    from qwen_cli.models.planning.plan import Plan

GROUP = ENGINES
"""The group of entry points that offer back ends: each names one, or a class that is called for it."""


class BackEnd(Protocol):
    """Loads models. `name` is what `engine` calls it, `format` the form of weights that it takes (`None`: it
    finds the model itself, as on a server)."""

    @property
    def name(self) -> str: ...

    @property
    def format(self) -> Format | None: ...

    def accepts(self, options: LoadOptions) -> bool:
        """Return whether it can load what is asked for, and takes it where `options.engine` is "auto". Raises
        `UsageError` for a value that makes no sense, before anything is fetched."""
        ...

    def load(self, weights: Weights | None, options: LoadOptions, hooks: Hooks) -> Engine:
        """Load `weights` (`None` with a `format` of `None`). Raises `QwenError`s."""
        ...


def drafter(weights: Weights, options: LoadOptions, hooks: Hooks) -> Draft:
    """Return what drafts tokens for `weights`. A smaller model's weights are needed in the form of the
    large. Raises `ModelError`, and `UsageError` where the model's own block is to draft and there is none."""
    from qwen_cli.errors import ModelError

    if options.draft == "off":
        return None
    if options.draft == "mtp":
        _check_block(weights)
    if options.draft == "auto" or options.draft == "ngram" or options.draft == "mtp":
        return options.draft  # type: ignore[return-value]  # mypy narrows no words of a `str`
    from qwen_cli.models.hub import resolve

    try:
        return resolve.resolve(options.draft, prefer=weights.format, strict=True, progress=hooks.progress)
    except ModelError as fault:
        raise ModelError(
            f"`draft={options.draft}`: {fault.message}", "Name a model that is here, or ngram"
        ) from None


def _check_block(weights: Weights) -> None:
    """Raise `UsageError` where `weights` have no block that drafts, or the engine of their form runs none."""
    from qwen_cli.errors import UsageError

    if weights.format != "gguf":  # transformers drops `mtp.*` of Qwen's checkpoints while it loads them
        raise UsageError(
            "`draft=mtp`: transformers does not run the block that drafts",
            "take a GGUF file that has it, with `engine=llamacpp`, or leave `draft` out",
        )
    if not weights.architecture.draft_layers:
        raise UsageError(
            f"`draft=mtp`: {weights.label} has no block that drafts",
            "take a GGUF file that has it (of most the name says MTP), or `draft=ngram`",
        )


def tell_of_scaling(weights: Weights, options: LoadOptions, hooks: Hooks) -> None:
    """Say where stretching its window harms a model of this family."""
    from qwen_cli.engines.core import rope

    if options.rope_scaling and (
        harm := rope.notice(weights.architecture, options.rope_scaling, weights.label)
    ):
        hooks.notice(harm)


def check_room(weights: Weights, options: LoadOptions, hooks: Hooks) -> Plan | None:
    """Return the plan for `weights`, `None` where they are small or it was said what goes where. Say where
    memory will be short. Raises `ModelError` where they cannot fit."""
    if options.placed:
        return None
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning import fit

    name = torch_dtype(options.dtype)
    number = None if name == "auto" else weight_formats.parse(name)
    bits = None if options.bits == "none" or weights.format == "gguf" else options.bits
    form, rest = bits or number, number or "bf16"
    wanted = {"context": options.context, "kv": options.kv, "n_cpu_moe": options.n_cpu_moe}
    scaled = options.rope_scaling in ("yarn", "dca")
    plan, remark = fit.before_load(weights, form=form, rest=rest, scaled=scaled, **wanted)
    if remark:
        hooks.notice(remark)
    return plan
