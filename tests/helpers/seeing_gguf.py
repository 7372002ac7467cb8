"""A small Qwen2.5-VL with random weights as llama.cpp takes it: the model and its projector, as GGUF files.

Tensor and key names are those of llama.cpp's `convert_hf_to_gguf.py` (Qwen2VLModel, Qwen2VLVisionModel).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import small_vocabulary
from gguf import GGUFWriter, TokenType

WIDTH, LAYERS, HEADS, KV_HEADS, INNER = 64, 2, 4, 2, 96
EYES, EYE_HEADS, EYE_INNER, PATCH = 32, 2, 64, 14
CONTEXT = 4096
# preprocessor_config.json of the published models.
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def make(folder: Path, starter: Path) -> tuple[Path, Path]:
    """(model, projector), with the chat template of the starter (its safetensors folder) and the frequent
    words of its tokenizer."""
    small_vocabulary.write(starter, folder)
    return _model(folder / "Qwen2.5-VL-tiny-F16.gguf", folder), _projector(folder / "mmproj-tiny-F32.gguf")


def _model(path: Path, tokenizer: Path) -> Path:
    writer = GGUFWriter(str(path), "qwen2vl")
    writer.add_name("Qwen2.5-VL-tiny")
    words = _tokenizer(writer, tokenizer)
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_rope_dimension_sections([2, 3, 3, 0])
    random = np.random.default_rng(1)
    kv = WIDTH // HEADS * KV_HEADS
    _add(writer, random, "token_embd", WIDTH, words)
    _norm(writer, "output_norm", WIDTH)
    for n in range(LAYERS):
        for name, wide, high, biased in (
            ("attn_q", WIDTH, WIDTH, True),
            ("attn_k", WIDTH, kv, True),
            ("attn_v", WIDTH, kv, True),
            ("attn_output", WIDTH, WIDTH, False),
            ("ffn_gate", WIDTH, INNER, False),
            ("ffn_up", WIDTH, INNER, False),
            ("ffn_down", INNER, WIDTH, False),
        ):
            _add(writer, random, f"blk.{n}.{name}", wide, high, biased=biased)
        _norm(writer, f"blk.{n}.attn_norm", WIDTH)
        _norm(writer, f"blk.{n}.ffn_norm", WIDTH)
    return _written(writer, path)


def _tokenizer(writer: GGUFWriter, folder: Path) -> int:
    """Write the tokenizer of `folder`; the number of its tokens."""
    settings = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    known = {number: (word, TokenType.NORMAL) for word, number in settings["model"]["vocab"].items()}
    for one in settings["added_tokens"]:
        known[one["id"]] = one["content"], TokenType.CONTROL if one["special"] else TokenType.USER_DEFINED
    words = [known.get(n, (f"[PAD{n}]", TokenType.UNUSED)) for n in range(max(known) + 1)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in settings["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([word for word, _ in words])
    writer.add_token_types([kind for _, kind in words])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(small_vocabulary.number(151_645))
    writer.add_add_bos_token(False)
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    writer.add_chat_template(config["chat_template"])
    return len(words)


def _projector(path: Path) -> Path:
    writer = GGUFWriter(str(path), "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "qwen2.5vl_merger")
    writer.add_bool("clip.use_silu", True)
    for name, value in {
        "image_size": 560,
        "patch_size": PATCH,
        "embedding_length": EYES,
        "feed_forward_length": EYE_INNER,
        "block_count": LAYERS,
        "projection_dim": WIDTH,
        "attention.head_count": EYE_HEADS,
        "n_wa_pattern": 2,  # of two layers the second looks at all of the picture
        "spatial_merge_size": 2,
    }.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", MEAN)
    writer.add_array("clip.vision.image_std", STD)
    random = np.random.default_rng(2)
    for name in ("weight", "weight.1"):  # the two frames of a step in time
        kernel = random.normal(0, 0.15, (EYES, 3, PATCH, PATCH)).astype(np.float32)
        writer.add_tensor(f"v.patch_embd.{name}", kernel)
    for n in range(LAYERS):
        for name, wide, high in (
            ("attn_q", EYES, EYES),
            ("attn_k", EYES, EYES),
            ("attn_v", EYES, EYES),
            ("attn_out", EYES, EYES),
            ("ffn_gate", EYES, EYE_INNER),
            ("ffn_up", EYES, EYE_INNER),
            ("ffn_down", EYE_INNER, EYES),
        ):
            _add(writer, random, f"v.blk.{n}.{name}", wide, high, biased=True, kind=np.float32)
        _norm(writer, f"v.blk.{n}.ln1", EYES)
        _norm(writer, f"v.blk.{n}.ln2", EYES)
    _norm(writer, "v.post_ln", EYES)
    _add(writer, random, "mm.0", 4 * EYES, 4 * EYES, biased=True, kind=np.float32)
    _add(writer, random, "mm.2", 4 * EYES, WIDTH, biased=True, kind=np.float32)
    return _written(writer, path)


def _add(
    writer: GGUFWriter,
    random: np.random.Generator,
    name: str,
    wide: int,
    high: int,
    *,
    biased: bool = False,
    kind: type = np.float16,
) -> None:
    writer.add_tensor(f"{name}.weight", random.normal(0, 0.15, (high, wide)).astype(kind))
    if biased:
        writer.add_tensor(f"{name}.bias", random.normal(0, 0.15, high).astype(np.float32))


def _norm(writer: GGUFWriter, name: str, wide: int) -> None:
    writer.add_tensor(f"{name}.weight", np.ones(wide, np.float32))


def _written(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
