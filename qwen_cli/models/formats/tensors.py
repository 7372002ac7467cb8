"""The tensors of a Qwen model by the fields of its config.json.

The shapes are those of transformers' model classes (`models/qwen*/modeling_*.py`); a test builds each class
on the meta device and compares. Tensors have llama.cpp's names (`gguf.MODEL_TENSORS`), so that one list
serves for both forms of weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """`copies` matrices of `rows` outputs × `columns` inputs (a vector has one row).

    `used` of the copies take part in a token: fewer than `copies` for routed experts and tables of n-grams.
    `linear` says that transformers has it in an `nn.Linear`, which is what bitsandbytes quantizes. `layer` is
    the block.
    """

    name: str
    rows: int
    columns: int
    layer: int = -1
    copies: int = 1
    used: int = 1
    linear: bool = False

    @property
    def parameters(self) -> int:
        return self.rows * self.columns * self.copies

    @property
    def active(self) -> int:
        return self.rows * self.columns * self.used


def is_hybrid(text: Mapping[str, Any]) -> bool:
    return text.get("linear_num_value_heads") is not None


def is_sparse(text: Mapping[str, Any], layer: int) -> bool:
    if not text.get("num_experts") or layer in (text.get("mlp_only_layers") or ()):
        return False
    return (layer + 1) % (text.get("decoder_sparse_step") or 1) == 0


def of_text(
    text: Mapping[str, Any], kinds: list[str], tied: bool, head_dim: int, kv_heads: int
) -> Iterator[Tensor]:
    hidden, vocabulary = text["hidden_size"], text["vocab_size"]
    yield Tensor("token_embd", vocabulary, hidden)
    streams = bool(text.get("hc_count"))
    for layer, kind in enumerate(kinds):
        if streams:
            yield from _streams(text, layer, "attn")
            yield from _streams(text, layer, "ffn")
            yield from _ngrams(text, layer)
        else:
            yield Tensor("attn_norm", 1, hidden, layer)
            yield Tensor("ffn_norm", 1, hidden, layer)
        if kind == "linear_attention":
            yield from _linear_attention(text, layer)
        else:
            yield from _attention(text, layer, head_dim, kv_heads)
        yield from _feed_forward(text, layer)
    if streams:
        yield from _streams(text, -1, "output")
    else:
        yield Tensor("output_norm", 1, hidden)
    reward = next((name for name in text.get("architectures") or () if name.endswith("RewardModel")), None)
    if reward:  # modeling_qwen2_rm.py of Qwen2.5-Math-RM and -PRM: two linear layers instead of the output
        labels = 2 if "Process" in reward else 1
        for rows, name in ((hidden, "cls"), (labels, "cls_out")):
            yield Tensor(name, rows, hidden, linear=True)
            yield Tensor(f"{name}_bias", 1, rows)
    elif not tied:
        yield Tensor("output", vocabulary, hidden)


def _attention(text: Mapping[str, Any], layer: int, head_dim: int, kv_heads: int) -> Iterator[Tensor]:
    hidden, kind = text["hidden_size"], text["model_type"]
    query, key = text["num_attention_heads"] * head_dim, kv_heads * head_dim
    second = kind.startswith("qwen2")  # biases on queries, keys and values; later ones normalise them instead
    bias = text.get("qkv_bias", True) if second else text.get("attention_bias", False)
    # Qwen3-Next and 3.5 gate what attention gives: queries come with as many gates.
    rows = {"attn_q": query * (2 if is_hybrid(text) else 1), "attn_k": key, "attn_v": key}
    for name, count in rows.items():
        yield Tensor(name, count, hidden, layer, linear=True)
        if bias:
            yield Tensor(f"{name}_bias", 1, count, layer)
    yield Tensor("attn_output", hidden, query, layer, linear=True)
    if bias and not second:
        yield Tensor("attn_output_bias", 1, hidden, layer)
    if not second:
        yield Tensor("attn_q_norm", 1, head_dim, layer)
        yield Tensor("attn_k_norm", 1, head_dim, layer)
    if width := text.get("indexer_head_dim"):  # Qwen4-Exp: what chooses the tokens that are looked at
        heads = text["indexer_n_heads"] + text["indexer_kv_heads"]
        yield Tensor("indexer_qk", heads * width, hidden, layer, linear=True)
        yield Tensor("indexer_norms", 2, width, layer)


def _streams(text: Mapping[str, Any], layer: int, name: str) -> Iterator[Tensor]:
    """Yield what mixes the residual streams of Qwen4-Exp (hyper-connections) before a part of a layer; of the
    last one nothing goes back into them."""
    wide, rank = text["hc_count"] * text["hidden_size"], text["hc_lowrank"]
    yield Tensor(f"{name}_hc_norm", 1, wide, layer)
    yield Tensor(f"{name}_hc_down", rank, wide, layer, linear=True)
    yield Tensor(f"{name}_hc_up", wide, rank, layer, linear=True)
    if name != "output":
        yield Tensor(f"{name}_hc_inject", text["hc_count"], wide, layer, linear=True)


def _ngrams(text: Mapping[str, Any], layer: int) -> Iterator[Tensor]:
    """Yield what gives a layer of Qwen4-Exp the embeddings of the last n-grams (per-layer embedding). Of the
    table a token reads a few rows: like the experts that are not asked, it takes no part in it."""
    ids = sorted(set(text.get("ple_layer_ids") or ()))
    if layer + 1 not in ids:
        return
    hidden, wide = text["hidden_size"], text["hc_count"] * text["hidden_size"]
    width = text.get("ple_embed_dim") or hidden
    heads = (text["ngram_size"] - 1) * text["heads_per_ngram"]
    first = ids.index(layer + 1) * heads
    rows = sum(_primes(text["ngram_vocab_size_base"], first + heads)[first:])
    divisor = text.get("make_ngram_vocab_size_divisible_by") or 128
    yield Tensor("ngram_embd", -(-rows // divisor) * divisor, width // heads, layer, used=0)
    yield Tensor("ngram_key", wide, width, layer, linear=True)
    yield Tensor("ngram_value", hidden, width, layer, linear=True)
    yield Tensor("ngram_norms", 3, wide, layer)
    yield Tensor("ngram_conv1d", wide, text["ple_conv_kernel_size"], layer)


def _primes(least: int, count: int) -> list[int]:
    """Return the first `count` primes from `least` on: the sizes of the hash tables of n-grams."""
    primes: list[int] = []
    number = max(2, least)
    while len(primes) < count:
        if all(number % divisor for divisor in range(2, math.isqrt(number) + 1)):
            primes.append(number)
        number += 1
    return primes


def _linear_attention(text: Mapping[str, Any], layer: int) -> Iterator[Tensor]:
    """Yield the tensors of Gated DeltaNet, one token mixer of Qwen3-Next and Qwen3.5."""
    hidden, heads = text["hidden_size"], text["linear_num_value_heads"]
    key = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    value = heads * text["linear_value_head_dim"]
    yield Tensor("attn_qkv", 2 * key + value, hidden, layer, linear=True)
    yield Tensor("attn_gate", value, hidden, layer, linear=True)
    yield Tensor("ssm_ba", 2 * heads, hidden, layer, linear=True)
    yield Tensor("ssm_out", hidden, value, layer, linear=True)
    yield Tensor("ssm_conv1d", 2 * key + value, text["linear_conv_kernel_dim"], layer)
    yield Tensor("ssm_dt_bias", 1, heads, layer)
    yield Tensor("ssm_a", 1, heads, layer)
    yield Tensor("ssm_norm", 1, text["linear_value_head_dim"], layer)


def _feed_forward(text: Mapping[str, Any], layer: int) -> Iterator[Tensor]:
    hidden = text["hidden_size"]
    if not is_sparse(text, layer):
        yield from _gated(hidden, _positive(text["intermediate_size"]), layer, "")
        return
    experts, used = text["num_experts"], text["num_experts_per_tok"]
    width = text["moe_intermediate_size"]
    yield Tensor("ffn_gate_inp", experts, hidden, layer)
    # transformers stacks experts in one parameter, which is no nn.Linear.
    yield Tensor("ffn_gate_exps", width, hidden, layer, experts, used)
    yield Tensor("ffn_up_exps", width, hidden, layer, experts, used)
    yield Tensor("ffn_down_exps", hidden, width, layer, experts, used)
    if shared := text.get("shared_expert_intermediate_size"):
        yield from _gated(hidden, shared, layer, "_shexp")
        yield Tensor("ffn_gate_inp_shexp", 1, hidden, layer, linear=True)


def _gated(hidden: int, width: int, layer: int, suffix: str) -> Iterator[Tensor]:
    yield Tensor(f"ffn_gate{suffix}", width, hidden, layer, linear=True)
    yield Tensor(f"ffn_up{suffix}", width, hidden, layer, linear=True)
    yield Tensor(f"ffn_down{suffix}", hidden, width, layer, linear=True)


def _positive(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise TypeError(f"{value!r} is no size")
    return value


def side(patch: Any) -> int:
    return int(patch[0] if isinstance(patch, (list, tuple)) else patch)


def of_vision(config: Mapping[str, Any]) -> Iterator[Tensor]:
    """Yield the vision transformer of Qwen2-VL, 2.5-VL, 3-VL and 3.5 with what joins it to the text model."""
    eyes, kind = config["vision_config"], config.get("model_type", "")
    second, plain = kind == "qwen2_vl", kind in ("qwen2_vl", "qwen2_5_vl")
    width = eyes["embed_dim"] if second else eyes["hidden_size"]
    out = eyes["hidden_size"] if second else eyes["out_hidden_size"]
    inner = int(width * eyes.get("mlp_ratio", 4)) if second else eyes["intermediate_size"]
    merge = eyes["spatial_merge_size"] ** 2
    pixels = eyes.get("in_channels", eyes.get("in_chans", 3)) * side(eyes["patch_size"]) ** 2
    norm = 1 if kind == "qwen2_5_vl" else 2  # RMSNorm has a weight, LayerNorm a bias too
    yield Tensor("v.patch_embd", width, pixels * side(eyes.get("temporal_patch_size", 2)))
    if not plain:
        yield Tensor("v.patch_embd_bias", 1, width)
        yield Tensor("v.position_embd", eyes["num_position_embeddings"], width)
    for layer in range(eyes["depth"]):
        yield Tensor("v.norms", 2 * norm, width, layer)
        yield from _biased("v.attn_qkv", 3 * width, width, layer)
        yield from _biased("v.attn_out", width, width, layer)
        yield from _biased("v.ffn_up", inner, width, layer)
        if kind == "qwen2_5_vl":
            yield from _biased("v.ffn_gate", inner, width, layer)
        yield from _biased("v.ffn_down", width, inner, layer)
    stacked = len(eyes.get("deepstack_visual_indexes") or ())
    # Deep-stack mergers normalise after the patches are merged, so over more values.
    for merger, normed in (
        ("v.merger", width),
        *((f"v.deepstack.{i}", width * merge) for i in range(stacked)),
    ):
        yield Tensor(f"{merger}.norm", norm, normed)
        yield from _biased(f"{merger}.0", width * merge, width * merge)
        yield from _biased(f"{merger}.2", out, width * merge)


def _biased(name: str, rows: int, columns: int, layer: int = -1) -> Iterator[Tensor]:
    yield Tensor(name, rows, columns, layer, linear=True)
    yield Tensor(f"{name}_bias", 1, rows, layer)
