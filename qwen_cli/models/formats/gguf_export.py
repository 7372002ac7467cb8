"""Safetensors to GGUF, for llama.cpp: the dense and mixture-of-experts text models of Qwen2 and Qwen3.

What llama.cpp's `convert_hf_to_gguf.py` writes for them, from the same files, in the library that it writes
with. The weights are read from the mapped files and packed piece by piece: memory stays at one tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import config_fields, gguf_quants, gguf_vocabulary, safetensors_reader
from qwen_cli.models.formats.gguf_import import ARCHITECTURES

if TYPE_CHECKING:
    import numpy as np

    from qwen_cli.models.formats.gguf_quants import Recipe
    from qwen_cli.models.formats.safetensors_reader import Stored
    from qwen_cli.models.progress import Progress

_PIECE = 1 << 22  # weights packed at a time: 16 MiB as float32


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the GGUF file: one of the checkpoint, or one of each expert on top of each other."""

    name: str
    shape: tuple[int, ...]
    kind: str
    parts: tuple[Stored, ...]


def to_gguf(folder: Path, out: Path, *, quant: str = "bf16", progress: Progress | None = None) -> Path:
    """Write the model in `folder` (config.json, tokenizer, safetensors) to the GGUF file `out`; return `out`.

    `quant` is a name of `gguf_quants.RECIPES`. `out` appears only when it is complete. Raises `ModelError`
    for weights that are not whole or of no architecture that is known here, `UsageError` for `quant`, and
    where `out` exists.
    """
    recipe = gguf_quants.recipe(quant)
    if out.exists():
        raise UsageError(f"{out} exists already", "remove it or name another file with `out`")
    config = gguf_vocabulary.json_of(folder / "config.json")
    architecture = next(
        (a for a, (kind, _) in ARCHITECTURES.items() if kind == config.get("model_type")), None
    )
    if architecture is None:
        raise ModelError(
            f"{folder} holds the architecture {config.get('model_type')!r}, which cannot be written as GGUF",
            f"supported are {', '.join(kind for kind, _ in ARCHITECTURES.values())}",
        )
    if method := (config.get("quantization_config") or {}).get("quant_method"):
        raise ModelError(f"{folder} is quantized already ({method})", "convert the unquantized checkpoint")
    if architecture.endswith("moe") and bool(config.get("norm_topk_prob")) != (architecture == "qwen3moe"):
        # GGUF does not say how the experts' weights are summed; llama.cpp fixes it by architecture.
        raise ModelError(
            f"{folder} weighs its experts otherwise than llama.cpp does", "run it with transformers"
        )
    stored = safetensors_reader.tensors(folder)
    try:
        tensors = list(_tensors(architecture, config, stored, recipe))
    except KeyError as error:
        raise ModelError(f"{folder} lacks {error.args[0]!r}", "fetch the model again") from error
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(partial, architecture, config, folder, tensors, recipe, progress)
        partial.rename(out)
    except OSError as error:
        raise ModelError(
            f"cannot write {out}: {error.strerror or error}", "check space and rights"
        ) from error
    except KeyError as error:
        raise ModelError(f"{folder} lacks {error.args[0]!r}", "fetch the model again") from error
    finally:
        partial.unlink(missing_ok=True)
    return out


def _tensors(
    architecture: str, config: dict[str, Any], stored: dict[str, Stored], recipe: Recipe
) -> Iterator[_Tensor]:
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    layers = config["num_hidden_layers"]
    number = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(MODEL_ARCH(number), layers)
    tied = bool(config.get("tie_word_embeddings"))
    experts: dict[str, dict[int, Stored]] = {}
    for name, tensor in stored.items():
        if tied and name == "lm_head.weight":
            continue
        before, mark, after = name.partition(".mlp.experts.")
        if mark and after[0].isdigit():
            expert, _, rest = after.partition(".")
            experts.setdefault(f"{before}.mlp.experts.{rest}", {})[int(expert)] = tensor
            continue
        whole = (
            name if name.endswith((".weight", ".bias")) else f"{name}.weight"
        )  # newer experts have no suffix
        for part_name, part in _halves(whole, tensor):
            yield _placed(names, part_name, (part,), part.shape, layers, tied, recipe)
    for name, parts in experts.items():
        every = tuple(parts[i] for i in range(config_fields.experts(config)))
        yield _placed(names, name, every, (len(every), *every[0].shape), layers, tied, recipe)


def _halves(name: str, tensor: Stored) -> Iterator[tuple[str, Stored]]:
    """Split the tensor in which newer checkpoints of experts have gate and up (experts × 2·width ×
    hidden)."""
    if "gate_up_proj" not in name:
        yield name, tensor
        return
    for half, projection in enumerate(("gate_proj", "up_proj")):
        yield name.replace("gate_up_proj", projection), tensor.half(half)


def _placed(
    names: Any,
    name: str,
    parts: tuple[Stored, ...],
    shape: tuple[int, ...],
    layers: int,
    tied: bool,
    recipe: Recipe,
) -> _Tensor:
    target = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if target is None:
        raise ModelError(f"the model has a tensor that GGUF has no name for: {name}")
    if "ffn_gate_inp_shexp" in target:
        shape = shape[-1:]  # a matrix of one row in the checkpoint, a vector in GGUF
    return _Tensor(target, shape, gguf_quants.kind(recipe, target, shape, layers, tied=tied), parts)


def _write(
    path: Path,
    architecture: str,
    config: dict[str, Any],
    folder: Path,
    tensors: list[_Tensor],
    recipe: Recipe,
    progress: Progress | None,
) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, architecture)
    gguf_vocabulary.write(writer, folder, config["vocab_size"])
    for t in tensors:
        kind = GGMLQuantizationType[t.kind]
        packed = (*t.shape[:-1], gguf_quants.nbytes(t.kind, t.shape[-1:]))
        plain = {"F32": np.float32, "F16": np.float16}.get(t.kind)
        if plain:
            writer.add_tensor_info(t.name, t.shape, np.dtype(plain), gguf_quants.nbytes(t.kind, t.shape))
        else:
            size = gguf_quants.nbytes(t.kind, t.shape)
            writer.add_tensor_info(t.name, packed, np.dtype(np.uint8), size, raw_dtype=kind)
    _describe(writer, architecture, config, folder, recipe)
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


def _pieces(tensor: _Tensor) -> Iterator[bytes]:
    for part in tensor.parts:
        width = part.shape[-1]
        for rows in part.rows(max(1, _PIECE // width)):
            yield gguf_quants.pack(_float(rows), tensor.kind)


def _float(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    return rows if rows.dtype == np.float32 else rows.astype(np.float32)


def _describe(writer: Any, architecture: str, config: dict[str, Any], folder: Path, recipe: Recipe) -> None:
    """Write the metadata that llama.cpp builds the model by. `writer` has the tensors already."""
    from gguf import Metadata, RopeScalingType, size_label

    parameters = writer.get_total_parameter_count()
    described = Metadata.load(model_path=folder, total_params=parameters[0])
    described.size_label = described.size_label or size_label(*parameters)
    writer.add_type("model")
    described.set_gguf_meta_model(writer)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    rope = config_fields.rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if head := config.get("head_dim"):
        writer.add_key_length(head)
        writer.add_value_length(head)
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if architecture.endswith("moe"):
        writer.add_expert_count(config_fields.experts(config))
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        if shared := config.get("shared_expert_intermediate_size"):
            writer.add_expert_shared_feed_forward_length(shared)
    writer.add_file_type(recipe.file_type)
    writer.add_quantization_version(2)  # GGML_QNT_VERSION of ggml.h
