"""The shape of a model, read from its GGUF header or its config.json, without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import (
    config_fields,
    dual_chunk,
    gguf_header,
    safetensors_header,
    sampling_fields,
)
from qwen_cli.models.formats import parameters as formats_parameters
from qwen_cli.models.formats.dual_chunk import Chunks

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Architecture:
    """Layers, heads and sizes of a model. `None` where the files do not say.

    `context` is in tokens and without rope scaling beyond what the files set. `attention_layers` are those
    that keep a KV cache (fewer than `layers` in hybrids: Qwen3-Next and Qwen3.5), `running_state` the bytes
    that the others of a GGUF keep of a whole text in llama.cpp. `layers` leaves out `draft_layers`, which
    only draft (multi-token prediction). `vision` says that it sees: with a vision tower
    in its folder, and as GGUF if its projector is there too; `audio` that it hears, with an encoder in its
    folder. `experts` and `active_experts` are 0 for dense models. `dual_chunk` is how config.json, or the
    config_1m.json beside it, cuts texts that are longer than the model was trained for. `quantization` is a
    GGUF file type ("Q4_K_M"), a method ("awq", "gptq", "fp8") or a dtype.
    `sampling` has the names of `engines.protocol.Sampling`, from the GGUF's own metadata or
    generation_config.json. `size` is the bytes of the weights.
    """

    model_type: str
    layers: int
    hidden: int
    query_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int | None = None
    context: int | None = None
    experts: int = 0
    active_experts: int = 0
    attention_layers: int = 0
    running_state: int = 0
    draft_layers: int = 0
    parameters: int | None = None
    quantization: str | None = None
    size: int | None = None
    name: str | None = None
    licence: str | None = None
    chat_template: str | None = field(default=None, repr=False)
    rope_base: float | None = None
    rope_scaling: dict[str, Any] | None = None
    dual_chunk: Chunks | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    fim: bool = False
    vision: bool = False
    audio: bool = False

    def kv_bytes_per_token(self, value_bytes: float = 2, *, drafting: bool = False) -> int:
        """Return the bytes that one token takes in the KV cache; `value_bytes` is 2 for f16 and bf16. With
        `drafting` those of the layers that draft are counted."""
        layers = self.attention_layers + (self.draft_layers if drafting else 0)
        return int(2 * layers * self.kv_heads * self.head_dim * value_bytes)

    @property
    def kv_saving(self) -> float:
        """Return how many times smaller the KV cache is than with one KV head per query head."""
        return self.query_heads / self.kv_heads


def read(path: Path) -> Architecture:
    """Return the architecture of a `.gguf` file or of a folder with config.json.

    Raises `ModelError` naming the file: not a model, truncated, not a Qwen architecture.
    """
    return _from_folder(path) if path.is_dir() else _from_gguf(gguf_header.read(path))


HEARING = (
    "qwen2_audio", "qwen3_asr",
    "qwen2_5_omni", "qwen2_5_omni_thinker", "qwen3_omni_moe", "qwen3_omni_moe_thinker",
)  # fmt: skip
"""Model types of transformers that hear and write text; of Omni its thinker does."""


def check_supported(model_type: str, where: Path) -> None:
    """Raise `ModelError` unless `model_type` is a Qwen text or vision model, or one that hears and writes.

    Any `qwen…` type passes, so that generations newer than this program run where the engine knows them;
    their other audio, speech and omni relatives have no text interface here.
    """
    if model_type in HEARING:
        return
    if model_type == "clip":
        raise ModelError(f"{where} is a vision projector, not a model", "give the model's own .gguf file")
    other = ("audio", "omni", "asr", "tts", "talker", "qwen2a", "qwen3a")
    if not model_type.startswith("qwen") or any(word in model_type for word in other):
        raise ModelError(
            f"{where} has architecture {model_type!r}, which is not a Qwen text or vision model",
            "run `qwen models list` for what is known",
        )


# Since Qwen3.5 models see without saying so in their name; Qwen4's preview does too.
_TAKES_PROJECTOR = ("qwen35", "qwen4")


def _takes_projector(header: gguf_header.Header) -> bool:
    """Return whether a GGUF model can have eyes: where its positions have parts for time, height and width,
    whatever it is called. Files of early converters do not say that."""
    name = header.architecture
    return (
        f"{name}.rope.dimension_sections" in header.arrays
        or "vl" in name
        or name.startswith(_TAKES_PROJECTOR)
    )


def _from_gguf(header: gguf_header.Header) -> Architecture:
    check_supported(header.architecture, header.path)
    meta = header.metadata
    try:
        layers, drafts = gguf_header.blocks(header)
        hidden = header.get("embedding_length")
        heads = header.get("attention.head_count")
        kv_heads = header.get("attention.head_count_kv", heads)
        if not (hidden and heads and kv_heads):  # one number for all layers
            raise TypeError
        interval = header.get("full_attention_interval", 1)
        file_type = meta.get("general.file_type")
        return Architecture(
            model_type=header.architecture,
            layers=layers,
            hidden=hidden,
            query_heads=heads,
            kv_heads=kv_heads,
            head_dim=header.get("attention.key_length") or hidden // heads,
            vocabulary=header.arrays.get("tokenizer.ggml.tokens"),
            context=header.get("context_length"),
            experts=header.get("expert_count", 0),
            active_experts=header.get("expert_used_count", 0),
            attention_layers=layers // interval,
            running_state=_running_state(header, layers - layers // interval),
            draft_layers=drafts,
            parameters=header.parameters,
            quantization=gguf_header.FILE_TYPES.get(file_type) if file_type is not None else None,
            size=header.size,
            name=meta.get("general.name"),
            licence=meta.get("general.license"),
            chat_template=meta.get("tokenizer.chat_template"),
            rope_base=header.get("rope.freq_base"),
            rope_scaling=_gguf_rope(header),
            sampling=sampling_fields.of_gguf(meta),
            fim=header.fim,
            vision=_takes_projector(header),
        )
    except (TypeError, ZeroDivisionError):
        raise ModelError(
            f"{header.path} does not give its layers and heads", "it is not a complete language model"
        ) from None


def _running_state(header: gguf_header.Header, linear: int) -> int:
    states = gguf_header.linear_state(header)
    cache = formats_parameters.Cache(full=0, kv_heads=0, head_dim=0, linear=linear, **states)
    return cache.constant_bytes(llamacpp=True)


def _gguf_rope(header: gguf_header.Header) -> dict[str, Any] | None:
    kind = header.get("rope.scaling.type")
    if kind in (None, "none"):
        return None
    return {
        "rope_type": kind,
        "factor": header.get("rope.scaling.factor"),
        "original_max_position_embeddings": header.get("rope.scaling.original_context_length"),
    }


def _from_folder(folder: Path) -> Architecture:
    config = _json(folder / "config.json", required=True)
    model_type = config.get("model_type", "")
    check_supported(model_type, folder)
    if model_type == "qwen3_asr" and "thinker_config" in config:  # Qwen's own package has one more level
        raise ModelError(
            f"{folder} has {model_type} in the layout of Qwen's own package",
            f"fetch the one for transformers: Qwen/{folder.name.removesuffix('-hf')}-hf",
        )
    config = config.get("thinker_config") or config
    text = config_fields.text(config)
    try:
        heads, hidden, layers = (
            text["num_attention_heads"],
            text["hidden_size"],
            text["num_hidden_layers"],
        )
        kinds = formats_parameters.layer_kinds({**text, "model_type": model_type})
        full = sum(kind != "linear_attention" for kind in kinds)
        tokens = _json(folder / "tokenizer_config.json")
        parameters, size = _safetensors(folder)
        quantized = text.get("quantization_config") or {}
        rope = config_fields.rope(text)
        experts = config_fields.experts(text)
        template = folder / "chat_template.jinja"
        return Architecture(
            model_type=model_type,
            layers=layers,
            hidden=hidden,
            query_heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or hidden // heads,
            vocabulary=text.get("vocab_size"),
            context=text.get("max_position_embeddings"),
            experts=experts,
            active_experts=(text.get("num_experts_per_tok") or 0) if experts else 0,
            attention_layers=full,
            # Packed integers hide several weights in one value: the count would be wrong.
            parameters=None if quantized else parameters,
            quantization=quantized.get("quant_method") or config_fields.dtype(text),
            size=size,
            name=config.get("_name_or_path") or folder.name,
            chat_template=template.read_text("utf-8") if template.is_file() else tokens.get("chat_template"),
            rope_base=rope.get("rope_theta"),
            rope_scaling=_stretching(rope),
            # Qwen3-2507 has the other one, which its cards say to put in the place of the first.
            dual_chunk=dual_chunk.read(text) or dual_chunk.read(_json(folder / "config_1m.json")),
            sampling=sampling_fields.of_generation(_json(folder / "generation_config.json")),
            fim="fim_prefix" in json.dumps(tokens.get("added_tokens_decoder", {})) or _mentions_fim(folder),
            # Omni's thinker sees too, but its pictures and sounds have positions together.
            vision=config.get("vision_config") is not None and config.get("audio_config") is None,
            audio=config.get("audio_config") is not None,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{folder / 'config.json'} does not give {error}", "it is not a complete language model"
        ) from None


def _stretching(rope: dict[str, Any]) -> dict[str, Any] | None:
    if rope["rope_type"] == "default":
        return None
    return {name: value for name, value in rope.items() if name != "rope_theta"}


def _mentions_fim(folder: Path) -> bool:
    """Return whether tokenizer.json has FIM tokens: newer tokenizer_config.json files leave them to it, in
    front."""
    try:
        with (folder / "tokenizer.json").open("rb") as file:
            return b"fim_prefix" in file.read(65_536)
    except OSError:
        return False


def _json(path: Path, *, required: bool = False) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        raise ModelError(f"{path.parent} has no config.json", "give a model folder or a .gguf file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {error}", "fetch it again") from None
    if not isinstance(loaded, dict):
        raise ModelError(f"{path} is not a JSON object", "fetch it again")
    return loaded


def _safetensors(folder: Path) -> tuple[int | None, int | None]:
    """Return the weights and bytes of all *.safetensors in `folder`, from their headers; `(None, None)`
    without any.

    Raises `ModelError` where a file is missing or shorter than its header says.
    """
    index = _json(folder / _INDEX)
    mapped = index.get("weight_map", {})
    names = list(mapped.values()) if isinstance(mapped, dict) else [mapped]
    if strange := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise ModelError(f"{folder / _INDEX} names {strange[0]!r} as a file", "fetch it again")
    named = {folder / name for name in names}
    if missing := sorted(p.name for p in named if not p.is_file()):
        raise ModelError(f"{folder} lacks {missing[0]}", "fetch the model again; it resumes")
    files = sorted(named or folder.glob("*.safetensors"))
    if not files:
        return None, None
    headers = [safetensors_header.read(file) for file in files]
    parameters = sum(entry.parameters for header in headers for entry in header)
    return parameters, sum(file.stat().st_size for file in files)
