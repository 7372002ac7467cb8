"""Weights in the packed forms of GGUF: which tensor gets which, and the packing.

llama.cpp's own functions pack where its library, which the wheel brings, gives them out; elsewhere those of
the gguf package do, which knows fewer forms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Recipe:
    """`plain` for all matrices, `better` for those that a model feels most: the output layer, and attention
    values and feed-forward outputs in some layers. `file_type` is `general.file_type`
    (gguf.LlamaFileType)."""

    plain: str
    better: str
    file_type: int


# `llama_tensor_get_type` of llama.cpp (src/llama-quant.cpp).
RECIPES = {
    "f32": Recipe("F32", "F32", 0),
    "f16": Recipe("F16", "F16", 1),
    "bf16": Recipe("BF16", "BF16", 32),
    "q8_0": Recipe("Q8_0", "Q8_0", 7),
    "q6_k": Recipe("Q6_K", "Q6_K", 18),
    "q5_k_m": Recipe("Q5_K", "Q6_K", 17),
    "q4_k_m": Recipe("Q4_K", "Q6_K", 15),
    "q5_1": Recipe("Q5_1", "Q6_K", 9),
    "q5_0": Recipe("Q5_0", "Q6_K", 8),
    "q4_1": Recipe("Q4_1", "Q6_K", 3),
    "q4_0": Recipe("Q4_0", "Q6_K", 2),
}
# What stands in where rows are no multiple of a block of 256 (`tensor_type_fallback` there).
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_LEGACY_BLOCK, _K_BLOCK = 32, 256
_KEPT = ("ffn_gate_inp", "ssm_conv1d")


def recipe(name: str) -> Recipe:
    """Return the recipe of that name. Raises `UsageError` for one that is not known or cannot be packed
    here."""
    known = RECIPES.get(name.lower())
    if known is None:
        raise UsageError(f"cannot write the quantization {name!r}", f"choose one of {', '.join(RECIPES)}")
    if known.plain in _FALLBACK and _library() is None:
        raise UsageError(f"this build of xllamacpp cannot pack {name}", "choose q8_0, q5_0 or q4_0")
    return known


def kind(recipe: Recipe, name: str, shape: tuple[int, ...], layers: int, *, tied: bool) -> str:
    """Return how the tensor `name` is packed: a name of `gguf.GGMLQuantizationType`.

    Vectors, the routers of experts and the short convolutions of linear attention stay float32, as in
    llama.cpp's converter.
    """
    if len(shape) == 1 or name.endswith("_norm.weight") or any(part in name for part in _KEPT):
        return "F32"
    chosen = recipe.plain
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        chosen = recipe.better
    elif recipe.file_type in (15, 17) and any(part in name for part in ("attn_v.", "ffn_down")):
        chosen = recipe.better if _feels_more(int(name.split(".")[1]), layers) else recipe.plain
    if chosen in _FALLBACK and (shape[-1] % _K_BLOCK or _library() is None):
        chosen = _FALLBACK[chosen]
    if chosen not in ("F32", "F16", "BF16") and shape[-1] % _LEGACY_BLOCK:
        chosen = "F16"
    return chosen


def nbytes(kind: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor packed so."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    return math.prod(shape) // block * size


def pack(rows: np.ndarray, kind: str) -> bytes:
    """Return `rows` (rows × columns, float32) packed."""
    import ctypes

    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    number = GGMLQuantizationType[kind]
    library = _library()
    if library is None or kind in ("F32", "F16", "BF16"):
        return quantize(rows, number).tobytes()
    rows = np.ascontiguousarray(rows, np.float32)
    packed = ctypes.create_string_buffer(nbytes(kind, rows.shape))
    source = rows.ctypes.data_as(ctypes.c_void_p)
    library(int(number), source, packed, 0, rows.shape[0], rows.shape[1], None)
    return packed.raw


def _feels_more(layer: int, layers: int) -> bool:
    """Return the first and last eighth of the layers, and every third between (`use_more_bits` there)."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


@cache
def _library() -> Any:
    """Return `ggml_quantize_chunk` (ggml.h), or `None` where the wheel keeps it to itself."""
    import ctypes

    from xllamacpp import xllamacpp

    try:
        function = ctypes.CDLL(str(Path(xllamacpp.__file__))).ggml_quantize_chunk
    except (OSError, AttributeError):
        return None
    whole = ctypes.c_int64
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, whole, whole, whole, ctypes.c_void_p]
    function.restype = ctypes.c_size_t
    return function
