"""The vision tower of Qwen3-VL and Qwen3.5 as a GGUF file of its own: the projector (mmproj) of llama.cpp.

What llama.cpp's converter writes for such a file (`conversion/qwen3vl.py`, `MmprojModel` in
`conversion/base.py`); a test compares every tensor and field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import config_fields, gguf_vocabulary
from qwen_cli.models.formats.gguf_tensors import Change, Named

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from qwen_cli.models.formats.safetensors_reader import Stored

_KINDS = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
_MERGER = {"linear_fc1": "mm.0", "linear_fc2": "mm.2", "norm": "v.post_ln"}
_DEEP = {"linear_fc1": "fc1", "linear_fc2": "fc2", "norm": "norm"}
_BLOCK = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.qkv": "attn_qkv",
    "attn.proj": "attn_out",
    "mlp.linear_fc1": "ffn_up",
    "mlp.linear_fc2": "ffn_down",
}


def can_be_written(config: Mapping[str, Any]) -> bool:
    """Return whether the model of `config` has eyes that are written here."""
    return config.get("model_type") in _KINDS and config.get("vision_config") is not None


def tensors(config: Mapping[str, Any], stored: Mapping[str, Stored]) -> Iterator[Named]:
    """Yield the tensors of the vision tower.

    Raises `ModelError` for one that GGUF has no name for, and where a patch is not two frames deep.
    """
    deep = config["vision_config"].get("deepstack_visual_indexes") or ()
    for own_name, tensor in stored.items():
        _, mark, name = own_name.partition("visual.")
        if not mark:
            continue
        if name == "patch_embed.proj.weight":
            yield from _patches(tensor)
            continue
        stem, _, ending = name.rpartition(".")
        yield Named(f"{_name(stem, deep)}.{ending}", tensor.shape, (tensor,))


def kind(name: str, shape: tuple[int, ...], chosen: str) -> str:
    """Return how the tensor `name` is packed where matrices are `chosen` (F32, F16 or BF16)."""
    if len(shape) == 1 or name.startswith("v.position_embd"):
        return "F32"
    if name.startswith("v.patch_embd.weight"):
        return "F16" if chosen == "F16" else "F32"
    return chosen


def describe(writer: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Write the metadata that llama.cpp builds the tower by.

    Raises `ModelError` where the processor's files are missing, `KeyError` for a field that `config` lacks.
    """
    eyes, text = config["vision_config"], config_fields.text(config)
    seen = _preprocessor(folder)
    patch, positions = eyes["patch_size"], eyes.get("num_position_embeddings", 2304)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen3vl_merger")
    writer.add_vision_projection_dim(text["hidden_size"])
    writer.add_vision_image_size(eyes.get("image_size") or int(positions**0.5 * patch))
    writer.add_vision_patch_size(patch)
    writer.add_vision_embedding_length(eyes["hidden_size"])
    writer.add_vision_feed_forward_length(eyes["intermediate_size"])
    writer.add_vision_block_count(eyes["depth"])
    writer.add_vision_head_count(eyes["num_heads"])
    writer.add_vision_image_mean(seen["image_mean"])
    writer.add_vision_image_std(seen["image_std"])
    writer.add_vision_use_gelu(True)
    writer.add_vision_spatial_merge_size(eyes["spatial_merge_size"])
    writer.add_vision_attention_layernorm_eps(text.get("rms_norm_eps", 1e-6))
    deep = eyes.get("deepstack_visual_indexes") or ()
    if eyes["depth"]:
        writer.add_vision_is_deepstack_layers([layer in deep for layer in range(eyes["depth"])])


def _name(stem: str, deep: Any) -> str:
    if stem == "patch_embed.proj":
        return "v.patch_embd"
    if stem == "pos_embed":
        return "v.position_embd"
    first, _, rest = stem.partition(".")
    number, _, part = rest.partition(".")
    known = None
    if first == "merger":
        known = _MERGER.get(rest)
    elif first == "blocks" and part in _BLOCK:
        known = f"v.blk.{number}.{_BLOCK[part]}"
    elif first == "deepstack_merger_list" and part in _DEEP:
        known = f"v.deepstack.{deep[int(number)]}.{_DEEP[part]}"
    if known is None:
        raise ModelError(f"the vision tower has a tensor that GGUF has no name for: {stem}")
    return known


def _patches(tensor: Stored) -> Iterator[Named]:
    """Yield the kernel of the patches (out × colours × 2 frames × height × width): one tensor a frame."""
    out, colours, frames, height, width = tensor.shape
    if frames != 2:
        raise ModelError(f"the vision tower takes {frames} frames at a time", "llama.cpp knows 2 only")
    flat = replace(tensor, shape=(out, colours * frames * height * width))

    def frame(number: int) -> Change:
        def pick(matrix: np.ndarray) -> np.ndarray:
            return matrix.reshape(tensor.shape)[:, :, number]

        return pick

    for number, name in enumerate(("v.patch_embd.weight", "v.patch_embd.weight.1")):
        yield Named(name, (out, colours, height, width), (flat,), frame(number))


def _preprocessor(folder: Path) -> dict[str, Any]:
    """Return the picture processor's settings: of processor_config.json where it has them."""
    seen: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            content = gguf_vocabulary.json_of(folder / name)
            seen |= content | (content.get("image_processor") or {})
    if "image_mean" not in seen:
        raise ModelError(f"{folder} has no preprocessor_config.json", "fetch the model again")
    return seen
