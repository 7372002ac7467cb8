"""The sampling that files recommend: generation_config.json's names, GGUF's, and ours between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# `general.sampling.*` of the gguf package: theirs, ours. `presence_penalty` is ours: llama.cpp has no key.
_GGUF = {"temp": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
         "penalty_repeat": "repetition_penalty", "presence_penalty": "presence_penalty"}  # fmt: skip
_GENERATION = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty")


def of_generation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what generation_config.json recommends."""
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    return {name: config[name] for name in _GENERATION if config.get(name) is not None}


def of_gguf(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a GGUF file recommends. Its numbers have 32 bits: 0.7 stands there as 0.69999999."""
    sampling = {ours: metadata.get(f"general.sampling.{theirs}") for theirs, ours in _GGUF.items()}
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in sampling.items()
        if value is not None
    }


def to_gguf(writer: Any, sampling: Mapping[str, Any]) -> None:
    """Write `sampling` as metadata of a GGUF file."""
    for theirs, ours in _GGUF.items():
        if ours in sampling:
            key = f"general.sampling.{theirs}"
            if ours == "top_k":
                writer.add_int32(key, int(sampling[ours]))
            else:
                writer.add_float32(key, float(sampling[ours]))
