"""Which model suits this machine when none is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from qwen_cli.models import catalog, reference, starter, store
from qwen_cli.models.reference import Format, Weights

# Models for conversation, best first. GGUF: those Qwen publishes. Safetensors: the July 2025 models where
# they exist, which answer without thinking first.
_CHAT: dict[Format, tuple[str, ...]] = {
    "gguf": ("qwen3:32b", "qwen3:30b-a3b", "qwen3:14b", "qwen3:8b", "qwen3:4b", "qwen3:1.7b", "qwen3:0.6b"),
    "safetensors": (
        "qwen3:30b-a3b-instruct-2507", "qwen3:14b", "qwen3:8b", "qwen3:4b-instruct-2507", "qwen3:1.7b",
        "qwen3:0.6b",
    ),
}  # fmt: skip
# Weights may take this share of the memory; the rest is for the KV cache and everything else that runs.
_SHARE = {"gpu": 0.8, "cpu": 0.5}
# A processor reads all active weights for each token. Measured on 2 AVX2 cores: 0.5B 28 and 1.5B 14 tokens/s,
# so this many parameters a core is about 5 tokens/s; beyond 4 cores memory is what limits.
_ACTIVE_PER_CORE, _USEFUL_CORES = 2.1e9, 4


def preferred_format() -> Format:
    """safetensors where a CUDA or Apple GPU is present, else gguf. Looks at driver files, imports nothing."""
    return "safetensors" if _has_gpu() else "gguf"


def default_model(
    *,
    prefer: Format = "gguf",
    progress: store.Progress | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Weights:
    """The best chat model for this machine, preferring one that is here; no network is asked then.

    With none here the machine's best is fetched, after `notice` has said so; where no source of models can
    be reached, the starter model is used. Raises `DownloadError`.
    """
    if here := _best_local(prefer):
        return here
    suited = suited_models(prefer)
    if suited and store.hub_reachable():
        model = suited[0]
        form = prefer if prefer == "safetensors" or model.gguf_repo else "safetensors"
        notice(f"fetching {model.name} ({model.size(form) / 1e9:.1f} GB), the best fit for this machine")
        return reference.resolve(model.name, prefer=form, progress=progress)
    notice(f"hub not reachable, using the starter model ({starter.LABEL}, {starter.SIZE // 10**6} MB)")
    starter.fetch(progress)
    return reference.resolve("starter", prefer=prefer)


def suited_models(form: Format) -> list[catalog.Model]:
    """Chat models whose weights fit this machine's memory and run at a bearable speed, best first."""
    kind, memory, cores = machine()
    limit = memory * _SHARE[kind]
    speed = _ACTIVE_PER_CORE * min(cores, _USEFUL_CORES)
    models = (catalog.find(name) for name in _CHAT[form])
    return [
        model
        for model in models
        if model
        and model.size(form) <= limit
        and (kind == "gpu" or (model.active or model.parameters) <= speed)
    ]


def machine() -> tuple[str, int, int]:
    """("gpu" or "cpu", bytes of its memory, processor cores)."""
    cores = os.cpu_count() or 1
    if _has_gpu() and (memory := _gpu_memory()):
        return "gpu", memory, cores
    return "cpu", _memory(), cores


def _best_local(prefer: Format) -> Weights | None:
    """The best suited model that is here, in either form; else the starter; else any chat model."""
    cached = [name for name in store.repositories() if "/" in name]
    if cached:
        order: tuple[Format, ...] = (prefer, "gguf" if prefer == "safetensors" else "safetensors")
        for form in order if prefer == "safetensors" else order[:1]:
            for model in suited_models(form):
                repo = model.gguf_repo if form == "gguf" else model.repo
                if repo in cached and (here := reference.find_local(model, form)):
                    return here
    carried = catalog.find("starter")
    return reference.find_local(carried, prefer) or reference.find_local(carried, "gguf")


def _has_gpu() -> bool:
    if sys.platform == "darwin":
        return os.uname().machine == "arm64"
    return Path("/proc/driver/nvidia/version").exists() or Path(r"C:\Windows\System32\nvml.dll").exists()


def _gpu_memory() -> int:
    """Bytes of the largest GPU; of all memory where GPU and processor share it; 0 if it cannot be told."""
    if sys.platform == "darwin":
        return _memory()
    # NVIDIA's management library, because torch takes seconds to say the same (nvml.h, nvmlMemory_t).
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return 0
        count, largest = ctypes.c_uint(), 0
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        for index in range(count.value):
            device, memory = ctypes.c_void_p(), Memory()
            nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
            if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
                largest = max(largest, memory.total)
        nvml.nvmlShutdown()
        return largest
    except (OSError, AttributeError):
        return 0


def _memory() -> int:
    """Bytes of this machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        import psutil

        return psutil.virtual_memory().total
