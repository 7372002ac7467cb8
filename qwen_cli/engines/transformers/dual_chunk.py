"""Dual chunk attention (An et al. 2024, https://arxiv.org/abs/2402.17463): texts longer than a model was
trained for, with no distance between two tokens that it has not seen.

A text is cut after every s = chunk_size − local_size tokens. With c = chunk_size, token i attends

| keys j | rotated by | query rotated by |
|---|---|---|
| of the same chunk, up to i | j mod s | i mod s |
| of the chunk before | j mod s | min(i mod s + s, c) |
| of all older ones | j mod s | c |

in one softmax, as Qwen's code in vLLM 0.10.2 has it (dual_chunk_rope.py; the paper writes c − 1 in the last
row). Keys are rotated by what does not depend on the length of the text, so the cache holds however it goes
on. Scores of a token beyond the length trained at are sharpened (`Chunks.temperature`) by the tokens up to
it: Qwen's code takes the length of the whole prompt, with which a cache would hold for that prompt alone.

The model turns queries and keys by i mod s; here a query is turned on by what is missing. Each part is
computed by torch's fused attention, which gives the logarithm of its sum too, and the parts are joined by
those. No matrix of queries × keys exists; heads that share keys go through them once.

Imports torch at the top as `kv_layer` does: only the transformers engine may import this, late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from qwen_cli.errors import UsageError
from qwen_cli.models.formats import dual_chunk
from qwen_cli.models.formats.dual_chunk import Chunks

NAME = "dual_chunk"
_FIELD = "dual_chunk_attention_config"
# Scores that are held at once where torch has no fused attention (float32): 256 MB.
_SCORES = 1 << 26

Part = tuple[Tensor, Tensor]
"""What was attended (rows × KV heads × queries × size) and the logarithm of the sum of its softmax
(rows × KV heads × queries, float32)."""


def attach(model: Any, chunks: Chunks) -> None:
    """Let `model`, of the library and with ordinary rotary positions, attend by `chunks` from now on. Raises
    `UsageError` where it cannot."""
    text = model.config.get_text_config()
    if set(getattr(text, "layer_types", None) or ("full_attention",)) != {"full_attention"}:
        raise UsageError(
            "dual chunk attention is for models whose layers attend to all of a text",
            "use `rope_scaling=yarn`",
        )
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _padding)
    decoder = model.get_decoder()
    setattr(text, _FIELD, chunks.as_config())
    model.set_attn_implementation(NAME)
    if decoder.config._attn_implementation != NAME:
        raise UsageError("this model takes no attention of another kind", "use `rope_scaling=yarn`")
    decoder.register_forward_pre_hook(_placed, with_kwargs=True)

    def within(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        if "position_ids" in named:
            return given, {**named, "position_ids": named["position_ids"] % chunks.stride}
        states, positions = given
        return (states, positions % chunks.stride), named

    decoder.rotary_emb.register_forward_pre_hook(within, with_kwargs=True)


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """Attend from the last tokens of a text (rows × heads × queries × size) to all of it
    (rows × KV heads × tokens × size): rows × queries × heads × size. `attention_mask` is what `_padding`
    gives."""
    config = module.config
    turns = _Turns(_chunks(config), float(config.rope_parameters["rope_theta"]), query.device)
    scale = given.get("scaling") or query.shape[-1] ** -0.5
    rows, heads, places, _ = query.shape
    if attention_mask is not None and attention_mask.ndim != 1:
        raise ValueError("dual chunk attention takes a mask of rows × tokens")
    before = [0] * rows if attention_mask is None else attention_mask.tolist()
    if len(set(before)) == 1:
        attended = _attend(query, key, value, before[0], turns, scale)
    else:
        each = [
            _attend(query[i : i + 1], key[i : i + 1], value[i : i + 1], skipped, turns, scale)
            for i, skipped in enumerate(before)
        ]
        attended = torch.cat(each)
    return attended.reshape(rows, heads, places, -1).transpose(1, 2).contiguous(), None


class Segment(NamedTuple):
    """Tokens from `first` up to `stop` (without it) that attend alike: `base` is where their chunk begins."""

    first: int
    stop: int
    base: int


def segments(first: int, stop: int, chunks: Chunks) -> Iterator[Segment]:
    """Cut the tokens from `first` up to `stop` where chunks end, and where the one before them and older ones
    are turned alike from."""
    cuts = {first, stop}
    for chunk in range(first // chunks.stride, (stop - 1) // chunks.stride + 1):
        base = chunk * chunks.stride
        cuts |= {cut for cut in (base, base + chunks.local if chunk > 1 else base) if first < cut < stop}
    for begin, end in pairwise(sorted(cuts)):
        yield Segment(begin, end, begin // chunks.stride * chunks.stride)


class _Turns(NamedTuple):
    """By what queries are turned on. `theta` is the base of the model's rotary positions."""

    chunks: Chunks
    theta: float
    device: torch.device

    def inside(self, query: Tensor, at: Segment) -> Tensor:
        return self._turned(query, at, "inside")

    def previous(self, query: Tensor, at: Segment) -> Tensor:
        return self._turned(query, at, "previous")

    def older(self, query: Tensor, at: Segment) -> Tensor:
        return self._turned(query, at, "older")

    def _turned(self, query: Tensor, at: Segment, kind: str) -> Tensor:
        """Turn `query` (… × tokens × size), sharpened."""
        turn = _angles(self.chunks, self.theta, self.device, at, kind, query.shape[-1], query.dtype)
        if turn is None:
            return query
        cos, sin = turn
        left, right = query.to(cos.dtype).chunk(2, -1)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), -1).to(query.dtype)


@lru_cache(maxsize=16)  # all layers turn alike
def _angles(
    chunks: Chunks, theta: float, device: torch.device, at: Segment, kind: str, size: int, dtype: torch.dtype
) -> Part | None:
    """Return cosines and sines (tokens × half a head) for the tokens `at`; `None` where nothing is turned."""
    lengths = range(at.first + 1, at.stop + 1)
    sharp = [chunks.temperature(length) for length in lengths]
    if kind == "inside" and max(sharp) == 1:
        return None
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    within = torch.arange(at.first - at.base, at.stop - at.base, dtype=exact, device=device)
    on = {
        "inside": within * 0,
        "previous": (within + chunks.stride).clamp(max=chunks.size) - within,
        "older": chunks.size - within,
    }[kind]
    halves = torch.arange(0, size, 2, dtype=exact, device=device) / size
    angles = on[:, None] * theta**-halves
    factor = torch.tensor(sharp, dtype=exact, device=device)[:, None]
    return angles.cos() * factor, angles.sin() * factor


def _attend(query: Tensor, key: Tensor, value: Tensor, skipped: int, turns: _Turns, scale: float) -> Tensor:
    """Attend in rows of which the first `skipped` tokens are padding: rows × heads × queries × size."""
    rows, heads, places, _ = query.shape
    key, value = key[:, :, skipped:], value[:, :, skipped:]
    tokens = key.shape[2]
    padded = max(0, places - tokens)  # queries that are padding themselves
    attended = query.new_zeros(rows, heads, places, value.shape[-1])
    start = tokens - (places - padded)
    for at in segments(start, tokens, turns.chunks) if tokens > 0 else ():
        into = slice(padded + at.first - start, padded + at.stop - start)
        attended[:, :, into] = _segment(query[:, :, into], key, value, at, turns, scale)
    return attended


def _segment(query: Tensor, key: Tensor, value: Tensor, at: Segment, turns: _Turns, scale: float) -> Tensor:
    """Attend from the tokens `at` to all before them: rows × heads × tokens × size."""
    rows, heads, places, size = query.shape
    groups = heads // key.shape[1]
    stride, local = turns.chunks.stride, turns.chunks.local

    def full(turned: Tensor, first: int, stop: int) -> Part:
        """Attend to all keys from `first` up to `stop`: heads that share them stand as further places."""
        together = turned.reshape(rows, heads // groups, groups * places, size)
        found, sums = fused(together, key[:, :, first:stop], value[:, :, first:stop], scale)
        return found.reshape(rows, heads, places, -1), sums.reshape(rows, heads, places)

    own = turns.inside(query, at)
    parts: list[Part] = []
    if places == 1:
        parts.append(full(own, at.base, at.stop))
    else:
        last = key[:, :, at.first : at.stop].repeat_interleave(groups, 1)
        given = value[:, :, at.first : at.stop].repeat_interleave(groups, 1)
        parts.append(fused(own, last, given, scale, causal=True))
        if at.base < at.first:
            parts.append(full(own, at.base, at.first))
    if at.base and (at.base == stride or at.first - at.base >= local):
        parts.append(full(turns.previous(query, at), 0, at.base))
    elif at.base:
        parts.append(full(turns.previous(query, at), at.base - stride, at.base))
        parts.append(full(turns.older(query, at), 0, at.base - stride))
    return _joined(parts)


def _joined(parts: list[Part]) -> Tensor:
    """Return what one softmax over all parts gives."""
    if len(parts) == 1:
        return parts[0][0]
    shares = torch.stack([sums for _, sums in parts]).softmax(0)[..., None]
    return torch.stack([found for found, _ in parts]).mul(shares).sum(0)


def fused(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False) -> Part:
    """Attend to `key`, with as many heads as `query`; with `causal` both are the same tokens."""
    kind = kernel(query, key, value, causal=causal)
    operators = torch.ops.aten
    if kind == "cpu":
        found, sums = operators._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=scale
        )
    elif kind == "flash":
        found, sums = operators._scaled_dot_product_flash_attention(
            query, key, value, 0.0, causal, False, scale=scale
        )[:2]
    elif kind == "efficient":
        found, sums = operators._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, causal, scale=scale
        )[:2]
    else:
        found, sums = plain(query, key, value, scale, causal=causal)
    return found, sums[..., : query.shape[2]]  # the efficient one rounds up to 32 places


def kernel(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> str:
    """Return which of torch's fused attentions takes these: "cpu", "flash", "efficient" or "plain"."""
    if query.device.type == "cpu":
        return "cpu"
    if query.device.type != "cuda":
        return "plain"
    cuda = torch.backends.cuda
    given = cuda.SDPAParams(query, key, value, None, 0.0, causal, False)
    if cuda.can_use_flash_attention(given):
        return "flash"
    return "efficient" if cuda.can_use_efficient_attention(given) else "plain"


def plain(query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False) -> Part:
    """Attend as `fused` does, by products of matrices, for so many queries at once that their scores take
    little memory."""
    rows, heads, places, _ = query.shape
    step = max(1, _SCORES // (rows * heads * key.shape[2]))
    parts: list[Part] = []
    for first in range(0, places, step):
        block = query[:, :, first : first + step]
        scores = (block @ key.transpose(2, 3)).float() * scale
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(first + 1)
            scores = scores.masked_fill(later, -torch.inf)
        sums = scores.logsumexp(-1)
        parts.append(((scores - sums[..., None]).exp().to(value.dtype) @ value, sums))
    return torch.cat([found for found, _ in parts], 2), torch.cat([sums for _, sums in parts], 2)


def _chunks(config: Any) -> Chunks:
    found = dual_chunk.read({_FIELD: getattr(config, _FIELD)})
    assert found is not None
    return found


def _padding(*args: Any, attention_mask: Tensor | None = None, **given: Any) -> Tensor | None:
    """Return how many tokens of padding each row begins with (on the CPU), from the library's mask
    (rows × tokens, true for text); `None` for none. Raises `ValueError` for padding between tokens."""
    if attention_mask is None:
        return None
    text = attention_mask.to("cpu", torch.bool)
    if (text[:, 1:] & ~text[:, :-1] & (text[:, :-1].cumsum(1) > 0)).any():
        raise ValueError("dual chunk attention takes padding before a text or behind it, not within")
    before = (text.cumsum(1) == 0).sum(1)
    return before if before.any() else None


def _placed(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """Count the positions of padded rows from where their text begins, where nobody has said them."""
    mask = named.get("attention_mask")
    if mask is None or mask.ndim != 2 or named.get("position_ids") is not None:
        return given, named
    tokens = named.get("input_ids")
    tokens = named.get("inputs_embeds") if tokens is None else tokens
    count = (given[0] if tokens is None else tokens).shape[1]
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -count:]
    return given, {**named, "position_ids": positions}
