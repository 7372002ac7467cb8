"""GGUF to safetensors: what the transformers engine needs where only a GGUF file is at hand.

The quantised blocks are read once, straight from the mapped file, and written as bfloat16 piece by piece.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import (
    gguf_header,
    gguf_tokenizer,
    safetensors_writer,
    sampling_fields,
    whole_folder,
)
from qwen_cli.models.formats.safetensors_writer import Tensor

if TYPE_CHECKING:
    import numpy as np

    from qwen_cli.models.progress import Progress

# GGUF architecture → transformers model type and class.
ARCHITECTURES = {
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen2moe": ("qwen2_moe", "Qwen2MoeForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "qwen3moe": ("qwen3_moe", "Qwen3MoeForCausalLM"),
}
# GGUF tensor name → checkpoint name (llama.cpp's gguf-py/gguf/tensor_mapping.py, read backwards). Qwen's
# query and key rows keep their order in GGUF; only Llama's are permuted.
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
EXPERTS = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}


def to_safetensors(gguf: Path, out: Path, *, progress: Progress | None = None) -> Path:
    """Write the folder `out` (config, tokenizer, bfloat16 weights) from the GGUF file `gguf`; return `out`.

    `gguf` is the first file of a split model. `out` appears only when it is complete. Raises `ModelError` for
    a file that is not whole or not one of `ARCHITECTURES`, `UsageError` where `out` holds something already.
    """
    whole_folder.check_free(out)
    header = gguf_header.read(gguf)  # quick, and says what is wrong with a truncated or foreign file
    if header.architecture not in ARCHITECTURES:
        raise ModelError(
            f"{gguf.name} holds the architecture {header.architecture!r}, which cannot be converted",
            f"supported are {', '.join(ARCHITECTURES)}",
        )
    metadata, packed = _read(header.shards)
    tensors = [t for name, rows, kind in packed for t in _named(gguf, name, rows, kind)]
    try:
        with whole_folder.written(out, sum(t.nbytes for t in tensors), "conversion") as partial:
            _write_json(partial / "config.json", _config(metadata, tensors))
            _write_json(partial / "generation_config.json", _generation_config(metadata, gguf))
            gguf_tokenizer.write(metadata, partial)
            safetensors_writer.write(tensors, partial, f"converting {gguf.name}", progress)
    except OSError as error:
        if (out / "config.json").is_file():  # another process was quicker
            return out
        raise ModelError(
            f"could not write {out}: {error.strerror or error}", "check space and rights"
        ) from error
    except KeyError as error:
        raise ModelError(
            f"{gguf.name} lacks the metadata {error.args[0]!r}", "fetch the file again"
        ) from error
    return out


def _read(files: Iterable[Path]) -> tuple[dict[str, Any], list[tuple[str, np.ndarray, Any]]]:
    """Return the metadata, and name, rows and packing of every tensor, of the files a model is split in."""
    metadata: dict[str, Any] = {}
    tensors = []
    for path in files:
        try:
            reader = _reader(path)
            for key, field in reader.fields.items():
                metadata.setdefault(key, field.contents())
            tensors += [(t.name, t.data, t.tensor_type) for t in reader.tensors]
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, IndexError, struct.error, UnicodeDecodeError) as error:
            raise ModelError(f"{path} is not a whole GGUF file", "fetch it again") from error
    return metadata, tensors


def _reader(path: Path) -> Any:
    import numpy as np  # with gguf 0.4 s; only conversion needs them
    from gguf import GGUFReader, GGUFValueType

    class Reader(GGUFReader):
        """The library's reader with arrays read at a stroke: its own takes 15 s for Qwen's vocabulary."""

        def _get_field_parts(
            self, orig_offs: int, raw_type: int
        ) -> tuple[int, list[Any], list[int], list[Any]]:
            if raw_type != GGUFValueType.ARRAY:
                return super()._get_field_parts(orig_offs, raw_type)
            data: Any = self.data  # numpy's types name no buffer before Python 3.12
            item, count = struct.unpack_from("<IQ", data, orig_offs)
            start = orig_offs + 12
            types = [GGUFValueType.ARRAY, GGUFValueType(item)]
            if item != GGUFValueType.STRING:
                values = self._get(start, self.gguf_scalar_to_np[GGUFValueType(item)], count)
                return 12 + values.nbytes, [values], [0], types
            view, length, strings = memoryview(data), struct.Struct("<Q").unpack_from, []
            for _ in range(count):
                end = start + 8 + length(view, start)[0]
                strings.append(np.frombuffer(view[start + 8 : end], np.uint8))
                start = end
            return start - orig_offs, strings, list(range(count)), types

    return Reader(path)


def _named(gguf: Path, name: str, rows: np.ndarray, kind: Any) -> Iterator[Tensor]:
    """Yield one GGUF tensor under its names in a checkpoint: one, or one for each expert it stacks."""
    from gguf import quant_shape_from_byte_shape

    shape = tuple(rows.shape)
    if rows.dtype == "uint8":
        shape = quant_shape_from_byte_shape(shape, kind)
    stem, _, ending = name.rpartition(".")
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if stem in WHOLE:
        yield Tensor(f"{WHOLE[stem]}.{ending}", shape, rows, kind)
    elif layer and layer[2] in EXPERTS:
        for expert in range(shape[0]):
            target = f"model.layers.{layer[1]}.mlp.experts.{expert}.{EXPERTS[layer[2]]}.{ending}"
            yield Tensor(target, shape[1:], rows[expert], kind)
    elif layer and layer[2] in IN_LAYER:
        if layer[2] == "ffn_gate_inp_shexp":
            shape = (1, shape[-1])  # a vector in older GGUF files, a matrix of one row in the checkpoint
        yield Tensor(f"model.layers.{layer[1]}.{IN_LAYER[layer[2]]}.{ending}", shape, rows, kind)
    else:
        raise ModelError(f"{gguf.name} has a tensor that Qwen models do not have: {name}")


def _config(metadata: Mapping[str, Any], tensors: list[Tensor]) -> dict[str, Any]:
    """Build config.json, in the fields of the official checkpoints."""
    architecture = metadata["general.architecture"]
    model_type, class_name = ARCHITECTURES[architecture]
    shapes = {t.name: t.shape for t in tensors}

    def value(key: str) -> Any:
        return metadata[f"{architecture}.{key}"]

    heads, layers = value("attention.head_count"), value("block_count")
    config: dict[str, Any] = {
        "architectures": [class_name],
        "model_type": model_type,
        "dtype": "bfloat16",
        "vocab_size": shapes["model.embed_tokens.weight"][0],
        "hidden_size": value("embedding_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv"),
        "head_dim": metadata.get(f"{architecture}.attention.key_length", value("embedding_length") // heads),
        "hidden_act": "silu",
        "max_position_embeddings": value("context_length"),
        # GGUF keeps float32: 1e-6 comes back as 9.99999997e-07.
        "rms_norm_eps": float(f"{value('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": value("rope.freq_base"),
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "use_sliding_window": False,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "intermediate_size": metadata.get(f"{architecture}.feed_forward_length", 0),
    }
    if metadata.get(f"{architecture}.rope.scaling.type") == "yarn":
        config["rope_scaling"] = {
            "rope_type": "yarn",
            "factor": value("rope.scaling.factor"),
            "original_max_position_embeddings": value("rope.scaling.original_context_length"),
        }
    if architecture.endswith("moe"):
        gate = next(name for name in shapes if ".experts.0.gate_proj" in name)
        config |= {
            "num_experts": value("expert_count"),
            "num_experts_per_tok": value("expert_used_count"),
            "moe_intermediate_size": shapes[gate][0],
            # GGUF does not say; llama.cpp fixes it by architecture (src/models/qwen2moe.cpp, qwen3moe.cpp).
            "norm_topk_prob": architecture == "qwen3moe",
            "mlp_only_layers": [
                i for i in range(layers) if f"model.layers.{i}.mlp.gate_proj.weight" in shapes
            ],
        }
    if architecture == "qwen2moe":
        config["shared_expert_intermediate_size"] = shapes[
            "model.layers.0.mlp.shared_expert.gate_proj.weight"
        ][0]
    return config


def _generation_config(metadata: Mapping[str, Any], gguf: Path) -> dict[str, Any]:
    """Build generation_config.json: the file's end tokens, and its sampling, else the catalog's if it knows
    the model."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    end = metadata["tokenizer.ggml.eos_token_id"]
    # A chat model's turn ends on <|im_end|>, a text on <|endoftext|>; the official files list both.
    others = [i for i in (metadata.get("tokenizer.ggml.padding_token_id"),) if i is not None and i != end]
    config: dict[str, Any] = {
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": [end, *(i for i in others if tokens[i] == "<|endoftext|>")],
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id", end),
    }
    catalogued = _catalog_sampling(gguf, str(metadata.get("general.name", "")))
    sampling = sampling_fields.of_gguf(metadata) or catalogued
    if sampling:
        config |= {"do_sample": sampling.get("temperature") != 0, **sampling}
    return config


def _catalog_sampling(gguf: Path, name: str) -> Mapping[str, Any]:
    from qwen_cli.models.catalog import lookup

    titles = [title.lower().replace(" ", "-") for title in (gguf.name, name)]
    known = [
        (len(own), model.sampling)
        for model in lookup.MODELS
        for own in [model.repo.rpartition("/")[2].lower()]
        if any(re.match(re.escape(own) + r"(?![\w.]*\d*b)", title) for title in titles)
    ]
    return max(known, key=lambda entry: entry[0])[1] if known else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
