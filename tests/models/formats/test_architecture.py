"""The shape of a model from its files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf_files
import pytest
import torch
from safetensors.torch import save_file

from qwen_cli.commands.models import output
from qwen_cli.errors import ModelError
from qwen_cli.models.formats import architecture
from qwen_cli.models.formats.dual_chunk import Chunks
from qwen_cli.models.hub.resolve import Weights

CONFIG: dict[str, Any] = {
    "model_type": "qwen3",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 1000,
    "max_position_embeddings": 40960,
    "dtype": "bfloat16",
    "rope_theta": 1e6,
}


def folder(path: Path, config: dict[str, Any] | None = None, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def test_the_starter(starter_gguf: Path) -> None:
    shape = architecture.read(starter_gguf)
    assert (shape.layers, shape.query_heads, shape.kv_heads, shape.head_dim) == (24, 14, 2, 64)
    assert (shape.hidden, shape.vocabulary, shape.context) == (896, 151_936, 32_768)
    assert (shape.experts, shape.quantization, shape.model_type) == (0, "Q4_K_M", "qwen2")
    # 2 (K and V) × 24 layers × 2 KV heads × 64 values × 2 bytes
    assert shape.kv_bytes_per_token() == 12_288
    assert shape.kv_bytes_per_token(1) == 6_144
    assert shape.kv_saving == 7
    assert shape.chat_template and shape.fim and not shape.vision


def test_a_gguf_with_its_own_sampling_rope_scaling_and_experts(tmp_path: Path) -> None:
    path = gguf_files.write(
        tmp_path / "m.gguf",
        "qwen3moe",
        **{
            "general.sampling.temp": 0.5,
            "general.sampling.top_k": 20,
            "qwen3moe.rope.scaling.type": "yarn",
            "qwen3moe.rope.scaling.factor": 4.0,
            "qwen3moe.rope.scaling.original_context_length": 32768,
            "qwen3moe.expert_count": 128,
            "qwen3moe.expert_used_count": 8,
            "qwen3moe.attention.key_length": 24,
        },
    )
    shape = architecture.read(path)
    assert shape.sampling == {"temperature": 0.5, "top_k": 20}
    assert shape.rope_scaling == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
    }
    assert (shape.experts, shape.active_experts, shape.head_dim) == (128, 8, 24)
    assert shape.licence == "apache-2.0"


def test_a_hybrid_model_keeps_kv_in_some_layers_only(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", "qwen3next", **{"qwen3next.full_attention_interval": 4})
    shape = architecture.read(path)
    assert (shape.layers, shape.attention_layers) == (4, 1)
    as_folder = architecture.read(
        folder(tmp_path / "f", {"layer_types": ["linear_attention"] * 3 + ["full_attention"]})
    )
    assert as_folder.attention_layers == 1


def test_a_folder(tmp_path: Path) -> None:
    path = folder(
        tmp_path / "m",
        generation_config={"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True},
        tokenizer_config={
            "chat_template": "{{ x }}",
            "added_tokens_decoder": {"5": {"content": "fim_prefix"}},
        },
    )
    save_file({"a": torch.zeros(10, 10), "b": torch.zeros(5)}, path / "model.safetensors")
    shape = architecture.read(path)
    assert shape.parameters == 105
    assert shape.size == (path / "model.safetensors").stat().st_size
    assert shape.sampling == {"temperature": 0.6, "top_k": 20, "top_p": 0.95}
    assert (shape.quantization, shape.context, shape.rope_base) == ("bfloat16", 40960, 1e6)
    assert shape.kv_bytes_per_token() == 2 * 4 * 2 * 16 * 2
    assert shape.kv_saving == 4
    assert shape.chat_template == "{{ x }}" and shape.fim


def test_a_vision_folder_keeps_the_text_model_in_text_config(tmp_path: Path) -> None:
    path = tmp_path / "vl"
    path.mkdir()
    text = {k: v for k, v in CONFIG.items() if k != "model_type"}
    config = {"model_type": "qwen3_vl", "text_config": text, "vision_config": {"depth": 2}}
    (path / "config.json").write_text(json.dumps(config))
    shape = architecture.read(path)
    assert (shape.model_type, shape.vision, shape.layers) == ("qwen3_vl", True, 4)


@pytest.mark.parametrize(
    ("model_type", "eyes", "sees"),
    [
        ("qwen3_5", {"depth": 12}, True),
        ("qwen3_5_moe", {"depth": 27}, True),
        ("qwen3_5_moe", None, False),  # Qwen3.8-2.4T: the same architecture for text alone
        ("qwen3_5_text", None, False),
        ("qwen3", None, False),
        ("qwen2_5_vl", {"depth": 32}, True),
    ],
)
def test_a_model_sees_if_its_config_has_a_vision_tower_whatever_its_name(
    tmp_path: Path, model_type: str, eyes: dict[str, int] | None, sees: bool
) -> None:
    path = tmp_path / "m"
    path.mkdir()
    config = {**CONFIG, "model_type": model_type} | ({"vision_config": eyes} if eyes else {})
    (path / "config.json").write_text(json.dumps(config))
    assert architecture.read(path).vision is sees


def test_the_draft_layer_of_a_gguf_is_no_layer_of_the_model(tmp_path: Path) -> None:
    # unsloth/Qwen3.8-27B-GGUF: block_count 65, nextn_predict_layers 1; 16 of 64 layers keep keys and values.
    path = gguf_files.write(
        tmp_path / "m.gguf", "qwen35",
        **{"qwen35.block_count": 65, "qwen35.nextn_predict_layers": 1, "qwen35.full_attention_interval": 4},
    )  # fmt: skip
    shape = architecture.read(path)
    assert (shape.layers, shape.draft_layers, shape.attention_layers) == (64, 1, 16)


@pytest.mark.parametrize(("name", "sees"), [("qwen3", False), ("qwen35", True), ("qwen3next", True)])
def test_a_gguf_with_positions_in_space_takes_a_projector(tmp_path: Path, name: str, sees: bool) -> None:
    more = {f"{name}.rope.dimension_sections": [11, 11, 10, 0]} if sees else {}
    path = gguf_files.write(tmp_path / "m.gguf", name, **more)
    assert architecture.read(path).vision is sees


def test_greedy_models_say_so(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", generation_config={"do_sample": False, "temperature": 0.7})
    assert architecture.read(path).sampling == {"temperature": 0.0}


def test_packed_weights_are_not_counted(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", {"quantization_config": {"quant_method": "awq"}})
    save_file({"a": torch.zeros(10)}, path / "model.safetensors")
    shape = architecture.read(path)
    assert (shape.parameters, shape.quantization) == (None, "awq")


def test_yarn_in_a_config_is_reported(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert architecture.read(folder(tmp_path / "a", {"rope_scaling": scaling})).rope_scaling == scaling
    # As the cards of Qwen2.5 write it, and as transformers 5 saves it.
    older = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert architecture.read(folder(tmp_path / "c", {"rope_scaling": older})).rope_scaling == scaling
    saved = architecture.read(folder(tmp_path / "d", {"rope_parameters": scaling | {"rope_theta": 5e6}}))
    assert (saved.rope_scaling, saved.rope_base) == (scaling, 5e6)
    plain = {"rope_type": "default", "rope_theta": 5e6}
    newer = architecture.read(folder(tmp_path / "b", {"rope_parameters": plain}))
    assert (newer.rope_scaling, newer.rope_base) == (None, 5e6)


def test_pictures_share_positions_out_and_stretch_nothing(tmp_path: Path) -> None:
    shared = {"type": "mrope", "mrope_section": [16, 24, 24]}  # Qwen/Qwen2.5-VL-7B-Instruct
    assert architecture.read(folder(tmp_path / "m", {"rope_scaling": shared})).rope_scaling is None


@pytest.mark.parametrize("name", ["num_experts", "num_local_experts"])
def test_experts_under_the_published_name_and_that_of_transformers(tmp_path: Path, name: str) -> None:
    mixture = {"model_type": "qwen3_moe", name: 128, "num_experts_per_tok": 8}
    shape = architecture.read(folder(tmp_path / "m", mixture))
    assert (shape.experts, shape.active_experts) == (128, 8)


def test_how_long_texts_are_cut(tmp_path: Path) -> None:
    """As Qwen2.5-7B-Instruct-1M's config.json says it, and Qwen3-2507's config_1m.json."""
    said = {"chunk_size": 262_144, "local_size": 8_192, "original_max_position_embeddings": 262_144}
    million = {"dual_chunk_attention_config": said, "max_position_embeddings": 1_010_000}
    own = architecture.read(folder(tmp_path / "own", million))
    assert own.dual_chunk == Chunks(262_144, 8_192, 262_144, 1_010_000)
    assert own.context == 1_010_000
    offered = architecture.read(
        folder(tmp_path / "offered", {"sparse_attention_config": {}}, config_1m=million)
    )
    assert offered.dual_chunk == own.dual_chunk
    assert offered.context == 40_960
    assert architecture.read(folder(tmp_path / "plain")).dual_chunk is None
    weights = Weights("own", tmp_path / "own", "safetensors", None)
    assert output.facts(None, weights, own)["dual_chunk_attention"] == {
        "size": 262_144, "local": 8_192, "original": 262_144, "reach": 1_010_000,
    }  # fmt: skip


@pytest.mark.parametrize("fields", [{"rope_scaling": "yarn"}, {"num_experts": "many"}])
def test_fields_of_another_kind_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="does not give"):
        architecture.read(folder(tmp_path / "m", fields))


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    file = path / "model.safetensors"
    save_file({"a": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors is truncated: .* bytes, its header says"):
        architecture.read(path)
    file.write_bytes(b"abc")
    with pytest.raises(ModelError, match="truncated or not safetensors"):
        architecture.read(path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = folder(
        tmp_path / "m",
        **{"model.safetensors.index": {"weight_map": {"a": "model-00002-of-00002.safetensors"}}},
    )
    with pytest.raises(ModelError, match=r"lacks model-00002-of-00002\.safetensors"):
        architecture.read(path)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        architecture.read(tmp_path)


def test_a_broken_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{ not json")
    with pytest.raises(ModelError, match="cannot read"):
        architecture.read(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ModelError, match="num_attention_heads"):
        architecture.read(tmp_path)


@pytest.mark.parametrize("model_type", ["llama", "", "bert", "whisper", "wav2vec2"])
def test_other_architectures_are_refused(tmp_path: Path, model_type: str) -> None:
    with pytest.raises(ModelError, match="not a Qwen text or vision model"):
        architecture.read(folder(tmp_path / "m", {"model_type": model_type}))


def test_other_gguf_architectures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="architecture 'llama'"):
        architecture.read(gguf_files.write(tmp_path / "m.gguf", "llama"))
    with pytest.raises(ModelError, match="vision projector"):
        architecture.read(gguf_files.write(tmp_path / "mmproj.gguf", "clip"))


def test_newer_qwen_generations_pass() -> None:
    for model_type in ("qwen35", "qwen35moe", "qwen3_5_moe", "qwen4exp"):
        architecture.check_supported(model_type, Path("m"))
