"""What a model of the transformers engine is computed with: device, numbers, attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import EngineError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.transformers.device_map import Device


import ctypes
import sys


def best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def hold_threads(torch: Any) -> None:
    """Let torch compute with no more threads than a container leaves the time of: it counts processors."""
    from qwen_cli.models.planning import hardware

    if hardware.usable_cores() < torch.get_num_threads():
        torch.set_num_threads(hardware.usable_cores())


def kind_of_device(where: str | Mapping[str, Device], torch: Any) -> str:
    """Return the kind of device that computes: what is on the disk, or in memory beside a GPU, is moved to
    it."""
    if isinstance(where, str):
        return best_device(torch)
    kinds = {"cuda" if isinstance(device, int) else device for device in where.values()}
    return next((kind for kind in ("cuda", "mps") if kind in kinds), "cpu")


def dtype_for(torch: Any, name: str, device: str, *, quantized: bool) -> Any:
    """Return the torch dtype `name`, or what is fastest and right. Quantised checkpoints say themselves.

    On a CPU decoding waits for memory, so half the bytes are twice the speed (starter on two AVX2 cores:
    bfloat16 9.6 tok/s, float32 4.3); float16 has no fast kernels there. GPUs before Ampere have no bfloat16.
    """
    if name != "auto":
        return getattr(torch, name)
    if quantized:
        return "auto"
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def attention(name: str, device: str, dtype: Any, torch: Any) -> str:
    """Return how attention is computed: `name`, or FlashAttention where its package is installed and can be
    used (CUDA, 16 bits; version 3 on Hopper, for which it was written), else torch's own. `name` is checked.

    Only what is named may be fetched: with the package `kernels`, transformers takes FlashAttention from the
    hub. Raises `UsageError`, `EngineError`.
    """
    from transformers.utils import import_utils

    able = device == "cuda" and dtype != torch.float32
    there = {
        "flash_attention_2": import_utils.is_flash_attn_2_available,
        "flash_attention_3": import_utils.is_flash_attn_3_available,
    }
    if name == "auto":
        if able and torch.cuda.get_device_capability() == (9, 0) and there["flash_attention_3"]():
            return "flash_attention_3"
        return "flash_attention_2" if able and there["flash_attention_2"]() else "sdpa"
    if name in there and not able:
        raise UsageError(f"`attention={name}` needs a CUDA device and 16 bits", "use `attention=sdpa`")
    if name in there and not there[name](kernels_fallback_ok=True):
        raise EngineError(f"`attention={name}` is not installed", "run `pip install kernels`, or use sdpa")
    return name


def give_back() -> None:
    """Return freed memory to the system; where the C library is not glibc nothing happens.

    Quantizing while loading, and bitsandbytes' temporary matrices, leave holes between what stays, which
    glibc holds on to. Starter model in 4 bits on a CPU: 3.9 GB resident after the load, 1.8 GB after this.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_no_blocks() -> None:
    """Make glibc return every block of 4 MiB and more as soon as it is freed, for the rest of the process.

    For weights that are read from the disk again for every token: glibc would keep room for ever more of them
    (starter in float32, all on disk: 2.4 GB after eight tokens, 0.5 GB with this).
    """
    if sys.platform != "linux":
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(-3, 4 << 20)  # M_MMAP_THRESHOLD of malloc.h; setting it ends its growth too
