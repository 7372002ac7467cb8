"""Small real GGUF files, written by the gguf package, for the tests of the models room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter


def write(path: Path, arch: str = "qwen2", *, vocabulary: list[str] | None = None, **extra: Any) -> Path:
    """A complete GGUF file with two tensors of 64 × 32 and 32 weights."""
    writer = GGUFWriter(str(path), arch)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(4)
    writer.add_embedding_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(2048)
    writer.add_rope_freq_base(1e6)
    writer.add_file_type(1)
    if vocabulary is not None:
        writer.add_token_list(vocabulary)
    writer.add_chat_template("{{ messages }}")
    for key, value in extra.items():
        writer.add_key_value(key, value, _kind(value))
    writer.add_tensor("token_embd.weight", np.ones((64, 32), dtype=np.float16))
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _kind(value: Any) -> Any:
    from gguf import GGUFValueType

    if isinstance(value, str):
        return GGUFValueType.STRING
    if isinstance(value, list):
        return GGUFValueType.ARRAY
    return GGUFValueType.FLOAT32 if isinstance(value, float) else GGUFValueType.UINT32
