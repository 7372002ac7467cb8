"""Weights in fewer bits: made so while they load (bitsandbytes), or made so by whoever published them.

Needs of published formats: transformers 5.24, `quantizers/quantizer_*.py`, `validate_environment` of each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import EngineError

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

# Activations beyond this are computed in 16 bits (Dettmers et al. 2022, "LLM.int8()", section 3.2).
_OUTLIERS = 6.0


@dataclass(frozen=True)
class Published:
    """A format that weights are published in, and the packages (as on PyPI) that read it: always, and where
    the GPU has at least the compute capability `fast`, below which the library makes it 16 bits again."""

    name: str
    packages: tuple[str, ...] = ()
    fast: tuple[int, int] = (0, 0)
    on_fast: tuple[str, ...] = ()


_PUBLISHED = {
    "awq": Published("AWQ", ("gptqmodel",)),
    "gptq": Published("GPTQ", ("optimum", "gptqmodel")),
    "compressed-tensors": Published("compressed-tensors", ("compressed-tensors",)),
    "fp8": Published("FP8", fast=(8, 9), on_fast=("kernels",)),
    "fbgemm_fp8": Published("FBGEMM FP8", ("fbgemm-gpu",)),
    "bitsandbytes": Published("bitsandbytes", ("bitsandbytes",)),
    "torchao": Published("torchao", ("torchao",)),
    "auto-round": Published("AutoRound", ("auto-round",)),
}


def published(config: Mapping[str, Any], label: str, gpu: tuple[int, int] | None) -> Published | None:
    """Return the format that config.json says the weights are in; `None` for plain weights and unknown
    formats.

    `gpu` is the compute capability of the GPU that they go to. Raises `EngineError` where a package that
    reads the format is missing.
    """
    settings = config.get("quantization_config")
    if settings is None:
        settings = (config.get("text_config") or {}).get("quantization_config")
    form = _PUBLISHED.get(str((settings or {}).get("quant_method", "")).lower())
    if form is None:
        return None
    needed = form.packages + (form.on_fast if gpu and gpu >= form.fast else ())
    missing = [name for name in needed if importlib.util.find_spec(name.replace("-", "_")) is None]
    if missing:
        raise EngineError(
            f"{label} is quantized as {form.name}, which needs {' and '.join(missing)}",
            f"run `pip install {' '.join(missing)}`, or use the model's GGUF with `engine=llamacpp`",
        )
    return form


def in_bits(quant: str, compute: Any) -> Any:
    """Return the configuration that quantizes to `quant` while loading.

    8 bit is LLM.int8 with its threshold; 4 bit NF4 with double quantization (Dettmers et al. 2023, "QLoRA").
    """
    import logging

    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # kernels that it would rather have
    if quant == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=_OUTLIERS)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def slow(quant: str, weights: Weights) -> str:
    """Return what to say where bitsandbytes computes on a CPU. Tokens a second with the starter: on two cores
    with AVX2 bfloat16 9.6, 8 bit 2.0, 4 bit 1.9, llama.cpp with the GGUF 28; on one with AVX-512 and bfloat16
    6.7, 5.8, 13.3, and llama.cpp 46 on two."""
    known = weights.model
    faster = (
        f"`model={known.name}` with `engine=llamacpp`"
        if known and known.gguf_repo
        else "its GGUF on llama.cpp"
    )
    return f"`quant={quant}` on a CPU: {faster} is faster"
