"""Checkpoints of layers that cannot go back: linear attention has one running state for the whole text, and a
sliding window has forgotten what came before it. Imports transformers at the top, as `kv_layer` does.

A copy of their states where a later prompt may part from this one (the end of a turn, the beginning of an
answer) lets that prompt begin there; the keys and values of full attention are cut to that length as ever.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.cache_utils import LinearAttentionLayer

from qwen_cli.engines.transformers.kv_layer import GrowingLayer
from qwen_cli.models.formats import parameters

if TYPE_CHECKING:
    import torch

# Tokens after which a long text gets a checkpoint of its own. Copying a state takes as long as a few tokens.
STRIDE = 2_048
# Checkpoints closer than this are as good as one: so many tokens are computed as quickly as one.
_NEAR = 8


@dataclass(frozen=True)
class Checkpoint:
    """The states after the first `length` tokens: a copy of each such layer in main memory, by its number."""

    length: int
    layers: Mapping[int, Any]

    @property
    def size(self) -> int:
        """Return the bytes of all states."""
        return sum(tensor.nbytes for layer in self.layers.values() for tensor in tensors(layer).values())


class Checkpoints:
    """The checkpoints of one KV cache, by length. `models.formats.parameters` says what they may take."""

    def __init__(self) -> None:
        self.kept: list[Checkpoint] = []

    @property
    def last(self) -> int:
        """Return the length of the longest, in tokens; 0 without any."""
        return self.kept[-1].length if self.kept else 0

    def is_due(self, length: int) -> bool:
        """Return whether a text of `length` tokens has gone on for long without a checkpoint."""
        return length - self.last >= STRIDE

    def take(self, length: int, layers: Sequence[Any]) -> None:
        """Keep the states of `layers`, which are those after `length` tokens, and let others go if they are
        too many."""
        if length <= self.last:
            return
        states = {number: moved(layer, "cpu") for number, layer in enumerate(layers) if not goes_back(layer)}
        self.kept.append(Checkpoint(length, states))
        while len(self.kept) > parameters.checkpoints(self.kept[-1].size):
            del self.kept[_least_useful([one.length for one in self.kept])]

    def restore(self, length: int, layers: list[Any], devices: Sequence[Any]) -> int:
        """Put the latest states of at most `length` tokens into `layers`, which compute on `devices`: of how
        many they are. 0 where there are none: nothing has changed then. Later ones are dropped."""
        self.kept = [one for one in self.kept if one.length <= length]
        if not self.kept:
            return 0
        states = {number: moved(one, devices[number]) for number, one in self.kept[-1].layers.items()}
        for number, layer in states.items():  # all at once: Ctrl-C may come between copies
            layers[number] = layer
        return self.last

    def clear(self) -> None:
        """Forget all."""
        self.kept = []


def goes_back(layer: Any) -> bool:
    """Return whether a layer of a growing cache keeps every token by itself."""
    return isinstance(layer, GrowingLayer)


def is_linear(layer: Any) -> bool:
    """Return whether a layer keeps the states of linear attention and nothing else."""
    return type(layer) is LinearAttentionLayer


def rebuilt(like: Any, states: Mapping[str, torch.Tensor]) -> Any:
    """Return the record of a linear layer, as empty as `like`, with these `tensors` in it."""
    layer = type(like)(number_of_states=like.number_of_states)
    for number in range(like.number_of_states):
        for kind in ("conv_states", "recurrent_states"):
            layer.lazy_initialization(**{kind: states[f"{kind}.{number}"]}, state_idx=number)
            getattr(layer, kind)[number].copy_(states[f"{kind}.{number}"])
        layer.has_previous_state[number] = True
    return layer


def parting_points(
    prompt: Sequence[int], start: int, opens: int | None, shown: int | None, common: int = 0
) -> list[int]:
    """Return the lengths of `prompt` after `start` at which a later one is likely to part from it: behind its
    first message (the system prompt), before its last two, of which one is the answer to be written, and
    behind its last picture.

    `opens` is the token that begins a message, `shown` the one that ends a picture. A raw text is likely to
    be asked for once more, whole. Where it parted from the one before, after `common` tokens, others of a
    batch may, or the next edit.
    """
    messages = [at for at, token in enumerate(prompt) if token == opens]
    likely = (*messages[1:2], *messages[-2:])
    points = [at for at in (*likely, common) if at in messages[-1:] or at - start >= _NEAR]
    pictures = [at + 1 for at in range(start, len(prompt)) if prompt[at] == shown]
    points += pictures[-1:]
    if not messages or messages[-1] < start:
        points.append(len(prompt) - 1)
    return sorted({point for point in points if start < point < len(prompt)})


def moved(layer: Any, device: Any) -> Any:
    """Return a copy of a layer's record with its tensors on `device`."""
    import torch

    def one(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device, copy=True)
        return {key: one(each) for key, each in value.items()} if isinstance(value, dict) else value

    other = copy.copy(layer)
    with torch.inference_mode():  # where they were made
        for name, value in vars(layer).items():
            setattr(other, name, one(value))
    return other


def tensors(layer: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a layer's record, by where they are in it."""
    import torch

    flat: dict[str, Any] = {}
    for name, value in vars(layer).items():
        flat |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return {name: value for name, value in flat.items() if isinstance(value, torch.Tensor)}


def _least_useful(lengths: Sequence[int]) -> int:
    """Return which of several checkpoints is missed least: without it a text that parts behind it is computed
    from the one before, which weighs less the further back it is. The first, which is behind what all
    conversations begin with, and the latest two, where the last turn is edited or answered anew, stay."""
    newest = lengths[-1]
    return min(
        range(1, len(lengths) - 2),
        key=lambda i: (lengths[i + 1] - lengths[i - 1]) / (newest - lengths[i]),
        default=0,
    )
