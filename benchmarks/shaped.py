"""GGUF files with the shape of a published model and random weights: as fast as the real one, no download.

The shape is that of the library's own class for the published config.json, the tokenizer the starter's. The
weights are a million random numbers, again and again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from qwen_cli.models.catalog import lookup, published
from qwen_cli.models.formats import gguf_export, gguf_import, gguf_quants
from qwen_cli.models.hub import starter

NUMBERS = 1 << 20


def folder(name: str, place: Path) -> Path:
    """Write the safetensors of a model with the shape of `name` into `place`; return it."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    model = lookup.find(name)
    if model is None:
        raise SystemExit(f"{name} is not in the catalog")
    fields = dict(published.config(model))
    config = AutoConfig.for_model(str(fields.pop("model_type")), **fields)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    tied = set(empty._tied_weights_keys or ()) if config.tie_word_embeddings else set()
    numbers = torch.randn(NUMBERS, generator=torch.Generator().manual_seed(1)).mul(0.02).bfloat16()

    def filled(shape: torch.Size) -> torch.Tensor:
        return numbers.repeat(-(-shape.numel() // NUMBERS))[: shape.numel()].reshape(shape)

    place.mkdir(parents=True)
    tensors = {key: filled(value.shape) for key, value in empty.state_dict().items() if key not in tied}
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(place)
    source = starter.safetensors_path()
    if not (source / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), source)
    for file in source.iterdir():
        is_of_the_tokenizer = file.suffix in (".json", ".txt", ".jinja") and "safetensors" not in file.name
        if is_of_the_tokenizer and not (place / file.name).exists():
            shutil.copy(file, place)
    return place


def gguf(source: Path, quant: str) -> Path:
    """Write the GGUF of a `folder`, packed as `quant`, beside it; return it."""
    out = source.parent / f"{source.name}-{quant}.gguf"
    with packed_once():
        return gguf_export.to_gguf(source, out, quant=quant)


@contextmanager
def packed_once() -> Iterator[None]:
    """Pack each shape once: the numbers are the same."""
    pack, known = gguf_quants.pack, {}

    def again(rows: Any, kind: str) -> bytes:
        key = (kind, rows.shape)
        if key not in known:
            known[key] = pack(rows, kind)
        return known[key]

    with mock.patch.object(gguf_quants, "pack", again):
        yield
