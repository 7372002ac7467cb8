"""The config.json of every model in the catalog, so that a plan needs no network.

Values of https://huggingface.co/Qwen/<repository>/raw/main/config.json, of the fields that say how large a
model is. One row holds

    hidden  layers  heads  KV heads  intermediate  vocabulary  tied

where for mixtures `intermediate` is `expert width × experts / experts for a token + shared width`.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from qwen_cli.errors import ModelError
from qwen_cli.models.catalog.families import Model
from qwen_cli.models.formats import tensors

_QWEN15 = """
0.5b        1024  24  16  16   2816  151936  yes
1.8b        2048  24  16  16   5504  151936  no
4b          2560  40  20  20   6912  151936  no
7b          4096  32  32  32  11008  151936  no
14b         5120  40  40  40  13696  152064  no
32b         5120  64  40   8  27392  152064  no
72b         8192  80  64  64  24576  152064  no
110b        8192  80  64   8  49152  152064  no
moe-a2.7b   2048  24  16  16  1408x60/4+5632  151936  no
"""
_CODEQWEN15 = "7b  4096  32  32  4  13440  92416  no"
_QWEN2 = """
0.5b         896  24  14   2   4864  151936  yes
1.5b        1536  28  12   2   8960  151936  yes
7b          3584  28  28   4  18944  152064  no
57b-a14b    3584  28  28   4  2560x64/8+20480  151936  no
72b         8192  80  64   8  29568  152064  no
"""
_QWEN25 = """
0.5b         896  24  14   2   4864  151936  yes
1.5b        1536  28  12   2   8960  151936  yes
3b          2048  36  16   2  11008  151936  yes
7b          3584  28  28   4  18944  152064  no
14b         5120  48  40   8  13824  152064  no
32b         5120  64  40   8  27648  152064  no
72b         8192  80  64   8  29568  152064  no
"""
_QWEN3 = """
0.6b        1024  28  16   8   3072  151936  yes
1.7b        2048  28  16   8   6144  151936  yes
4b          2560  36  32   8   9728  151936  yes
8b          4096  36  32   8  12288  151936  no
14b         5120  40  40   8  17408  151936  no
32b         5120  64  64   8  25600  151936  no
30b-a3b     2048  48  32   4  768x128/8  151936  no
235b-a22b   4096  94  64   4  1536x128/8  151936  no
480b-a35b   6144  62  96   8  2560x160/8  151936  no
"""
_QWEN3_VL = """
2b          2048  28  16   8   6144  151936  yes
4b          2560  36  32   8   9728  151936  yes
8b          4096  36  32   8  12288  151936  no
32b         5120  64  64   8  25600  151936  no
30b-a3b     2048  48  32   4  768x128/8  151936  no
235b-a22b   4096  94  64   4  1536x128/8  151936  no
"""
_QWEN2_VL = """
2b          1536  28  12   2   8960  151936  yes
7b          3584  28  28   4  18944  152064  no
72b         8192  80  64   8  29568  152064  no
"""
_NEXT = "80b-a3b  2048  48  16  2  512x512/10+512  151936  no"
# heads of the linear attention's values in the last column
_QWEN35 = """
0.8b        1024  24   8   2   3584  248320  yes  16
2b          2048  24   8   2   6144  248320  yes  16
4b          2560  32  16   4   9216  248320  yes  32
9b          4096  32  16   4  12288  248320  no   32
27b         5120  64  24   4  17408  248320  no   48
35b-a3b     2048  40  16   2  512x256/8+512    248320  no  32
122b-a10b   3072  48  32   2  1024x256/8+1024  248320  no  64
397b-a17b   4096  60  32   2  1024x512/10+1024 248320  no  64
2.4t-a95b   8192  92  64   4  2048x512/10+2048 248320  no  128
"""
_FLASH_NEXT = "125b-a6b  2560  48  24  2  640x512/10+640  248320  no  48"
# Without an output layer: what comes out are the states.
_EMBEDS = """
0.6b        1024  28  16   8   3072  151669  yes
4b          2560  36  32   8   9728  151665  yes
8b          4096  36  32   8  12288  151665  yes
"""
_RERANKS = """
0.6b        1024  28  16   8   3072  151669  yes
4b          2560  36  32   8   9728  151669  yes
8b          4096  36  32   8  12288  151669  no
"""
_TABLES = {
    "qwen1.5": _QWEN15, "codeqwen1.5": _CODEQWEN15, "qwen2": _QWEN2, "qwen2.5": _QWEN25,
    "qwen2.5-1m": _QWEN25, "qwen2.5-coder": _QWEN25, "qwen2.5-math": _QWEN25, "qwen2.5-math-rm": _QWEN25,
    "qwen2.5-math-prm": _QWEN25, "qwq": _QWEN25, "qwen2-vl": _QWEN2_VL, "qwen2.5-vl": _QWEN25,
    "qwen3": _QWEN3, "qwen3-coder": _QWEN3, "qwen3-vl": _QWEN3_VL, "qwen3-next": _NEXT,
    "qwen3-coder-next": _NEXT, "qwen3.5": _QWEN35, "qwen3.6": _QWEN35, "qwen3.8": _QWEN35,
    "qwen3.8-flash-next": _FLASH_NEXT, "qvq": _QWEN2_VL, "qwen2.5-omni": _QWEN25,
    "qwen3-embedding": _EMBEDS, "qwen3-reranker": _RERANKS, "qwen3guard-gen": _QWEN3,
    "qwen3-vl-embedding": _QWEN3_VL, "qwen3-vl-reranker": _QWEN3_VL,
}  # fmt: skip

_HYBRID = {
    "head_dim": 256, "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
}  # fmt: skip
# What Qwen4-Exp has besides: residual streams, a table of n-grams in one layer, an index of tokens.
_STREAMS = {
    "hc_count": 4, "hc_lowrank": 320, "ple_layer_ids": [2], "ple_embed_dim": 2560, "ple_conv_kernel_size": 4,
    "ngram_size": 3, "heads_per_ngram": 8, "ngram_vocab_size_base": 20_000_000, "split_ngram_parts": 128,
    "make_ngram_vocab_size_divisible_by": 128, "indexer_n_heads": 4, "indexer_kv_heads": 1,
    "indexer_head_dim": 128, "indexer_budget": 2048, "indexer_compress_ratio": 4, "eos_token_id": 248044,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000_000, "partial_rotary_factor": 0.25,
                        "mrope_section": [11, 11, 10]},
}  # fmt: skip
# The sizes of the vision transformer of Qwen3-VL (SigLIP-2 Large and SO-400M) and, without deep stack, 3.5.
_BASE = {"depth": 12, "hidden_size": 768, "intermediate_size": 3072, "num_heads": 12}
_LARGE = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
          "deepstack_visual_indexes": [5, 11, 17]}  # fmt: skip
_SO400M = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
           "deepstack_visual_indexes": [8, 16, 24]}  # fmt: skip
# Parameters of the audio encoder that shares a projector file with the eyes: 32 layers of 1,280, 5,120 inside
# (transformers' Qwen2_5OmniAudioEncoderConfig).
_EARS = 640_000_000
_GATED = re.compile(r"(?P<width>\d+)x(?P<all>\d+)/(?P<used>\d+)(\+(?P<shared>\d+))?")


def has_shape(model: Model) -> bool:
    """Return whether the shape of `model` is known here: those of speech models are not."""
    return model.family in _TABLES


def config(model: Model) -> dict[str, Any]:
    """Return the config.json of `model`, as far as sizes go. Raises `ModelError` where that is not known."""
    if not has_shape(model):
        raise ModelError(
            f"the shape of {model.name} ({model.licence}) is not known here, so it cannot be planned",
            f"read its card: huggingface.co/{model.repo}",
        )
    size = _size(model)
    hidden, layers, heads, kv_heads, inner, vocabulary, tied, *linear = _row(_TABLES[model.family], size)
    text: dict[str, Any] = {
        "vocab_size": int(vocabulary), "hidden_size": int(hidden), "num_hidden_layers": int(layers),
        "num_attention_heads": int(heads), "num_key_value_heads": int(kv_heads),
        "max_position_embeddings": model.context,
    }  # fmt: skip
    if mixture := _GATED.fullmatch(inner):
        text |= {"moe_intermediate_size": int(mixture["width"]), "num_experts": int(mixture["all"]),
                 "num_experts_per_tok": int(mixture["used"])}  # fmt: skip
        if mixture["shared"]:
            text["shared_expert_intermediate_size"] = int(mixture["shared"])
    else:
        text["intermediate_size"] = int(inner)
    kind = _model_type(model, bool(mixture))
    if kind.startswith("qwen3"):
        text["head_dim"] = 128
    if kind == "qwen3_next" or linear:
        text |= _HYBRID
    if linear:
        text["linear_num_value_heads"] = int(linear[0])
    if kind == "qwen4_exp":
        text |= _STREAMS
    if model.family == "qwen2.5-1m":
        text["dual_chunk_attention_config"] = {
            "chunk_size": 262_144, "local_size": 8_192, "original_max_position_embeddings": 262_144,
        }  # fmt: skip
    same = {"model_type": kind, "tie_word_embeddings": tied == "yes", "dtype": "bfloat16"}
    if model.vision:
        return {**same, "text_config": text, "vision_config": _vision(kind, size, int(hidden))}
    reward = {"qwen2.5-math-rm": "Qwen2ForRewardModel", "qwen2.5-math-prm": "Qwen2ForProcessRewardModel"}
    named = {"architectures": [reward[model.family]]} if model.family in reward else {}
    return {**same, **text, **named}


def download_bytes(model: Model, form: Literal["gguf", "safetensors"]) -> int:
    """Return the bytes that `model` takes to fetch: its weights, and beside a GGUF its vision projector in
    16 bits."""
    if form == "safetensors" or not model.mmproj or not has_shape(model):
        return model.size(form)
    eyes = sum(tensor.parameters for tensor in tensors.of_vision(config(model)))
    return model.size(form) + 2 * (eyes + (_EARS if "audio" in model.tasks else 0))


def _size(model: Model) -> str:
    tag = model.name.partition(":")[2]
    return re.sub(r"-(base|instruct|thinking|instruct-2507|thinking-2507)$", "", tag)


def _row(table: str, size: str) -> list[str]:
    return next(row.split()[1:] for row in table.strip().splitlines() if row.split()[0] == size)


def _model_type(model: Model, mixture: bool) -> str:
    if model.family in ("qwen3-next", "qwen3-coder-next"):
        return "qwen3_next"
    if model.family == "qwen3.8-flash-next":
        return "qwen4_exp"
    if model.family in ("qwen3.5", "qwen3.6", "qwen3.8"):
        return ("qwen3_5_moe" if mixture else "qwen3_5") + ("" if model.vision else "_text")
    generation = {"1.5": "qwen2", "2": "qwen2", "2.5": "qwen2", "3": "qwen3"}[model.generation]
    if model.family in ("qwen2.5-vl", "qwen2.5-omni"):
        generation = "qwen2_5"
    return generation + ("_vl" if model.vision else "") + ("_moe" if mixture else "")


def _vision(kind: str, size: str, hidden: int) -> dict[str, Any]:
    if kind == "qwen2_vl":  # here hidden_size is the text model's
        return {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "in_chans": 3,
                "hidden_size": hidden, "patch_size": 14, "spatial_merge_size": 2,
                "temporal_patch_size": 2}  # fmt: skip
    common = {"out_hidden_size": hidden, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if kind == "qwen2_5_vl":
        inner = 3420 if size in ("3b", "7b") else 3456
        return {**common, "depth": 32, "hidden_size": 1280, "intermediate_size": inner, "num_heads": 16,
                "in_chans": 3, "patch_size": 14}  # fmt: skip
    eyes = _BASE if size == "0.8b" else _LARGE if size in ("2b", "4b") else _SO400M
    if kind.startswith(("qwen3_5", "qwen4")):
        eyes = {**eyes, "deepstack_visual_indexes": []}
    return {**common, **eyes, "in_channels": 3, "patch_size": 16, "num_position_embeddings": 2304}
