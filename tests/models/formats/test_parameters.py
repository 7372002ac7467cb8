"""Parameters, active parameters and cache of real models, from their configuration alone.

Two witnesses: what the hub says of the published weights, and transformers' own classes built without memory.
"""

from __future__ import annotations

from typing import Any

import pytest
import small_models

from qwen_cli.errors import ModelError
from qwen_cli.models.catalog import lookup, published
from qwen_cli.models.formats import parameters as formats_parameters
from qwen_cli.models.formats.parameters import Counted

# Parameters: `safetensors.total` of https://huggingface.co/api/models/<repository>, which is half of
# `metadata.total_size` of its model.safetensors.index.json in bfloat16 (without what Qwen3-0.6B, 1.7B and
# Qwen3-Next store besides: a copy of tied weights, the layer for multi-token prediction). Active parameters:
# the same less the experts not asked; the cards round them to 2.7B, 14B, 3.3B, 22B, 35B. Bytes of keys and
# values a token in 16 bits: 2 × layers that keep them × KV heads × head size × 2, of the cards' "Number of
# Layers" and "Number of Attention Heads (GQA)".
PUBLISHED = {
    "qwen1.5:0.5b": (463_987_712, None, 2 * 24 * 16 * 64 * 2),
    "qwen1.5:1.8b": (1_836_828_672, None, 2 * 24 * 16 * 128 * 2),
    "qwen1.5:7b": (7_721_324_544, None, 2 * 32 * 32 * 128 * 2),
    "qwen1.5:14b": (14_167_290_880, None, 2 * 40 * 40 * 128 * 2),
    "qwen1.5:32b": (32_512_218_112, None, 2 * 64 * 8 * 128 * 2),
    "qwen1.5:72b": (72_287_920_128, None, 2 * 80 * 64 * 128 * 2),
    "qwen1.5:110b": (111_209_914_368, None, 2 * 80 * 8 * 128 * 2),
    "qwen1.5:moe-a2.7b": (14_315_784_192, 2_689_173_504, 2 * 24 * 16 * 128 * 2),
    "codeqwen1.5:7b": (7_250_284_544, None, 2 * 32 * 4 * 128 * 2),
    "qwen2:0.5b": (494_032_768, None, 2 * 24 * 2 * 64 * 2),
    "qwen2:57b-a14b": (57_408_658_944, 14_249_270_784, 2 * 28 * 4 * 128 * 2),
    "qwen2:72b": (72_706_203_648, None, 2 * 80 * 8 * 128 * 2),
    "qwen2.5:1.5b": (1_543_714_304, None, 2 * 28 * 2 * 128 * 2),
    "qwen2.5:3b": (3_085_938_688, None, 2 * 36 * 2 * 128 * 2),
    "qwen2.5:7b": (7_615_616_512, None, 2 * 28 * 4 * 128 * 2),
    "qwen2.5-coder:14b": (14_770_033_664, None, 2 * 48 * 8 * 128 * 2),
    "qwq:32b": (32_763_876_352, None, 2 * 64 * 8 * 128 * 2),
    "qwen3:0.6b": (596_049_920, None, 2 * 28 * 8 * 128 * 2),
    "qwen3:4b": (4_022_468_096, None, 2 * 36 * 8 * 128 * 2),
    "qwen3:8b": (8_190_735_360, None, 2 * 36 * 8 * 128 * 2),
    "qwen3:14b": (14_768_307_200, None, 2 * 40 * 8 * 128 * 2),
    "qwen3:32b": (32_762_123_264, None, 2 * 64 * 8 * 128 * 2),
    "qwen3:30b-a3b": (30_532_122_624, 3_353_032_704, 2 * 48 * 4 * 128 * 2),
    "qwen3:235b-a22b": (235_093_634_560, 22_190_763_520, 2 * 94 * 4 * 128 * 2),
    "qwen3-coder:480b-a35b": (480_154_875_392, 35_474_765_312, 2 * 62 * 8 * 128 * 2),
    # 12 of 48 layers keep keys and values, 2 heads of 256 each.
    "qwen3-next:80b-a3b-instruct": (79_674_391_296, 3_874_929_408, 2 * 12 * 2 * 256 * 2),
    "qwen2-vl:2b": (2_208_985_600, None, 2 * 28 * 2 * 128 * 2),
    "qwen2-vl:7b": (8_291_375_616, None, 2 * 28 * 4 * 128 * 2),
    "qwen2-vl:72b": (73_405_560_320, None, 2 * 80 * 8 * 128 * 2),
    "qwen2.5-vl:3b": (3_754_622_976, None, 2 * 36 * 2 * 128 * 2),
    "qwen2.5-vl:7b": (8_292_166_656, None, 2 * 28 * 4 * 128 * 2),
    "qwen2.5-vl:32b": (33_452_718_336, None, 2 * 64 * 8 * 128 * 2),
    "qwen2.5-vl:72b": (73_410_777_344, None, 2 * 80 * 8 * 128 * 2),
    "qwen3-vl:2b-instruct": (2_127_532_032, None, 2 * 28 * 8 * 128 * 2),
    "qwen3-vl:4b-instruct": (4_437_815_808, None, 2 * 36 * 8 * 128 * 2),
    "qwen3-vl:8b-instruct": (8_767_123_696, None, 2 * 36 * 8 * 128 * 2),
    "qwen3-vl:30b-a3b-instruct": (31_070_754_032, 3_891_664_112, 2 * 48 * 4 * 128 * 2),
    # One of four layers keeps keys and values. Text as GGUF headers count it (26,895,998,464 and
    # 34,660,610,688), eyes as timm's `qwen3_vit` (87.4, 305.5 and 415.0 million) with each one's projector.
    "qwen3.5:0.8b": (852_985_920, None, 2 * 6 * 2 * 256 * 2),
    "qwen3.5:2b": (2_213_241_664, None, 2 * 6 * 2 * 256 * 2),
    "qwen3.5:4b": (4_539_265_536, None, 2 * 8 * 4 * 256 * 2),
    "qwen3.5:9b": (9_409_813_744, None, 2 * 8 * 4 * 256 * 2),
    "qwen3.5:27b": (26_895_998_464 + 460_730_096, None, 2 * 16 * 4 * 256 * 2),
    "qwen3.5:35b-a3b": (34_660_610_688 + 446_571_248, 3_901_560_176, 2 * 10 * 2 * 256 * 2),
    "qwen3.5:122b-a10b": (122_562_817_776, 10_222_579_440, 2 * 12 * 2 * 256 * 2),
    "qwen3.5:397b-a17b": (396_802_360_816, 17_805_051_376, 2 * 15 * 2 * 256 * 2),
    "qwen3.6:27b": (26_895_998_464 + 460_730_096, None, 2 * 16 * 4 * 256 * 2),
    "qwen3.6:35b-a3b": (34_660_610_688 + 446_571_248, 3_901_560_176, 2 * 10 * 2 * 256 * 2),
    "qwen3.8:27b": (26_895_998_464 + 460_730_096, None, 2 * 16 * 4 * 256 * 2),
    "qwen3.8:2.4t-a95b": (2_419_804_697_984, 95_287_866_752, 2 * 23 * 4 * 256 * 2),
    # The hub counts 179,999,981,459 with the layer that drafts; 12 of 48 layers keep keys and values.
    "qwen3.8-flash-next:125b-a6b": (177_392_830_576, 7_755_925_616, 2 * 12 * 2 * 256 * 2),
    # As keras_hub's presets count them, and the hub for 8B: without an output layer.
    "qwen3-embedding:0.6b": (595_776_512, None, 2 * 28 * 8 * 128 * 2),
    "qwen3-embedding:4b": (4_021_774_336, None, 2 * 36 * 8 * 128 * 2),
    "qwen3-embedding:8b": (7_567_295_488, None, 2 * 36 * 8 * 128 * 2),
}

_DELTA = {
    "head_dim": 256, "linear_num_value_heads": 32, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "vocab_size": 248_320,
}  # fmt: skip
# Qwen3.5 as transformers' classes have it by themselves and in sizes that were published: Qwen3.5-0.8B, -27B,
# -35B-A3B (the fields that training recipes for them give; github.com/THUDM/slime, scripts/models).
QWEN35: dict[str, tuple[str, dict[str, Any]]] = {
    "0.8B": (
        "Qwen3_5",
        {
            **_DELTA, "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 24,
            "num_attention_heads": 8, "num_key_value_heads": 2, "linear_num_value_heads": 16,
        },
    ),
    "27B": (
        "Qwen3_5",
        {
            **_DELTA, "hidden_size": 5120, "intermediate_size": 17_408, "num_hidden_layers": 64,
            "num_attention_heads": 24, "num_key_value_heads": 4, "linear_num_value_heads": 48,
        },
    ),
    "35B-A3B": (
        "Qwen3_5Moe",
        {
            **_DELTA, "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
            "num_key_value_heads": 2, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
            "num_experts": 256, "num_experts_per_tok": 8,
        },
    ),
}  # fmt: skip


PLAIN = next(m for m in lookup.MODELS if m.name == "qwen3:8b")


def of(name: str) -> Counted:
    model = lookup.find(name)
    assert model and model.name == name
    return formats_parameters.count(published.config(model), name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_counted_exactly(name: str) -> None:
    parameters, active, kept = PUBLISHED[name]
    counted = of(name)
    assert counted.parameters == parameters
    assert counted.active == (active or parameters)
    assert counted.cache.bytes_per_token() == kept
    assert counted.cache.bytes_at(1000) == 1000 * kept + counted.cache.constant_bytes()


def test_the_largest_is_as_large_as_its_index_says() -> None:
    """4,892,388,705,238 bytes (github.com/vllm-project/recipes), with the layer that drafts: one more of full
    attention, two matrices that join it and three norms."""
    counted = of("qwen3.8:2.4t-a95b")
    draft = sum(t.parameters for t in counted.tensors if t.layer == 3) + 2 * 8192 * 8192 + 3 * 8192
    assert 2 * (counted.parameters + draft) == pytest.approx(4_892_388_705_238, rel=1e-5)


# Of those that hear, the ears are not counted.
_SHAPED = [m for m in lookup.MODELS if published.has_shape(m) and "audio" not in m.tasks]


@pytest.mark.parametrize("model", _SHAPED, ids=lambda model: model.name)
def test_the_catalog_rounds_what_is_counted(model: lookup.Model) -> None:
    counted = formats_parameters.count(published.config(model), model.name)
    # Reward models have a small head where the card's count is that of the model they were made from.
    assert counted.parameters == pytest.approx(
        model.parameters, rel=0.08 if "reward" in model.tasks else 0.02
    )
    if model.active:
        assert counted.active < counted.parameters
    assert counted.context == model.context


def _built(config: Any, *, sees: bool) -> Any:
    import torch
    import transformers

    auto = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config)


def _compare(config: Any, *, sees: bool) -> None:
    """Parameters, linear layers, active parameters and layers that keep something, against transformers."""
    import torch

    model = _built(config, sees=sees)
    counted = formats_parameters.count(config.to_dict(), "config.json")
    assert counted.parameters == sum(parameter.numel() for parameter in model.parameters())
    linear = sum(
        module.weight.numel()
        for module in model.modules()
        if type(module) is torch.nn.Linear and module is not model.get_output_embeddings()
    )
    assert sum(t.parameters for t in (*counted.tensors, *counted.vision) if t.linear) == linear
    asked = 0
    for name, parameter in model.named_parameters():
        stacked = ".experts." in name
        share = config.get_text_config().num_experts_per_tok / parameter.shape[0] if stacked else 1
        asked += 0 if "ngram_embedding" in name else round(parameter.numel() * share)
    assert counted.active == asked


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_small_models_of_each_architecture_as_transformers_builds_them(architecture: str) -> None:
    import transformers

    config = getattr(transformers, f"{architecture}Config")(**small_models.FIELDS[architecture])
    _compare(config, sees=getattr(config, "vision_config", None) is not None)


@pytest.mark.parametrize("layers", [[], [1], [2, 3]])
def test_streams_and_tables_of_ngrams_as_transformers_builds_them(layers: list[int]) -> None:
    """Qwen4-Exp: the tables have a prime number of rows for each head, padded."""
    import transformers

    text = {
        **_DELTA, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "hc_count": 3, "hc_lowrank": 8,
        "ple_layer_ids": layers, "ple_embed_dim": 64, "ngram_vocab_size_base": 89, "ngram_size": 3,
        "heads_per_ngram": 4, "make_ngram_vocab_size_divisible_by": 16, "indexer_n_heads": 2,
        "indexer_kv_heads": 1, "indexer_head_dim": 32, "indexer_budget": 16, "indexer_compress_ratio": 4,
        "eos_token_id": 0,
    }  # fmt: skip
    _compare(transformers.Qwen4ExpConfig(text_config=text), sees=True)


@pytest.mark.parametrize("size", QWEN35)
def test_qwen35_as_transformers_builds_it(size: str) -> None:
    import transformers

    architecture, fields = QWEN35[size]
    _compare(getattr(transformers, f"{architecture}Config")(text_config=fields), sees=True)


@pytest.mark.parametrize(
    "name",
    [
        "qwen1.5:moe-a2.7b", "qwen2:57b-a14b", "qwen2.5:7b", "qwen3:4b", "qwen3:235b-a22b",
        "qwen3-next:80b-a3b-instruct", "qwen2-vl:7b", "qwen2.5-vl:32b", "qwen3-vl:32b-instruct",
        "qwen3-vl:235b-a22b-instruct", "qwen3.5:0.8b", "qwen3.5:4b", "qwen3.5:397b-a17b", "qwen3.8:27b",
        "qwen3.8:2.4t-a95b", "qwen3.8-flash-next:125b-a6b", "qvq:72b", "qwen3-reranker:8b",
        "qwen3-vl-embedding:2b",
    ],
)  # fmt: skip
def test_published_models_as_transformers_builds_them(name: str) -> None:
    import transformers

    model = lookup.find(name)
    assert model
    fields = published.config(model)
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    _compare(config, sees=model.vision)


@pytest.mark.parametrize("fields", [{"mlp_only_layers": [0, 2]}, {"decoder_sparse_step": 2}])
def test_mixtures_with_dense_layers_among_them(fields: dict[str, Any]) -> None:
    import transformers

    for architecture in ("Qwen2Moe", "Qwen3Moe", "Qwen3Next"):
        whole = {**small_models.FIELDS[architecture], **fields}
        _compare(getattr(transformers, f"{architecture}Config")(**whole), sees=False)


_SMALL = {"vocab_size": 512, "eos_token_id": None, "pad_token_id": None}


def _cached(config: Any, tokens: int) -> int:
    """Bytes in transformers' own cache after `tokens` tokens through a model of random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    cache = transformers.DynamicCache(config=config)
    with torch.no_grad():
        for start in range(0, tokens, 16):
            ids = torch.arange(start, min(start + 16, tokens))[None] % config.vocab_size
            model(ids, cache=cache, use_cache=True)
    total = 0
    for layer in cache.layers:
        held = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        for name in ("conv_states", "recurrent_states"):
            held += list((getattr(layer, name, None) or {}).values())
        total += sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)
    return total


def test_a_hybrid_keeps_states_of_constant_size() -> None:
    import transformers

    fields = {**small_models.FIELDS["Qwen3Next"], **_SMALL}
    config = transformers.Qwen3NextConfig(**fields)
    counted = formats_parameters.count(config.to_dict(), "config.json")
    for tokens in (16, 48):
        assert counted.cache.bytes_at(tokens) == _cached(config, tokens)


def test_sliding_layers_keep_no_more_than_their_window() -> None:
    import transformers

    fields = {
        **small_models.SIZES, **_SMALL, "use_sliding_window": True, "sliding_window": 32,
        "max_window_layers": 1,
    }  # fmt: skip
    config = transformers.Qwen2Config(**fields)
    counted = formats_parameters.count(config.to_dict(), "config.json")
    assert (counted.cache.full, counted.cache.sliding, counted.cache.window) == (1, 2, 32)
    assert counted.cache.bytes_at(16) == _cached(config, 16)
    # transformers keeps one token less than the window: the next one makes it full.
    one = 2 * 2 * 2 * 16 * 2
    assert counted.cache.bytes_at(64) == _cached(config, 64) + one
    # What the published files give instead of a list of layers means the same.
    bare = {k: v for k, v in config.to_dict().items() if k != "layer_types"}
    assert formats_parameters.count(bare, "config.json").cache == counted.cache


def test_a_window_that_is_not_used_is_none() -> None:
    text = {**published.config(PLAIN), "sliding_window": 4096, "use_sliding_window": False}
    assert formats_parameters.count(text, "config.json").cache.sliding == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": None}, "lacks 'hidden_size'"),
        ({"hidden_size": "wide"}, "hidden_size = 'wide'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"intermediate_size": None}, "field of the wrong kind"),
        ({"num_experts": 4}, "lacks 'num_experts_per_tok'"),
    ],
)
def test_a_config_that_lacks_a_field_is_one_line(change: dict[str, Any], says: str) -> None:
    config = {**published.config(PLAIN), **change}
    with pytest.raises(ModelError, match=says) as fault:
        formats_parameters.count(config, "config.json")
    assert "\n" not in str(fault.value)
