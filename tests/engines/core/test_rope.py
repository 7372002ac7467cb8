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
from qwen_cli.models.formats.dual_chunk import Chunks
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


class TestDualChunk:
    @staticmethod
    def chunked(
        shape: Architecture = SHAPE, context: int | None = None, chunk: int | None = None
    ) -> Architecture:
        return rope.extended(shape, "dca", context, "model", chunk)

    def test_chunks_are_as_long_as_was_trained_for(self) -> None:
        found = self.chunked(context=100_000)
        assert (found.context, found.rope_scaling) == (100_000, None)
        assert found.dual_chunk == Chunks(32_768, 1_024, 32_768)
        qwen3 = self.chunked(replace(SHAPE, model_type="qwen3", context=40_960), 100_000)
        assert qwen3.dual_chunk == Chunks(32_768, 1_024, 32_768)

    def test_without_a_length_it_is_what_cards_validate(self) -> None:
        assert self.chunked().context == 131_072

    def test_a_size_that_is_asked_for(self) -> None:
        assert self.chunked(context=16_384, chunk=4_096).dual_chunk == Chunks(4_096, 128, 32_768)
        for wrong in (1, 15, 32_769):
            with pytest.raises(UsageError, match=f"`dca_chunk` must be 16 to 32768, .* got {wrong}"):
                self.chunked(context=16_384, chunk=wrong)
        with pytest.raises(UsageError, match="Add `rope_scaling=dca`"):
            rope.extended(SHAPE, "yarn", 65_536, "model", 4_096)

    def test_nothing_changes_for_a_text_of_one_chunk(self) -> None:
        assert self.chunked(context=32_768) == SHAPE
        assert self.chunked(context=4_096, chunk=8_192).dual_chunk is None

    def test_what_the_files_say(self) -> None:
        said = Chunks(262_144, 8_192, 262_144, 1_010_000)
        million = replace(SHAPE, context=1_010_000, dual_chunk=said)
        assert rope.extended(million, None, None, "model") is million
        assert self.chunked(million).context == 1_010_000
        assert self.chunked(million, 300_000).dual_chunk is said
        plain = rope.extended(million, "none", None, "model")
        assert (plain.context, plain.dual_chunk) == (262_144, None)
        stretched = rope.extended(million, "yarn", 524_288, "model")
        assert stretched.rope_scaling and stretched.rope_scaling["factor"] == 2.0
        assert stretched.dual_chunk is None

    @pytest.mark.parametrize(
        "model_type",
        ["qwen3_next", "qwen3_5", "qwen35moe", "qwen2_vl", "qwen2_5_vl", "qwen3_vl_moe", "qwen4_exp"],
    )
    def test_others_are_refused_and_told_of_yarn(self, model_type: str) -> None:
        with pytest.raises(UsageError, match=rf"model is {model_type}. Use `rope_scaling=yarn`"):
            self.chunked(replace(SHAPE, model_type=model_type), 100_000)

    @pytest.mark.parametrize(("size", "local"), [(48, 24), (48, 0), (48, -1), (0, 0)])
    def test_chunks_that_would_be_wrong(self, size: int, local: int) -> None:
        with pytest.raises(ValueError, match="must be less than half"):
            Chunks(size, local, 48)


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
