"""A layer of transformers' KV cache that does not copy itself for every token.

Imports torch at the top, because its class needs it: only the transformers engine may import this, late.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

# Buffers grow by half: at most a third of the memory is spare, and a token is copied three times at most.
GROWTH = 1.5
FIRST = 256  # tokens


class GrowingLayer(DynamicLayer):
    """Keys and values (rows × heads × tokens × size) as windows into buffers with room for more.

    The library's own layer concatenates, which at each token copies all that is cached. What it does with
    `keys` and `values` (crop, repeat, select) works here too: a window that lies no longer in its buffer gets
    a new one.
    """

    keys: torch.Tensor
    values: torch.Tensor
    _buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._buffers is None or not self._fits(self._buffers[0], end):
            room = max(FIRST, int(end * GROWTH))
            self._buffers = _moved(self.keys, key_states, room), _moved(self.values, value_states, room)
        keys, values = self._buffers
        keys[..., start:end, :] = key_states
        values[..., start:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def _fits(self, buffer: torch.Tensor, end: int) -> bool:
        inside = self.keys.numel() == 0 or self.keys.data_ptr() == buffer.data_ptr()
        return inside and buffer.shape[-2] >= end

    def __deepcopy__(self, memo: dict[int, Any]) -> GrowingLayer:
        """Return a copy of what is cached, without the spare room."""
        other = GrowingLayer()
        if self.is_initialized:
            other.lazy_initialization(self.keys, self.values)
            other.keys, other.values = self.keys.clone(), self.values.clone()
        return other


def new_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a model of this configuration: of growing layers where its layers only
    append."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _moved(held: torch.Tensor, like: torch.Tensor, room: int) -> torch.Tensor:
    """Return a buffer for `room` tokens shaped as `like`, beginning with what is `held`."""
    buffer = like.new_empty((*like.shape[:-2], room, like.shape[-1]))
    if held.numel():
        buffer[..., : held.shape[-2], :] = held
    return buffer
