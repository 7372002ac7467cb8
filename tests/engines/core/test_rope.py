"""Windows beyond the trained one: which factor, what reaches the model, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import small_models
import torch

from qwen_cli.engines.core import rope
from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import UsageError
from qwen_cli.models.formats.architecture import Architecture
from qwen_cli.models.hub.resolve import Weights

SHAPE = Architecture("qwen2", 24, 896, 14, 2, 64, context=32_768, attention_layers=24)


def scaled(shape: Architecture, context: int | None) -> Architecture:
    return rope.extended(shape, "yarn", context, "model")


@pytest.mark.parametrize(
    ("model_type", "window", "context", "factor", "original"),
    [
        ("qwen2", 32_768, 131_072, 4.0, 32_768),  # model card of Qwen2.5-7B-Instruct
        ("qwen2", 32_768, 65_536, 2.0, 32_768),
        ("qwen3", 40_960, 131_072, 4.0, 32_768),  # model card of Qwen3-8B
        ("qwen3_moe", 262_144, 1_000_000, 1_000_000 / 262_144, 262_144),
        ("qwen3_vl", 262_144, 1_000_000, 3.0, 262_144),  # model card of Qwen3-VL-8B-Instruct
    ],
)
def test_the_factor_is_what_the_length_needs(
    model_type: str, window: int, context: int, factor: float, original: int
) -> None:
    shape = scaled(replace(SHAPE, model_type=model_type, context=window), context)
    assert shape.context == context
    assert shape.rope_scaling == {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
    }


def test_nothing_is_scaled_for_a_length_that_was_trained() -> None:
    assert scaled(SHAPE, 32_768) is SHAPE


def test_none_takes_back_what_the_files_say() -> None:
    own = replace(
        SHAPE,
        context=131_072,
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768},
    )
    plain = rope.extended(own, "none", None, "model")
    assert (plain.context, plain.rope_scaling) == (32_768, None)
    assert scaled(own, 65_536).rope_scaling == {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": 32_768,
    }


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the length"):
        scaled(SHAPE, None)
    with pytest.raises(UsageError, match=r"from 32,768 tokens to 131,072, 200,000 were asked for"):
        scaled(SHAPE, 200_000)
    with pytest.raises(UsageError, match="`rope_scaling` cannot be 'linear'"):
        rope.checked("linear")


def test_a_family_that_it_harms_is_told_of() -> None:
    seeing = replace(SHAPE, model_type="qwen2_5_vl")
    assert "advises against it" in (rope.notice(seeing, "yarn", "qwen2.5-vl:3b") or "")
    assert rope.notice(SHAPE, "yarn", "qwen2.5:7b") is None


@pytest.mark.parametrize("architecture", ["Qwen2", "Qwen3", "Qwen3VL"])
def test_the_model_turns_by_the_formula_of_the_paper(
    architecture: str, starter_safetensors: Path, tmp_path: Path
) -> None:
    """The effective factor: releases differ in where they take it from (YaRN, sections 3.2 and 3.4)."""
    folder = small_models.make(architecture, tmp_path, starter_safetensors)
    weights = Weights("small", folder, "safetensors", None)
    with Transformers(weights, dtype="fp32") as plain:
        base = turning(plain)
        window = plain.capabilities.context
    assert window is not None
    trained = window
    with Transformers(weights, dtype="fp32", context=2 * trained, rope_scaling="yarn") as stretched:
        assert stretched.capabilities.context == 2 * trained
        found = turning(stretched)
        size = 2 * len(base.inv_freq)
        theta = float(base.inv_freq[1]) ** (-size / 2)
        expected = [yarn(float(f), i, size, theta, 2.0, trained) for i, f in enumerate(base.inv_freq)]
        assert found.inv_freq.tolist() == pytest.approx(expected, rel=1e-4)
        assert found.attention_scaling == pytest.approx(0.1 * math.log(2.0) + 1)


def turning(engine: Transformers) -> torch.nn.Module:
    return next(
        m for n, m in engine.network.named_modules() if n.endswith("rotary_emb") and "visual" not in n
    )


def yarn(frequency: float, index: int, size: int, theta: float, factor: float, trained: int) -> float:
    def dimension(turns: float) -> float:
        return size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(dimension(32)), 0), min(math.ceil(dimension(1)), size - 1)
    stretched = min(max((index - low) / max(high - low, 0.001), 0.0), 1.0)
    return frequency / factor * stretched + frequency * (1 - stretched)


def test_llamacpp_opens_the_longer_window(starter_gguf: Path) -> None:
    weights = Weights("starter", starter_gguf, "gguf", None)
    with pytest.raises(UsageError, match="trained for 32,768") as fault:
        LlamaCpp(weights, context=40_000)
    assert "`rope_scaling=yarn`" in str(fault.value)
    with LlamaCpp(weights, context=40_960, parallel=1, rope_scaling="yarn") as engine:
        settings = engine.slot.http("GET", "/props")["default_generation_settings"]
        assert settings["n_ctx"] == engine.capabilities.context == 40_960
        text = "".join(p.text for p in engine.complete("1, 2, 3, 4,", sampling=Sampling(0.0, max_tokens=6)))
        assert text.startswith(" 5, 6")
