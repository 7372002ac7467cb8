"""Fields of a config.json that releases of transformers have named differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `config` says of the text model: newer vision models have it in a part of its own."""
    return {**config, **(config.get("text_config") or {})}


def experts(text: Mapping[str, Any]) -> int:
    """Return how many experts a layer has, 0 in dense models. Published files have the first name;
    transformers writes Qwen3's mixtures with the second (`attribute_map` of configuration_qwen3_moe.py)."""
    return int(text.get("num_experts") or text.get("num_local_experts") or 0)


def dtype(text: Mapping[str, Any]) -> str | None:
    """Return the dtype by torch's name, such as "bfloat16"."""
    return text.get("dtype") or text.get("torch_dtype")


def rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return `rope_parameters` as transformers 5 writes them, with `rope_type` and `rope_theta`.

    Before it, the base stood beside them, and they were called `rope_scaling`; before 4.45 their kind was
    called `type`, and in files of that time it is (the YaRN section of Qwen2.5's cards). "mrope" shares
    positions out between time, height and width and stretches nothing: it is "default" here.
    """
    own = dict(text.get("rope_parameters") or text.get("rope_scaling") or {})
    old = own.pop("type", None)
    kind = own.get("rope_type") or old or "default"
    own["rope_type"] = "default" if kind == "mrope" else kind
    if base := own.get("rope_theta") or text.get("rope_theta"):
        own["rope_theta"] = base
    return own
