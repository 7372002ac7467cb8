"""Small random models as Qwen3-Embedding and Qwen3-Reranker are published: a folder, and the GGUF of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import small_gguf

POOLS_LAST = 3  # LLAMA_POOLING_TYPE_LAST and _RANK of llama.cpp (include/llama.h)
RANKS = 4
# What llama.cpp's converter writes of Qwen3-Reranker, and asks with (conversion/qwen.py, Qwen3Model).
RERANK = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


def embedding(folder: Path) -> tuple[Path, Path]:
    """Write such a model into `folder`; return its own folder and the file."""
    from safetensors.torch import load_file, save_file

    made = small_gguf.make("Qwen3", folder)
    gguf = edited(
        made, folder / "vectors.gguf",
        {"qwen3.pooling_type": POOLS_LAST, "tokenizer.ggml.add_eos_token": True},
        {"tokenizer.ggml.eos_token_id": small_gguf.IDS["<|endoftext|>"]},
    )  # fmt: skip
    model = folder / "model"
    tensors = load_file(model / "model.safetensors")
    states = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    save_file(states, model / "model.safetensors", {"format": "pt"})
    prefix = "sentence_transformers.models"
    steps = [
        {"idx": 0, "name": "0", "path": "", "type": f"{prefix}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{prefix}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{prefix}.Normalize"},
    ]
    (model / "modules.json").write_text(json.dumps(steps))
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    return model, gguf


def reranker(folder: Path, words: Mapping[str, int]) -> tuple[Path, Path, Path]:
    """Write such a model into `folder`; return its own folder, the file, and the file with a head of the two
    `words` "yes" and "no" (their tokens) alone."""
    import numpy as np
    from safetensors.torch import load_file

    made = small_gguf.make("Qwen3", folder)
    head = load_file(folder / "model" / "model.safetensors")["lm_head.weight"]
    rows = np.stack([head[words["yes"]].numpy(), head[words["no"]].numpy()])
    fields = {
        "qwen3.pooling_type": RANKS,
        "qwen3.classifier.output_labels": ["yes", "no"],
        "tokenizer.chat_template.rerank": RERANK,
    }
    ranked = edited(made, folder / "ranks.gguf", fields, {}, {"cls.output.weight": rows})
    return folder / "model", made, ranked


def edited(
    source: Path,
    target: Path,
    more: Mapping[str, Any],
    changed: Mapping[str, Any],
    tensors: Mapping[str, Any] | None = None,
) -> Path:
    """Write the GGUF file `source` into `target` with `more` lines of metadata, others `changed`, and more
    `tensors`."""
    import gguf

    reader = gguf.GGUFReader(str(source))
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(str(target), architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, changed.get(field.name, field.contents()), kind, inner)
    for name, value in more.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_string(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, value in (tensors or {}).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def pooled_otherwise(folder: Path, target: Path, pooling: Mapping[str, Any]) -> Path:
    """Copy an embedding model's folder into `target` with another `pooling` config."""
    shutil.copytree(folder, target)
    (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return target
