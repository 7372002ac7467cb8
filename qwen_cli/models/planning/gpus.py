"""The GPUs of this machine, as their drivers tell: memory, speed, which of them this process may use."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

# What the small GPU in a processor is given of the machine's memory is less.
_OWN_MEMORY = 3 << 30


@dataclass(frozen=True)
class Gpu:
    """One GPU. `memory` and `free` are bytes, `bandwidth` bytes a second of its own memory (0: not known).
    `unified` says that its memory is the machine's: then they are the most of that which it is given (0: not
    known)."""

    name: str
    memory: int
    free: int
    bandwidth: float = 0
    unified: bool = False


def alone(gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """Return those with memory of their own, else those without: llama.cpp takes no small GPU beside a
    large one."""
    every = tuple(gpus)
    return tuple(gpu for gpu in every if not gpu.unified) or every


def within(gpu: Gpu, memory: int, free: int) -> Gpu:
    """Return a GPU that has no more than the machine whose memory it shares."""
    if not gpu.unified:
        return gpu
    most = min(gpu.memory or memory, memory)
    return replace(gpu, memory=most, free=min(most, free))


def has_gpu() -> bool:
    """Return whether there is a GPU that something may compute on. Looks at driver files only."""
    return is_apple() or any(
        Path(file).exists()
        for file in (
            "/proc/driver/nvidia/version",
            "/dev/nvmap",  # of NVIDIA's Jetson
            "/dev/dxg",  # Windows' GPUs in WSL 2
            "/dev/kfd",  # AMD's
            "/dev/dri/renderD128",
            r"C:\Windows\System32\nvml.dll",
            r"C:\Windows\System32\vulkan-1.dll",
        )
    )


def is_apple() -> bool:
    return sys.platform == "darwin" and os.uname().machine == "arm64"


def apple(total: int) -> tuple[Gpu, ...]:
    # Metal lets a program have some three quarters of the shared memory (recommendedMaxWorkingSetSize).
    return (Gpu("Apple GPU", total, total * 3 // 4, unified=True),)


_MODEL, _RELEASE = Path("/proc/device-tree/model"), Path("/etc/nv_tegra_release")
# The newest CUDA that a release of Jetson Linux runs (its release notes).
_TEGRA_CUDA = {35: 11, 36: 12, 38: 13}


def jetson() -> tuple[tuple[Gpu, ...], int | None]:
    """Return the GPU of NVIDIA's Jetson and the major version of CUDA that its system runs, where this is
    one: its GPU shares the machine's memory, and not each release has the library that `nvidia` asks."""
    name = _text(_MODEL).rstrip("\0")
    if "Jetson" not in name or os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return (), None
    release = re.search(r"\bR(\d+)\b", _text(_RELEASE))
    return (Gpu(name, 0, 0, unified=True),), _TEGRA_CUDA.get(int(release[1])) if release else None


def nvidia() -> tuple[tuple[Gpu, ...], int | None]:
    """Return NVIDIA's GPUs that this process may use, and the newest major version of CUDA that the driver
    runs, from its management library, because torch takes seconds to say the same.

    https://docs.nvidia.com/deploy/nvml-api/: memory moves twice a clock over the whole width of its bus. A
    GPU that has no memory to tell of (GB10, Jetson) shares the machine's.
    """
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    memory_clock, not_supported = 2, 3  # NVML_CLOCK_MEM, NVML_ERROR_NOT_SUPPORTED
    gpus: dict[str, Gpu] = {}
    version = ctypes.c_int()
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return jetson()
        nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version))
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        for index in range(count.value):
            device, room = ctypes.c_void_p(), Memory()
            name, uuid = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
            clock, width = ctypes.c_uint(), ctypes.c_uint()
            nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
            nvml.nvmlDeviceGetName(device, name, 96)
            nvml.nvmlDeviceGetUUID(device, uuid, 96)
            nvml.nvmlDeviceGetMaxClockInfo(device, memory_clock, ctypes.byref(clock))
            nvml.nvmlDeviceGetMemoryBusWidth(device, ctypes.byref(width))
            told = nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(room))
            if told in (0, not_supported):
                speed = 2 * clock.value * 1e6 * width.value / 8
                called = name.value.decode(errors="replace")
                shared = told == not_supported
                one = Gpu(called, room.total, room.free, speed, unified=shared)
                gpus[uuid.value.decode(errors="replace")] = one
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return jetson()
    left = visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return tuple(left.values()), version.value // 1000 or None


def visible(gpus: Mapping[str, Gpu], chosen: str | None) -> dict[str, Gpu]:
    """Return those of `gpus` (by UUID) that `CUDA_VISIBLE_DEVICES` leaves, in its order: numbers or
    beginnings of UUIDs, up to the first that names none (CUDA C++ Programming Guide, environment
    variables). AMD's variables are read alike."""
    if chosen is None:
        return dict(gpus)
    left: dict[str, Gpu] = {}
    for name in chosen.split(","):
        number = int(name) if name.strip().isdecimal() else -1
        same = [uuid for uuid in gpus if name.strip() and uuid.startswith(name.strip())]
        found = list(gpus)[number : number + 1] if number >= 0 else same[:1]
        if not found:
            break
        left[found[0]] = gpus[found[0]]
    return left


_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
_CARDS = Path("/sys/class/drm")


def amd() -> tuple[Gpu, ...]:
    """Return AMD's GPUs with memory of their own that this process may use, from what the amdgpu driver tells
    (https://docs.kernel.org/gpu/amdgpu/driver-misc.html). How fast it is it does not tell.

    `ROCR_VISIBLE_DEVICES` is obeyed first; of what it leaves HIP takes those of `HIP_VISIBLE_DEVICES`, else
    of `CUDA_VISIBLE_DEVICES` (https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html). Small GPUs
    in processors count among the numbers.
    """
    left = {uuid: gpu for uuid, device in _amd_devices() if (gpu := _amd_gpu(device))}
    left = visible(left, os.environ.get("ROCR_VISIBLE_DEVICES"))
    hip = os.environ.get("HIP_VISIBLE_DEVICES")
    left = visible(left, os.environ.get("CUDA_VISIBLE_DEVICES") if hip is None else hip)
    return tuple(gpu for gpu in left.values() if gpu.memory >= _OWN_MEMORY)


def _amd_devices() -> Iterator[tuple[str, Path]]:
    """Yield the UUID and the folder of each of AMD's GPUs in the order in which ROCm counts them: that of the
    driver's nodes, among which processors are; without its compute driver that of the cards."""
    nodes = sorted((int(node.name), node) for node in _NODES.glob("[0-9]*") if node.name.isdecimal())
    minors = [_properties(node / "properties").get("drm_render_minor", 0) for _, node in nodes]
    cards = sorted(
        (int(card.name[4:]), card) for card in _CARDS.glob("card[0-9]*") if card.name[4:].isdecimal()
    )
    places = [_CARDS / f"renderD{minor}" for minor in minors if minor > 0] or [card for _, card in cards]
    for place in places:
        serial = _text(place / "device/unique_id")
        yield f"GPU-{serial}" if serial else place.name, place / "device"


def _amd_gpu(device: Path) -> Gpu | None:
    try:
        total = int((device / "mem_info_vram_total").read_text("ascii"))
        used = int((device / "mem_info_vram_used").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return Gpu(_text(device / "product_name") or "AMD GPU", total, total - used)


def _properties(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
