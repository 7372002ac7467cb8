"""LoRA adapters in llama.cpp's form say what peft's own layers say; what it cannot say is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import exact
import pytest
import small_models
import torch

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import ModelError, QwenError, UsageError
from qwen_cli.models.formats import gguf_export, lora
from qwen_cli.models.hub.resolve import Weights

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS: dict[str, dict[str, Any]] = {
    "all layers": {"target_modules": ALL},
    "another alpha for some": {
        "target_modules": ALL,
        "alpha_pattern": {"q_proj": 3, "layers.1.mlp.up_proj": 5},
    },
    "other ranks": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"layers.0.self_attn.v_proj": 2}},
    "rank-stabilized": {"target_modules": ["o_proj", "down_proj"], "use_rslora": True},
}


@pytest.fixture(scope="module", params=["Qwen2", "Qwen3"])
def base(
    request: pytest.FixtureRequest, starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a model in both forms; its output is its embedding in one of the two architectures."""
    folder = tmp_path_factory.mktemp("base")
    small_models.make(request.param, folder / "model", starter_safetensors)
    gguf_export.to_gguf(folder / "model", folder / "model.gguf", quant="f32")
    return folder


def tuned(model: Path, folder: Path, **settings: Any) -> Path:
    """An adapter with random matrices, as peft saves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    wrapped = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, **settings),
    )
    torch.manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter.data, 0, 0.2)
    wrapped.save_pretrained(folder)
    return folder


def scores(engine: Engine) -> list[float]:
    """Log-probabilities of the likeliest token at each place, in the order of the text."""
    sampling = Sampling(temperature=0.0, max_tokens=6, logprobs=1)
    pieces = engine.complete("def total(prices):", sampling=sampling)
    return [one.logprob for piece in pieces for one in piece.logprobs]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_both_engines_say_the_same_with_the_folder_that_peft_wrote(
    base: Path, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora.paths, "cache_folder", lambda: tmp_path / "cache")
    folder = tuned(base / "model", tmp_path / "adapter", **settings)
    weights = Weights("small", base / "model", "safetensors", None)
    with Transformers(weights, dtype="fp32", context=256, adapters=[folder]) as engine:
        expected = scores(engine)
    weights = Weights("small", base / "model.gguf", "gguf", None)
    with exact.attention():
        plain = LlamaCpp(weights, context=256, parallel=1)
        adapted = LlamaCpp(weights, context=256, parallel=1, adapters=[folder])
    with plain, adapted:
        assert scores(plain) != pytest.approx(expected, abs=0.01)
        assert scores(adapted) == pytest.approx(expected, abs=1e-3)


def test_a_file_is_made_once_and_again_when_the_adapter_changes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora.paths, "cache_folder", lambda: tmp_path / "cache")
    folder = tuned(base / "model", tmp_path / "adapter", target_modules=["q_proj"])
    first = lora.as_gguf(folder, base / "model.gguf")
    made = first.stat().st_mtime_ns
    assert lora.as_gguf(folder, base / "model.gguf") == first
    assert first.stat().st_mtime_ns == made
    assert lora.as_gguf(first, base / "model.gguf") == first, "a file is taken as it is"
    tuned(base / "model", folder, target_modules=["v_proj"])
    second = lora.as_gguf(folder, base / "model.gguf")
    assert second != first
    assert list(first.parent.iterdir()) == [second], "what nobody needs any more is gone"


def test_the_base_is_told_by_either_form(base: Path) -> None:
    assert lora.base_of(base / "model") == lora.base_of(base / "model.gguf")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"peft_type": "IA3"}, "of type 'IA3'"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "biases"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"use_something_new": True}, "use_something_new"),
    ],
)
def test_what_is_more_than_pairs_of_matrices_is_refused(
    base: Path, changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = tuned(base / "model", tmp_path / "adapter", target_modules=["q_proj"])
    file = folder / lora.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    fault = refused(folder, base, tmp_path / "out.gguf", ModelError)
    assert said in fault.message
    assert "transformers" in (fault.hint or "")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model.embed_tokens.lora_embedding_A", "model.embed_tokens.lora_embedding_B"], "no matrix of LoRA"),
        (["model.layers.0.self_attn.q_proj.lora_A.weight"], "lacks a matrix of"),
        (
            ["model.visual.blocks.0.attn.qkv.lora_A.weight", "model.visual.blocks.0.attn.qkv.lora_B.weight"],
            "visual",
        ),
        (["model.layers.0.linear_attn.out_proj.lora_A.weight"] * 1, "lacks a matrix of"),
        (
            [
                "model.layers.0.mlp.experts.0.up_proj.lora_A.weight",
                "model.layers.0.mlp.experts.0.up_proj.lora_B.weight",
            ],
            "experts",
        ),
        (["model.layers.0.nothing.lora_A.weight", "model.layers.0.nothing.lora_B.weight"], "no name for"),
    ],
)
def test_what_has_no_place_in_llamacpp_is_refused(
    base: Path, names: list[str], said: str, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / lora.CONFIG).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, "r": 4}))
    save_file({f"base_model.model.{name}": torch.zeros(4, 4) for name in names}, folder / lora.WEIGHTS)
    assert said in refused(folder, base, tmp_path / "out.gguf", ModelError).message


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_an_output_that_is_the_embedding_takes_no_adapter(base: Path, tmp_path: Path) -> None:
    tied = lora.base_of(base / "model").tied
    folder = tuned(base / "model", tmp_path / "adapter", target_modules=["lm_head"])
    if tied:
        assert "output is its embedding" in refused(folder, base, tmp_path / "out.gguf", ModelError).message
    else:
        assert lora.to_gguf(folder, lora.base_of(base / "model"), tmp_path / "out.gguf").is_file()


def test_nothing_is_overwritten_and_a_folder_that_is_none_is_told(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    assert "is not a LoRA adapter" in refused(tmp_path, base, out, UsageError).message
    folder = tuned(base / "model", tmp_path / "adapter", target_modules=["q_proj"])
    out.write_text("mine")
    assert "exists already" in refused(folder, base, out, UsageError).message
    assert out.read_text() == "mine"


def refused(folder: Path, base: Path, out: Path, kind: type[QwenError]) -> QwenError:
    before = out.read_bytes() if out.exists() else None
    with pytest.raises(kind) as fault:
        lora.to_gguf(folder, lora.base_of(base / "model"), out)
    assert (out.read_bytes() if out.exists() else None) == before
    return fault.value
