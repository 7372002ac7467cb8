"""Contexts longer than a model was trained for: YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071) and
dual chunk attention (An et al. 2024, https://arxiv.org/abs/2402.17463).

YaRN's scaling is the same for every length of text, and costs a little quality on short ones: so it is used
only when asked for, and no stronger than the length needs (model cards of Qwen2.5, Qwen3 and Qwen3-VL). Dual
chunk attention changes nothing up to the length of a chunk; models whose files ask for it have it by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from qwen_cli.errors import UsageError
from qwen_cli.models.formats import dual_chunk

if TYPE_CHECKING:
    from qwen_cli.models.formats.architecture import Architecture

Scaling: TypeAlias = Literal["none", "yarn", "dca"]

# The cards validate four times the length: 32,768 to 131,072 (Qwen2.5, Qwen3), 262,144 to 1,010,000 (2507).
FURTHEST = 4.0
# Qwen3-VL's card: 3 for a million tokens, because interleaved M-RoPE positions grow slower than the text.
_FURTHEST_FACTOR = {"qwen3vl": 3.0, "qwen3vlmoe": 3.0}
# What these were trained at; their config.json says more, because it counts the answer in (Qwen3's cards:
# 32,768 of 40,960) or what YaRN would reach (Qwen2.5-VL's: 32,768 of 128,000).
_TRAINED = {40_960: 32_768, 128_000: 32_768}
# Tokens; nobody wants one so short, and of fewer there is no half to compare `local` with.
LEAST_CHUNK = 16
# "A significant impact on the performance of temporal and spatial localization tasks, not recommended."
_HARMED = ("qwen2vl", "qwen25vl")
# Ordinary positions in every layer: no parts for height and width, no layers that keep a running state.
_CHUNKED = ("qwen2", "qwen2moe", "qwen3", "qwen3moe")


def checked(name: str | None, chunk: int | None = None) -> Scaling | None:
    """Return `name` if it is a way of scaling, which takes chunks where `chunk` is given. Raises
    `UsageError`."""
    if name not in (None, *get_args(Scaling)):
        raise UsageError(f"`rope_scaling` cannot be {name!r}", f"choose {', '.join(get_args(Scaling))}")
    if chunk is not None and name != "dca":
        raise UsageError("`dca_chunk` is for dual chunk attention", "add `rope_scaling=dca`")
    return cast("Scaling | None", name)


def extended(
    shape: Architecture,
    scaling: Scaling | None,
    context: int | None,
    label: str,
    chunk: int | None = None,
) -> Architecture:
    """Return `shape` with the window, `rope_scaling` and `dual_chunk` that `scaling` gives it for `context`
    tokens.

    "none" takes back what the files scale by; `None` leaves the model as it is, and so does "yarn" where
    `context` is no longer than what it was trained for. "dca" cuts texts into chunks of `chunk` tokens
    (`None`: those that the files say, else what it was trained for). Raises `UsageError` where `context` is
    missing or too long, and for a model that cannot be scaled so.
    """
    checked(scaling, chunk)
    if scaling is None:
        return shape
    trained = _length(shape)
    if scaling == "none":
        if not (shape.rope_scaling or {}).get("factor") and not shape.dual_chunk:
            return shape
        return replace(shape, context=trained or None, rope_scaling=None, dual_chunk=None)
    if scaling == "dca":
        return _chunked(shape, trained, context, label, chunk)
    context = reach(trained, context, label)
    trained = _TRAINED.get(trained, trained)
    if context <= trained:
        return replace(shape, context=trained, dual_chunk=None) if shape.dual_chunk else shape
    factor = min(context / trained, _FURTHEST_FACTOR.get(_family(shape), FURTHEST))
    scaled_by = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": trained}
    return replace(shape, context=context, rope_scaling=scaled_by, dual_chunk=None)


def _length(shape: Architecture) -> int:
    """Return the length that the files of `shape` give as trained, 0 where they do not."""
    own = shape.rope_scaling or {}
    if own.get("original_max_position_embeddings"):
        return int(own["original_max_position_embeddings"])
    window = shape.context or 0
    return min(window, shape.dual_chunk.original) if shape.dual_chunk else window


def _chunked(
    shape: Architecture, trained: int, context: int | None, label: str, chunk: int | None
) -> Architecture:
    """Return `shape` with dual chunk attention, where `context` is longer than a chunk."""
    check_chunked(shape.model_type, label)
    trained = _TRAINED.get(trained, trained)
    if chunk is not None and not LEAST_CHUNK <= chunk <= trained:
        raise UsageError(
            f"`dca_chunk` must be {LEAST_CHUNK} to {trained}, what {label} was trained for, got {chunk}"
        )
    own = shape.dual_chunk
    chunks = own if own and chunk is None else dual_chunk.of_length(trained, chunk)
    window = context or (own and own.reach) or int(trained * FURTHEST)
    if window <= chunks.size:
        return replace(shape, context=trained, rope_scaling=None, dual_chunk=None)
    return replace(shape, context=window, rope_scaling=None, dual_chunk=chunks)


def check_chunked(model_type: str, label: str) -> None:
    """Raise `UsageError` for a model that dual chunk attention is not for."""
    if model_type.replace("_", "") not in _CHUNKED:
        raise UsageError(
            f"dual chunk attention is for Qwen2, Qwen2.5 and Qwen3, {label} is {model_type}",
            "use `rope_scaling=yarn`",
        )


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
