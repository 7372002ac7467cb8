"""Number formats that llama.cpp keeps keys and values in."""

from __future__ import annotations

from qwen_cli.errors import UsageError

# Bytes of a value: ggml's blocks of 32 values with a scale in f16 (`block_q8_0`, `block_q4_0` in
# ggml-common.h).
BYTES = {"f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
USUAL = "f16"
QUANTIZED = ("q8_0", "q4_0")
"""Those that take less than `USUAL`, the better first."""
_BLOCK = 32


def checked(name: str) -> str:
    """Return a format as it is called here. Raises `UsageError`."""
    if name.lower() not in BYTES:
        raise UsageError(f"`kv` must be {', '.join(list(BYTES)[:-1])} or {list(BYTES)[-1]}, got {name!r}")
    return name.lower()


def quantized(head_dim: int) -> tuple[str, ...]:
    """Return those of `QUANTIZED` that heads of `head_dim` values can be kept in: whole blocks can."""
    return QUANTIZED if head_dim % _BLOCK == 0 else ()


def check_heads(name: str, head_dim: int, model: str) -> None:
    """Raise `UsageError` where the heads of `model` cannot be kept in a format."""
    if name in QUANTIZED and name not in quantized(head_dim):
        raise UsageError(
            f"`kv={name}` is for heads of {_BLOCK} values or a multiple, {model} has {head_dim}",
            "use `kv=f16`",
        )
