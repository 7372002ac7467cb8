"""Contexts longer than a model was trained for: YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071).

The scaling is the same for every length of text, and costs a little quality on short ones: so it is used only
when asked for, and no stronger than the length needs (model cards of Qwen2.5, Qwen3 and Qwen3-VL).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.models.formats.architecture import Architecture

Scaling: TypeAlias = Literal["none", "yarn"]

# The cards validate four times the length: 32,768 to 131,072 (Qwen2.5, Qwen3), 262,144 to 1,010,000 (2507).
FURTHEST = 4.0
# Qwen3-VL's card: 3 for a million tokens, because interleaved M-RoPE positions grow slower than the text.
_FURTHEST_FACTOR = {"qwen3vl": 3.0, "qwen3vlmoe": 3.0}
# What these were trained at; their config.json says more, because it counts the answer in (Qwen3's cards:
# 32,768 of 40,960) or what YaRN would reach (Qwen2.5-VL's: 32,768 of 128,000).
_TRAINED = {40_960: 32_768, 128_000: 32_768}
# "A significant impact on the performance of temporal and spatial localization tasks, not recommended."
_HARMED = ("qwen2vl", "qwen25vl")


def checked(name: str | None) -> Scaling | None:
    """Return `name` if it is a way of scaling. Raises `UsageError`."""
    if name not in (None, *get_args(Scaling)):
        raise UsageError(f"`rope_scaling` cannot be {name!r}", f"choose {' or '.join(get_args(Scaling))}")
    return cast("Scaling | None", name)


def extended(shape: Architecture, scaling: Scaling | None, context: int | None, label: str) -> Architecture:
    """Return `shape` with the window and `rope_scaling` that it has with `scaling` for `context` tokens.

    "none" takes back what the files scale by; `None` leaves the model as it is, and so does "yarn" where
    `context` is no longer than what it was trained for. Raises `UsageError` where `context` is missing or too
    long.
    """
    if scaling is None:
        return shape
    own = shape.rope_scaling or {}
    trained = own.get("original_max_position_embeddings") or shape.context or 0
    if scaling == "none":
        return replace(shape, context=trained or None, rope_scaling=None) if own.get("factor") else shape
    context = reach(trained, context, label)
    trained = _TRAINED.get(trained, trained)
    if context <= trained:
        return shape
    factor = min(context / trained, _FURTHEST_FACTOR.get(_family(shape), FURTHEST))
    scaled = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": trained}
    return replace(shape, context=context, rope_scaling=scaled)


def reach(trained: int, context: int | None, label: str) -> int:
    """Return `context` where YaRN takes a model that far; `trained` is the length that its files give. Raises
    `UsageError` where it is missing or too long."""
    trained = _TRAINED.get(trained, trained)
    most = int(trained * FURTHEST)
    if context is None:
        raise UsageError(
            "`rope_scaling=yarn` needs the length that it is for",
            f"add `context`, at most {most} for {label}",
        )
    if context > most:
        raise UsageError(
            f"YaRN takes {label} from {trained:,} tokens to {most:,}, {context:,} were asked for",
            f"use `context={most}` or less",
        )
    return context


def notice(shape: Architecture, scaling: Scaling | None, label: str) -> str | None:
    """Return what to know before a model of this family is scaled."""
    if scaling == "yarn" and _family(shape) in _HARMED:
        return f"YaRN makes {label} worse at saying where things are and when: its card advises against it"
    return None


def hint(trained: int, wanted: int) -> str:
    """Return what to do about a context longer than `trained`."""
    most = int(_TRAINED.get(trained, trained) * FURTHEST)
    if wanted > most:
        return f"use `context={trained}` or less, or up to {most} with `rope_scaling=yarn`"
    return f"use `context={trained}` or less, or add `rope_scaling=yarn`"


def scale(config: Any, shape: Architecture) -> None:
    """Write the scaling of `shape` into `config`, a transformers configuration.

    Some releases take the factor from the two lengths, some from `factor`: all agree after this.
    """
    text = config.get_text_config()
    scaled = shape.rope_scaling or {"rope_type": "default"}
    text.rope_parameters = {**_unscaled(text.rope_parameters), **scaled}
    if "factor" in scaled:
        length = scaled["original_max_position_embeddings"] * scaled["factor"]
    else:
        length = shape.context or text.max_position_embeddings
    text.max_position_embeddings = int(length)


def _unscaled(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the base, and how a vision model shares it out; nothing of another scaling."""
    kept = ("rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved")
    return {name: parameters[name] for name in kept if name in parameters}


def _family(shape: Architecture) -> str:
    return shape.model_type.replace("_", "")
