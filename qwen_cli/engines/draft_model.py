"""A smaller model of the same family that drafts for a larger one, in the transformers engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from qwen_cli.engines import transformers_load
from qwen_cli.engines.device_map import Places, main_device
from qwen_cli.engines.prefix_cache import PrefixCache
from qwen_cli.engines.speculation import CPU_COST, GPU_COST, DraftModel
from qwen_cli.errors import EngineError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.speculation import Draft
    from qwen_cli.models.reference import Weights


def chosen(
    draft: Draft, cache: PrefixCache, model: Any, tokenizer: Any, *, label: str, dtype: str
) -> DraftModel | Literal["ngram"] | None:
    """What guesses for `model`, whose `cache` it is. Raises `UsageError` where nothing can."""
    if draft is None or (draft == "auto" and not cache.croppable):
        return None
    if not cache.croppable:
        raise UsageError(
            f"{label} takes no drafts: its linear attention cannot take a wrong token back",
            "Leave --draft out",
        )
    if draft == "auto" or draft == "ngram":
        return "ngram"
    return load(draft, model, tokenizer, label=label, dtype=dtype)


def load(weights: Weights, target: Any, tokenizer: Any, *, label: str, dtype: str) -> DraftModel:
    """The model of `weights`, to draft for `target` with its `tokenizer`, which errors call `label`.

    Raises `EngineError` where the two do not write text in the same tokens, or where the smaller one cannot
    take back what was wrong.
    """
    own = transformers_load.tokenizer(weights.path, trust_remote_code=False)
    if strange := _different(own, tokenizer):
        raise EngineError(
            f"{weights.label} cannot draft for {label}: their tokens differ ({strange!r} is not the same)",
            "Take a smaller model of the same generation",
        )
    place = main_device(target)
    model = transformers_load.model(
        weights, dtype=dtype, places=Places({"": place.index if place.index is not None else place.type})
    )
    cache = PrefixCache(model)
    if not cache.croppable:
        raise EngineError(
            f"{weights.label} cannot draft: its linear attention cannot take a wrong token back",
            "Take a model of Qwen2.5 or Qwen3, or --draft ngram",
        )
    share = _size(model) / _size(target)
    return DraftModel(
        cache,
        model.get_input_embeddings().weight.shape[0],
        (CPU_COST if place.type == "cpu" else GPU_COST) + share,
    )


def _different(own: Any, tokenizer: Any) -> str | None:
    """An ordinary token that only one of the two has, or that has another number. Control tokens may differ
    from one generation to the next: a wrong one is a wrong guess and no more."""
    ours, theirs = own.get_vocab(), tokenizer.get_vocab()
    added = {str(t) for each in (own, tokenizer) for t in each.added_tokens_decoder.values()}
    return min((t for t, _ in ours.items() ^ theirs.items() if t not in added), default=None)


def _size(model: Any) -> int:
    """Bytes of the weights, which is what decoding waits for."""
    return sum(p.numel() * p.element_size() for p in model.parameters())
