"""A model taken apart from its config.json alone: its parameters, those that a token uses, what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import config_fields, tensors
from qwen_cli.models.formats.tensors import Tensor


@dataclass(frozen=True)
class Cache:
    """The layers of a model by what they keep.

    `full` layers keep all tokens, as do `drafting` ones in llama.cpp, which every token goes through beside
    the model, `sliding` ones at most `window`, `linear` ones (Gated DeltaNet, Qwen3-Next
    and Qwen3.5) a state of constant size: the last `conv_kernel` inputs of `conv_channels` each, and
    `state_values` (value heads × key size × value size).
    """

    full: int
    kv_heads: int
    head_dim: int
    sliding: int = 0
    window: int = 0
    linear: int = 0
    conv_channels: int = 0
    conv_kernel: int = 0
    state_values: int = 0
    drafting: int = 0

    def bytes_per_token(self, value_bytes: float = 2) -> int:
        """Return the bytes that one more token takes while no window is full. `value_bytes` is 2 for f16 and
        bf16."""
        return int(2 * (self.full + self.sliding) * self.kv_heads * self.head_dim * value_bytes)

    def bytes_at(self, tokens: int, value_bytes: float = 2, *, llamacpp: bool = False) -> int:
        """Return the bytes after `tokens` tokens of one conversation, with the constant states."""
        full = self.full + (self.drafting if llamacpp else 0)
        kept = full * tokens + self.sliding * min(tokens, self.window)
        grown = int(2 * kept * self.kv_heads * self.head_dim * value_bytes)
        return grown + self.constant_bytes(value_bytes, llamacpp=llamacpp)

    def constant_bytes(self, value_bytes: float = 2, *, llamacpp: bool = False) -> int:
        """Return the bytes of the linear layers' states. transformers keeps convolutions in the model's dtype
        and recurrent states in float32 (`cache_utils.LinearAttentionLayer`); llama.cpp both in float32, and
        one input less (src/llama-hparams.cpp, `n_embd_r` and `n_embd_s`)."""
        inputs = self.conv_channels * (self.conv_kernel - 1 if llamacpp else self.conv_kernel)
        return self.linear * int(inputs * (4 if llamacpp else value_bytes) + 4 * self.state_values)

    def checkpoint_bytes(self, value_bytes: float = 2, *, llamacpp: bool = False) -> int:
        """Return the bytes that checkpoints of the constant states may take; none are made without such."""
        state = self.constant_bytes(value_bytes, llamacpp=llamacpp)
        return checkpoints(state) * state


# Memory for checkpoints of running states, and how many there are at least and at most (llama.cpp's default,
# `--ctx-checkpoints`). Of fewer than six llama.cpp drops the one before the last message when that is
# answered anew: it makes three a turn, and room for two before it makes one. Of a 27B each takes 157 MB.
_CHECKPOINT_BYTES = 512 * 2**20
_CHECKPOINTS = (6, 32)


def checkpoints(state: int) -> int:
    """Return how many checkpoints of a running state of so many bytes an engine keeps of a conversation."""
    least, most = _CHECKPOINTS
    return max(least, min(most, _CHECKPOINT_BYTES // state)) if state else 0


# The fields without which nothing can be counted.
_NEEDED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True)
class Counted:
    """A model taken apart. `vision` are the tensors of its eyes, `tied` says that the token table is the
    output layer too. `context` is in tokens; `merged_patch` is the side in pixels of what one visual token
    covers.
    """

    tensors: tuple[Tensor, ...]
    vision: tuple[Tensor, ...]
    tied: bool
    cache: Cache
    hidden: int
    intermediate: int
    layers: int
    query_heads: int
    vocabulary: int
    experts: int = 0
    active_experts: int = 0
    context: int | None = None
    merged_patch: int | None = None

    @property
    def parameters(self) -> int:
        return sum(tensor.parameters for tensor in (*self.tensors, *self.vision))

    @property
    def active(self) -> int:
        """Return the parameters that take part in a token of text: all but those of the experts not chosen
        for it.

        The token table is counted, as the model cards do; so is the vision encoder, which has no experts.
        """
        return sum(tensor.active for tensor in (*self.tensors, *self.vision))


def count(config: Mapping[str, Any], where: str) -> Counted:
    """Return the tensors of the model that `config` (the content of a config.json) describes.

    Raises `ModelError` naming `where` and the field that is missing or is no number.
    """
    text = config_fields.text(config)
    text["model_type"] = config.get("model_type", "")
    for name in _NEEDED:
        _whole(text, name, where)
    try:
        text["num_experts"] = config_fields.experts(text)
        vision = tuple(tensors.of_vision(config)) if config.get("vision_config") is not None else ()
        return _counted(config, text, vision)
    except KeyError as missing:
        raise ModelError(f"{where} lacks {missing.args[0]!r}", "it is not a complete configuration") from None
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ModelError(
            f"{where} has a field of the wrong kind ({error})", "compare it with the published one"
        ) from None


def untied(counted: Counted) -> Counted:
    """Return the same model with an output layer of its own."""
    output = Tensor("output", counted.vocabulary, counted.hidden)
    return replace(counted, tensors=(*counted.tensors, output), tied=False)


def _whole(text: Mapping[str, Any], name: str, where: str) -> None:
    value = text.get(name)
    if value is None:
        raise ModelError(f"{where} lacks {name!r}", "it is not a complete configuration")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{where} has {name} = {value!r}", "it must be a whole number above 0")


def _counted(config: Mapping[str, Any], text: Mapping[str, Any], vision: tuple[Tensor, ...]) -> Counted:
    hidden, layers, heads = text["hidden_size"], text["num_hidden_layers"], text["num_attention_heads"]
    kv_heads = text.get("num_key_value_heads") or heads
    head_dim = text.get("head_dim") or hidden // heads
    kinds = layer_kinds(text)
    # Vision models: the whole says whether the table is shared; older files only say it of the text.
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    sparse = [i for i in range(layers) if tensors.is_sparse(text, i)]
    sees = config.get("vision_config") or {}
    return Counted(
        tensors=tuple(tensors.of_text(text, kinds, tied, head_dim, kv_heads)),
        vision=vision,
        tied=tied,
        cache=Cache(
            full=sum(kind == "full_attention" for kind in kinds),
            sliding=sum(kind == "sliding_attention" for kind in kinds),
            window=text.get("sliding_window") or 0,
            kv_heads=kv_heads,
            head_dim=head_dim,
            linear=sum(kind == "linear_attention" for kind in kinds),
            **_linear_state(text),
        ),
        hidden=hidden,
        intermediate=text.get("intermediate_size") or text.get("shared_expert_intermediate_size") or 0,
        layers=layers,
        query_heads=heads,
        vocabulary=text["vocab_size"],
        experts=text["num_experts"] if sparse else 0,
        active_experts=text["num_experts_per_tok"] if sparse else 0,
        context=text.get("max_position_embeddings"),
        merged_patch=tensors.side(sees["patch_size"]) * sees["spatial_merge_size"] if vision else None,
    )


def layer_kinds(text: Mapping[str, Any]) -> list[str]:
    """Return "full_attention", "sliding_attention" or "linear_attention" for each layer, as transformers'
    config classes fill them in where a config.json does not list them."""
    layers: int = text["num_hidden_layers"]
    if kinds := text.get("layer_types"):  # Qwen4-Exp's attention looks at some of the tokens, and keeps all
        return ["full_attention" if kind == "indexed_attention" else kind for kind in kinds]
    if tensors.is_hybrid(text):
        every = text.get("full_attention_interval") or 4
        return ["full_attention" if (i + 1) % every == 0 else "linear_attention" for i in range(layers)]
    if not text.get("use_sliding_window") or not text.get("sliding_window"):
        return ["full_attention"] * layers
    first = text.get("max_window_layers") or 0
    if text["model_type"] == "qwen2_moe":  # configuration_qwen2_moe.py: every second one below that layer
        return ["sliding_attention" if i % 2 == 0 and i < first else "full_attention" for i in range(layers)]
    return ["sliding_attention" if i >= first else "full_attention" for i in range(layers)]


def _linear_state(text: Mapping[str, Any]) -> dict[str, int]:
    if not tensors.is_hybrid(text):
        return {}
    key = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    value = text["linear_num_value_heads"] * text["linear_value_head_dim"]
    return {
        "conv_channels": 2 * key + value,
        "conv_kernel": text["linear_conv_kernel_dim"],
        "state_values": text["linear_num_value_heads"]
        * text["linear_key_head_dim"]
        * text["linear_value_head_dim"],
    }
