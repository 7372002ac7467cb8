"""Safetensors to GGUF, for llama.cpp: the text models of Qwen2, Qwen3, Qwen3-Next and Qwen3.5 with the block
that drafts, and Qwen3-VL's; the eyes of the last two go into a file beside it.

What llama.cpp's `convert_hf_to_gguf.py` writes for them, from the same files, in the library that it writes
with. The weights are read from the mapped files and packed piece by piece: memory stays at one tensor.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import (
    config_fields,
    gguf_projector,
    gguf_quants,
    gguf_tensors,
    gguf_vocabulary,
    safetensors_reader,
    sampling_fields,
)

if TYPE_CHECKING:
    from qwen_cli.models.formats.gguf_quants import Recipe
    from qwen_cli.models.formats.gguf_tensors import Change
    from qwen_cli.models.formats.safetensors_reader import Stored
    from qwen_cli.models.progress import Progress

_PIECE = 1 << 22  # weights packed at a time: 16 MiB as float32
# `model_type` of config.json → GGUF architecture.
ARCHITECTURES = {
    "qwen2": "qwen2",
    "qwen2_moe": "qwen2moe",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "qwen3_next": "qwen3next",
    "qwen3_5": "qwen35",
    "qwen3_5_text": "qwen35",
    "qwen3_5_moe": "qwen35moe",
    "qwen3_5_moe_text": "qwen35moe",
    "qwen3_vl": "qwen3vl",
    "qwen3_vl_moe": "qwen3vlmoe",
}
# `norm_topk_prob` where config.json leaves it out (transformers' configuration classes).
_SUMS_EXPERTS_TO_ONE = {"qwen2moe": False, "qwen3moe": False}

Describe: TypeAlias = "Callable[[Any], None]"


@dataclass(frozen=True)
class Tensor:
    """A tensor of the GGUF file as it is written: `kind` is how it is packed, the rest as in `Named`."""

    name: str
    shape: tuple[int, ...]
    kind: str
    parts: tuple[Stored, ...]
    change: Change | None = None


def to_gguf(folder: Path, out: Path, *, quant: str = "bf16", progress: Progress | None = None) -> Path:
    """Write the model in `folder` (config.json, tokenizer, safetensors) to the GGUF file `out`; return `out`.

    The eyes of a model that sees go into `projector_path(out, quant)`, in 16 bits where `quant` has fewer.
    `quant` is a name of `gguf_quants.RECIPES`. `out` appears only when it is complete. Raises `ModelError`
    for weights that are not whole or of no architecture that is known here, `UsageError` for `quant`, and
    where `out` exists.
    """
    recipe = gguf_quants.recipe(quant)
    config = gguf_vocabulary.json_of(folder / "config.json")
    sees = gguf_projector.can_be_written(config)
    for file in (out, projector_path(out, quant))[: 1 + sees]:
        if file.exists():
            raise UsageError(f"{file} exists already", "remove it or name another file with `out`")
    architecture = architecture_of(folder, config)
    text = config_fields.text(config)
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings")))
    stored = safetensors_reader.tensors(folder)
    place = projector_path(out, quant) if sees else None
    try:
        tensors = list(_packed(architecture, text, stored, recipe, tied=tied))
        if place:
            eyes = _projector(config, stored, recipe)
            write(place, "clip", eyes, lambda w: _describe_eyes(w, config, folder, recipe), folder, progress)
        drafts = gguf_tensors.draft_layers(stored)

        def describe(writer: Any) -> None:
            gguf_vocabulary.write(writer, folder, text["vocab_size"])
            _describe(writer, architecture, text, folder, recipe, drafts)

        write(out, architecture, tensors, describe, folder, progress)
    except BaseException as error:
        if place:  # eyes without a model would be taken for another's
            place.unlink(missing_ok=True)
        if isinstance(error, KeyError):
            raise ModelError(f"{folder} lacks {error.args[0]!r}", "fetch the model again") from error
        raise
    return out


def projector_path(out: Path, quant: str) -> Path:
    """Return the file for the eyes of a model that is written to `out` as `quant`."""
    base = out.stem[: -len(quant) - 1] if out.stem.lower().endswith(f"-{quant.lower()}") else out.stem
    return out.with_name(f"mmproj-{base}-{_eyes(gguf_quants.recipe(quant))}.gguf")


def _eyes(recipe: Recipe) -> str:
    """Return how a projector's matrices are packed: llama.cpp's converter keeps them in 16 bits or more."""
    return recipe.plain if recipe.plain in ("F32", "F16", "BF16") else "F16"


def architecture_of(folder: Path, config: dict[str, Any]) -> str:
    """Return the GGUF architecture of `config`. Raises `ModelError` for one that llama.cpp runs otherwise or
    not at all."""
    known = ARCHITECTURES.get(str(config.get("model_type")))
    if known is None:
        raise ModelError(
            f"{folder} holds the architecture {config.get('model_type')!r}, which cannot be written as GGUF",
            f"supported are {', '.join(ARCHITECTURES)}",
        )
    text = config_fields.text(config)
    if method := (text.get("quantization_config") or {}).get("quant_method"):
        raise ModelError(f"{folder} is quantized already ({method})", "convert the unquantized checkpoint")
    usual = _SUMS_EXPERTS_TO_ONE.get(known, True)
    if config_fields.experts(text) and bool(text.get("norm_topk_prob", usual)) != (known != "qwen2moe"):
        # GGUF does not say how the experts' weights are summed; llama.cpp fixes it by architecture.
        raise ModelError(
            f"{folder} weighs its experts otherwise than llama.cpp does", "run it with transformers"
        )
    return known


def _packed(
    architecture: str, text: dict[str, Any], stored: dict[str, Stored], recipe: Recipe, *, tied: bool
) -> Iterator[Tensor]:
    layers = text["num_hidden_layers"]
    for one in gguf_tensors.of_text(architecture, text, stored, tied=tied):
        kind = gguf_quants.kind(recipe, one.name, one.shape, layers, tied=tied)
        yield Tensor(one.name, one.shape, kind, one.parts, one.change)


def _projector(config: dict[str, Any], stored: dict[str, Stored], recipe: Recipe) -> list[Tensor]:
    chosen = _eyes(recipe)
    return [
        Tensor(t.name, t.shape, gguf_projector.kind(t.name, t.shape, chosen), t.parts, t.change)
        for t in gguf_projector.tensors(config, stored)
    ]


def write(
    out: Path,
    architecture: str,
    tensors: list[Tensor],
    describe: Describe,
    folder: Path,
    progress: Progress | None,
) -> None:
    """Write `tensors`, and what `describe` gives to the writer, to `out`, which appears only when it is
    complete."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _fill(partial, architecture, tensors, describe, folder, progress)
        partial.rename(out)
    except OSError as error:
        raise ModelError(
            f"cannot write {out}: {error.strerror or error}", "check space and rights"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _fill(
    path: Path,
    architecture: str,
    tensors: list[Tensor],
    describe: Describe,
    folder: Path,
    progress: Progress | None,
) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, architecture)
    for t in tensors:
        kind = GGMLQuantizationType[t.kind]
        packed = (*t.shape[:-1], gguf_quants.nbytes(t.kind, t.shape[-1:]))
        plain = {"F32": np.float32, "F16": np.float16}.get(t.kind)
        if plain:
            writer.add_tensor_info(t.name, t.shape, np.dtype(plain), gguf_quants.nbytes(t.kind, t.shape))
        else:
            size = gguf_quants.nbytes(t.kind, t.shape)
            writer.add_tensor_info(t.name, packed, np.dtype(np.uint8), size, raw_dtype=kind)
    describe(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    total = sum(gguf_quants.nbytes(t.kind, t.shape) for t in tensors)
    done = 0
    try:
        for tensor in tensors:
            data = b"".join(_pieces(tensor))
            writer.write_tensor_data(np.frombuffer(data, np.uint8))
            done += len(data)
            if progress:
                progress(f"converting {folder.name}", done, total)
    finally:
        writer.close()


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    """Yield the packed bytes of a tensor: some rows at a time, or a matrix where it is rearranged."""
    import numpy as np

    for part in tensor.parts:
        matrix = math.prod(part.shape[-2:-1])
        for rows in part.rows(matrix if tensor.change else max(1, _PIECE // part.shape[-1])):
            changed = np.ascontiguousarray(tensor.change(rows)) if tensor.change else rows
            yield gguf_quants.pack(changed, tensor.kind)


def _describe_eyes(writer: Any, config: dict[str, Any], folder: Path, recipe: Recipe) -> None:
    _name(writer, folder, "mmproj")
    gguf_projector.describe(writer, config, folder)
    writer.add_file_type(gguf_quants.RECIPES[_eyes(recipe).lower()].file_type)
    writer.add_quantization_version(2)  # GGML_QNT_VERSION of ggml.h


def _name(writer: Any, folder: Path, kind: str) -> None:
    """Write whose model it is and how large. `writer` has the tensors already."""
    from gguf import Metadata, size_label

    parameters = writer.get_total_parameter_count()
    described = Metadata.load(model_path=folder, total_params=parameters[0])
    described.size_label = described.size_label or size_label(*parameters)
    writer.add_type(kind)
    for name in [name for name in vars(described) if name.startswith("sampling_")]:
        setattr(described, name, None)  # of generation_config.json it takes those alone that are called alike
    described.set_gguf_meta_model(writer)
    generation = folder / "generation_config.json"
    if generation.is_file():
        sampling_fields.to_gguf(
            writer, sampling_fields.of_generation(json.loads(generation.read_text("utf-8")))
        )


def _describe(
    writer: Any, architecture: str, config: dict[str, Any], folder: Path, recipe: Recipe, drafts: int
) -> None:
    """Write the metadata that llama.cpp builds the model by. `config` is the text model's, `drafts` counts
    the blocks that draft, which are behind the layers."""
    _name(writer, folder, "model")
    layers = config["num_hidden_layers"]
    writer.add_block_count(layers + drafts)
    if drafts:
        writer.add_nextn_predict_layers(drafts)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    if width := config.get("intermediate_size"):  # some mixtures have no other width than their experts'
        writer.add_feed_forward_length(width)
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if head := config.get("head_dim"):
        writer.add_key_length(head)
        writer.add_value_length(head)
    _describe_rope(writer, architecture, config)
    if config_fields.experts(config):
        writer.add_expert_count(config_fields.experts(config))
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        if shared := config.get("shared_expert_intermediate_size"):
            writer.add_expert_shared_feed_forward_length(shared)
    if architecture in gguf_tensors.HYBRID:
        _describe_linear(writer, config, folder)
    if architecture.startswith("qwen3vl"):
        deep = config["vision_config"].get("deepstack_visual_indexes") or ()
        writer.add_num_deepstack_layers(len(deep))
    writer.add_file_type(recipe.file_type)
    writer.add_quantization_version(2)  # GGML_QNT_VERSION of ggml.h


def _describe_rope(writer: Any, architecture: str, config: dict[str, Any]) -> None:
    from gguf import RopeScalingType

    rope = config_fields.rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    sections = rope.get("mrope_section")
    if sections is None and architecture.startswith("qwen35"):
        sections = [11, 11, 10]  # Qwen3_5TextRotaryEmbedding of transformers
    if sections is not None:  # time, height, width, and a fourth that no Qwen has
        writer.add_rope_dimension_sections([*sections, 0, 0, 0][:4])
    if architecture in gguf_tensors.HYBRID:
        part = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 0.25
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        writer.add_rope_dimension_count(int(head * part))


def _describe_linear(writer: Any, config: dict[str, Any], folder: Path) -> None:
    """Write what llama.cpp builds linear attention by, in the words of state space models.

    Raises `ModelError` where other layers attend to everything than llama.cpp takes: every n-th.
    """
    kinds = config.get("layer_types") or []
    interval = config.get("full_attention_interval") or (
        kinds.index("full_attention") + 1 if "full_attention" in kinds else 4
    )
    expected = ["linear_attention" if (n + 1) % interval else "full_attention" for n in range(len(kinds))]
    if kinds != expected:
        raise ModelError(
            f"{folder} does not attend to everything in every {interval}th layer alone",
            "llama.cpp knows no other order; run it with transformers",
        )
    writer.add_full_attention_interval(interval)
    writer.add_ssm_conv_kernel(config["linear_conv_kernel_dim"])
    writer.add_ssm_state_size(config["linear_key_head_dim"])
    writer.add_ssm_group_count(config["linear_num_key_heads"])
    writer.add_ssm_time_step_rank(config["linear_num_value_heads"])
    writer.add_ssm_inner_size(config["linear_value_head_dim"] * config["linear_num_value_heads"])
