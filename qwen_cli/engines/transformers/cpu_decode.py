"""Computing one token at a time on a processor: two things that torch does slowly there, done otherwise.

On a Zen 4 core with the starter in bfloat16 and 2,000 tokens of context (torch 2.14, transformers 5.24,
`benchmarks/plan.py`) a token took 197 ms, of which products with weights were 110 and attention 72. It takes
70 so.

Imports torch at the top as `growing_layer` does: only the transformers engine may import this, late.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward


def register() -> None:
    """Register `attention` for models of the library whose attention is "sdpa"."""
    AttentionInterface.register("sdpa", attention)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention as the library does, but faster for one token on a processor (rows × heads × 1 ×
    size).

    There torch goes through keys and values once for each head, and turns bfloat16 into float32 each time.
    With the heads that share keys as if they were places in the text it does so once for all of them.
    """
    rows, heads, places, size = query.shape
    groups = heads // key.shape[1]
    plain = attention_mask is None and not given.get("softcap") and given.get("position_bias") is None
    if not plain or places > 1 or groups == 1 or query.device.type != "cpu" or torch.compiler.is_compiling():
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **given)
    together = query.reshape(rows, key.shape[1], groups, size)
    attended = torch.nn.functional.scaled_dot_product_attention(together, key, value, scale=scaling)
    return attended.reshape(rows, 1, heads, value.shape[-1]), None


@contextmanager
def products(model: Any, tokens: torch.Tensor) -> Iterator[None]:
    """Multiply weights with the `tokens` (rows × tokens) of a step in the quickest way while this lasts.

    oneDNN, which torch takes for bfloat16 on processors with AVX-512, has no product of a matrix and a
    vector, torch has: twice as fast (20 GB/s of weights against 9 on that core). From two tokens on, and for
    integers, oneDNN is the faster one.
    """
    alone = tokens.numel() == 1 and tokens.device.type == "cpu" and model.dtype == torch.bfloat16
    if not alone or not torch.backends.mkldnn.is_available() or _integers(model):
        yield
        return
    _without_onednn.begin()
    try:
        yield
    finally:
        _without_onednn.end()


class _WithoutOnednn:
    """Switches oneDNN off while any thread is within: the switch is one for the whole process, and a thread
    that puts it back as it found it may have found it off."""

    def __init__(self) -> None:
        self._lock, self._within, self._before = threading.Lock(), 0, True

    def begin(self) -> None:
        with self._lock:
            if not self._within:
                self._before, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False
            self._within += 1

    def end(self) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                torch.backends.mkldnn.enabled = self._before


_without_onednn = _WithoutOnednn()


def _integers(model: Any) -> bool:
    """Return whether the weights are quantized, but for the four bits of bitsandbytes, which has a product of
    its own for those."""
    quantizer = getattr(model, "hf_quantizer", None)
    return quantizer is not None and not getattr(quantizer.quantization_config, "load_in_4bit", False)
