"""Decoding with torch.compile: a KV cache of fixed size, so that one graph serves every token (on GPUs a CUDA
graph, which is launched as a whole).

Imports torch at the top as `growing_layer` does: only the transformers engine may import this, late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, StaticCache

from qwen_cli.engines.transformers.kv_layer import new_cache
from qwen_cli.errors import UsageError

# Tokens of the smallest cache. Attention reads all of it for every token; each doubling compiles once more.
FIRST = 1024


def check(model: Any) -> None:
    """Raise `UsageError` for a model whose decoding cannot be one graph."""
    places = set((getattr(model, "hf_device_map", None) or {}).values())
    quantizer = getattr(model, "hf_quantizer", None)
    why = None
    if hasattr(model.config, "vision_config"):
        why = "it sees, and places text after a picture from outside the graph"
    elif not all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers):
        why = "its linear attention keeps a state that does not stay in one place"
    elif len(places) > 1 or "disk" in places:
        why = "its layers are on several devices"
    elif quantizer is not None and not quantizer.is_compileable:
        why = "its quantized layers cannot be part of a graph"
    elif model.config._attn_implementation.startswith("flash"):
        why = "FlashAttention takes all of the cache for text, also where it is empty"
    if why:
        raise UsageError(f"this model cannot be compiled: {why}", "leave `compiled` out")


def call(model: Any) -> Callable[..., Any]:
    """Compile `model` for one token at a time. The first call, and the first after the cache has grown,
    compile."""
    mode = "reduce-overhead" if model.device.type == "cuda" else None  # CUDA graphs
    return torch.compile(model.forward, mode=mode, dynamic=False)


def static_cache(config: Any, tokens: int = 0) -> StaticCache:
    """Create an empty cache with room for `tokens`."""
    return StaticCache(config=config, max_cache_len=_size(tokens))


def emptied(cache: StaticCache, tokens: int) -> StaticCache:
    """Return the same cache with nothing in it and room for `tokens`: a graph is bound to where its tensors
    are."""
    with torch.inference_mode():
        for layer in cache.layers:
            layer.reset()
    widen(cache, tokens)
    return cache


def widen(cache: StaticCache, tokens: int) -> None:
    """Make room for `tokens` in every layer, keeping what is there."""
    if cache.layers[0].max_cache_len >= tokens:
        return
    size = _size(tokens)
    with torch.inference_mode():
        for layer in cache.layers:
            layer.max_cache_len = size
            if layer.is_initialized:
                layer.keys, layer.values = _wider(layer.keys, size), _wider(layer.values, size)


def growing(cache: StaticCache, config: Any, tokens: int) -> DynamicCache:
    """Copy the first `tokens` into a cache that grows, for samples decoded together."""
    copied = new_cache(config)
    for i, layer in enumerate(cache.layers):
        copied.update(layer.keys[..., :tokens, :], layer.values[..., :tokens, :], i)
    return copied


def _size(tokens: int) -> int:
    return max(FIRST, 1 << (tokens - 1).bit_length()) if tokens else FIRST


def _wider(held: torch.Tensor, size: int) -> torch.Tensor:
    buffer = held.new_zeros((*held.shape[:-2], size, held.shape[-1]))
    buffer[..., : held.shape[-2], :] = held
    torch._dynamo.mark_static_address(buffer)  # as the library marks its own: CUDA graphs need it
    return buffer
