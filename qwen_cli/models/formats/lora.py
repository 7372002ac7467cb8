"""LoRA adapters as peft saves them (Hu et al. 2021, https://arxiv.org/abs/2106.09685), and as llama.cpp reads
them: a GGUF file of type "adapter", as its `convert_lora_to_gguf.py` writes it.

llama.cpp scales each pair of matrices by one alpha over the rank. What peft scales otherwise (other alphas
for some layers, rank-stabilized LoRA) is multiplied into the second matrix; what a pair of matrices cannot
say is refused.
"""

from __future__ import annotations

import glob
import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli import paths
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import (
    config_fields,
    gguf_export,
    gguf_header,
    gguf_tensors,
    gguf_vocabulary,
    safetensors_header,
)
from qwen_cli.models.formats.gguf_tensors import Change
from qwen_cli.models.formats.safetensors_reader import TYPES, Stored

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PAIR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
# Settings of peft's LoraConfig with which a layer is more than W + scale · B A. So are all `use_…` but one.
_MORE = (
    *("modules_to_save", "fan_in_fan_out", "lora_bias", "trainable_token_indices", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "target_parameters", "kasa_config"),
    *("monteclora_config", "velora_config"),
)
ELSEWHERE = "run it with `engine=transformers`"


@dataclass(frozen=True)
class Base:
    """The model that an adapter is for: GGUF's name of its architecture, its layers, and whether its output
    is its embedding (`tied`)."""

    architecture: str
    layers: int
    tied: bool


def check(folder: Path) -> None:
    """Raise `UsageError` where `folder` is no adapter."""
    if not (folder / CONFIG).is_file():
        raise UsageError(
            f"{folder} is not a LoRA adapter: it has no {CONFIG}",
            "Give the folder that peft's save_pretrained wrote",
        )
    if not (folder / WEIGHTS).is_file():
        # A .bin adapter is a pickle, which can run code when it is loaded.
        raise UsageError(f"{folder} has no {WEIGHTS}", "Save the adapter as safetensors")


def base_of(path: Path) -> Base:
    """Return what an adapter has to know of the model at `path`: a GGUF file, or a folder of safetensors.
    Raises `ModelError` for what is neither, or of no architecture that is known here."""
    if path.is_dir():
        config = gguf_vocabulary.json_of(path / "config.json")
        text = config_fields.text(config)
        tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings")))
        return Base(gguf_export.architecture_of(path, config), text["num_hidden_layers"], tied)
    header = gguf_header.read(path)
    tied = all(entry.name != "output.weight" for entry in header.tensors)
    return Base(header.architecture, gguf_header.blocks(header)[0], tied)


def to_gguf(folder: Path, base: Base, out: Path) -> Path:
    """Write the adapter in `folder` to the GGUF file `out`, in 32 bits; return `out`, which appears only when
    it is complete.

    Raises `UsageError` for what is no adapter, and where `out` exists; `ModelError` for one that llama.cpp
    cannot compute.
    """
    check(folder)
    if out.exists():
        raise UsageError(f"{out} exists already", "remove it or name another file with `out`")
    config = config_of(folder)
    alpha = float(config["lora_alpha"])
    tensors = list(_tensors(folder, base, config, alpha))

    def describe(writer: Any) -> None:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)

    gguf_export.write(out, base.architecture, tensors, describe, folder, None)
    return out


def as_gguf(path: Path, model: Path) -> Path:
    """Return `path`, or where it is peft's folder the GGUF file that was made of it for the model in the GGUF
    file `model`: kept in the cache folder until one of them changes. Raises as `to_gguf`."""
    if not path.is_dir():
        return path
    check(path)
    base = base_of(model)
    stamps = [(file.stat().st_size, file.stat().st_mtime_ns) for file in (path / CONFIG, path / WEIGHTS)]
    folder, begins = paths.cache_folder() / "adapters", f"{path.name}-{_digest(path.resolve(), base)}"
    made = folder / f"{begins}-{_digest(stamps)}.gguf"
    if not made.is_file():
        to_gguf(path, base, made)
        for older in folder.glob(f"{glob.escape(begins)}-*.gguf"):
            if older != made:
                with suppress(OSError):  # another program has it open
                    older.unlink()
    return made


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def config_of(folder: Path) -> dict[str, Any]:
    """Return the settings of the adapter in `folder`. Raises `ModelError` for one that is more than pairs of
    matrices."""
    config = gguf_vocabulary.json_of(folder / CONFIG)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{folder} is an adapter of type {kind!r}, not LoRA", ELSEWHERE)
    for name in config:
        if config[name] and (name in _MORE or (name.startswith("use_") and name != "use_rslora")):
            raise ModelError(f"{folder} has {name} set, which is more than pairs of matrices", ELSEWHERE)
    if config.get("bias", "none") != "none":
        raise ModelError(f"{folder} has biases, which are more than pairs of matrices", ELSEWHERE)
    return config


def pairs_of(folder: Path) -> dict[str, tuple[Stored, Stored]]:
    """Return the two matrices of each layer that the adapter in `folder` changes: A (rank × inputs) and B
    (outputs × rank). Raises `ModelError` for anything else in it."""
    path = folder / WEIGHTS
    stored: dict[str, dict[str, Stored]] = {}
    for entry in safetensors_header.read(path):
        if entry.name.endswith(".base_layer.weight"):
            continue  # the base's own, which peft saves with adapters of an embedding
        pair = _PAIR.fullmatch(entry.name)
        if pair is None or entry.dtype not in TYPES or len(entry.shape) != 2:
            raise ModelError(
                f"{path} holds {entry.name} ({entry.dtype}), which is no matrix of LoRA", ELSEWHERE
            )
        tensor = Stored(path, entry.dtype, entry.shape, entry.begin)
        stored.setdefault(pair["module"], {})[pair["part"]] = tensor
    for module, parts in stored.items():
        if len(parts) < 2 or parts["A"].shape[0] != parts["B"].shape[1]:
            raise ModelError(f"{path} lacks a matrix of {module}", "fetch the adapter again")
    return {module: (parts["A"], parts["B"]) for module, parts in stored.items()}


def scale_of(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return what the product of the matrices of a layer is multiplied by: alpha, that of the first of peft's
    patterns that its name ends in, over the rank, or its root (https://arxiv.org/abs/2312.03732)."""
    patterns = (config.get("alpha_pattern") or {}).items()
    alphas = (alpha for pattern, alpha in patterns if re.match(rf"(.*\.)?({pattern})$", module))
    alpha = float(next(alphas, config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _tensors(
    folder: Path, base: Base, config: Mapping[str, Any], alpha: float
) -> Iterator[gguf_export.Tensor]:
    """Yield the matrices of an adapter under llama.cpp's names."""
    named = gguf_tensors.namer(base.architecture, base.layers)
    for module, (first, second) in pairs_of(folder).items():
        _check_place(folder, base, module)
        rank = first.shape[0]
        factor = scale_of(config, module, rank) * rank / alpha
        name = named(module.replace("language_model.", "") + ".weight")
        yield gguf_export.Tensor(f"{name}.lora_a", first.shape, "F32", (first,))
        change = _times(factor) if factor != 1 else None
        yield gguf_export.Tensor(f"{name}.lora_b", second.shape, "F32", (second,), change)


def _check_place(folder: Path, base: Base, module: str) -> None:
    """Raise `ModelError` for a layer that llama.cpp has no place for an adapter at."""
    if any(part in module for part in ("visual.", ".linear_attn.", ".experts")):
        raise ModelError(f"{folder} changes {module}, which llama.cpp cannot", ELSEWHERE)
    if base.tied and module == "lm_head":
        raise ModelError(
            f"{folder} changes the output of a model whose output is its embedding, which llama.cpp cannot",
            ELSEWHERE,
        )


def _times(factor: float) -> Change:
    return lambda matrix: matrix * factor
