"""What a machine has that decides which models run on it: memory, cores, bandwidth, GPUs.

Of this machine it is asked, of another it is read from a file:

    name = "desktop"
    memory = "64GB"
    cores = 8
    bandwidth = "80GB/s"

    gpu_engines = ["llamacpp", "transformers"]

    [[gpus]]
    name = "RTX 4090"
    memory = "24GB"
    bandwidth = "1008GB/s"
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen_cli.errors import UsageError
from qwen_cli.models.formats.weight_formats import Engine

# Bytes a second that one core reads, and how many cores it takes until memory itself is the limit, where
# nothing has been measured: dual-channel DDR4-3200 gives 51 GB/s (JEDEC JESD79-4), a core some 12 of it.
_CORE_BANDWIDTH, _USEFUL_CORES = 12e9, 4
# Multiply-adds a second of one core, where nothing has been measured: two 256-bit units (8 float32) at 3 GHz.
_CORE_MULTIPLYING = 48e9
# What the small GPU in a processor is given of the machine's memory is less.
_OWN_MEMORY = 3 << 30
ENGINES: tuple[Engine, ...] = ("llamacpp", "transformers")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
          "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """One GPU. `memory` and `free` are bytes, `bandwidth` bytes a second of its own memory (0: not known)."""

    name: str
    memory: int
    free: int
    bandwidth: float = 0


@dataclass(frozen=True)
class Machine:
    """`memory` and `free` are bytes, `cores` those this process may use, `bandwidth` bytes a second that all
    of them read together, `multiplying` float32 multiply-adds a second of one. `measured` says that the
    bandwidth was measured and not assumed; `unified` that GPU and processor share the memory. `gpu_engines`
    are those that compute on its GPUs as they are installed."""

    name: str
    memory: int
    free: int
    cores: int
    bandwidth: float
    gpus: tuple[Gpu, ...] = ()
    measured: bool = False
    unified: bool = False
    multiplying: float = _CORE_MULTIPLYING
    gpu_engines: frozenset[Engine] = frozenset(("llamacpp", "transformers"))

    def seen_by(self, engine: Engine) -> Machine:
        """Return the machine that an engine computes on: without GPUs where it has no use for them."""
        if not self.gpus or engine in self.gpu_engines:
            return self
        return replace(self, gpus=(), unified=False)

    @property
    def here(self) -> bool:
        return self.name == "this machine"


def this_machine(*, measure: bool = False) -> Machine:
    """Return this machine. `measure` spends half a second on how fast it reads memory and multiplies; else it
    is what was measured before, or assumed.

    Costs some milliseconds otherwise and imports nothing heavy: `auto` asks before every start.
    """
    from qwen_cli.models.planning import measured

    cores = usable_cores()
    known = measured.measure_and_remember(cores) if measure else measured.remembered(cores)
    total = memory()
    found = found_gpus(total)
    return Machine(
        name="this machine",
        memory=total,
        free=min(total, free_memory()),
        cores=cores,
        bandwidth=known.bandwidth if known else assumed_bandwidth(cores),
        gpus=found.gpus,
        measured=known is not None,
        unified=found.maker == "apple",
        multiplying=known.multiplying if known else _CORE_MULTIPLYING,
        gpu_engines=found.engines,
    )


@dataclass(frozen=True)
class Found:
    """The GPUs of this machine: who made them ("nvidia", "amd", "apple", "other"; `None` without any), the
    newest major version of CUDA that their driver runs, and which engines, as installed, compute on them."""

    gpus: tuple[Gpu, ...] = ()
    maker: str | None = None
    driver: int | None = None
    engines: frozenset[Engine] = frozenset()


def found_gpus(memory: int) -> Found:
    """Return the GPUs of this machine, which has `memory` bytes. Costs some milliseconds where there are any,
    once after each start of the machine up to half a second more."""
    if not has_gpu():
        return Found()
    from qwen_cli.models.planning import back_ends

    installed = back_ends.installed()
    gpus, maker, driver = _apple(memory), "apple", None
    if not _is_apple():
        (gpus, driver), maker = _nvidia(), "nvidia"
        if not gpus:
            gpus, maker = _amd(), "amd"
        if not gpus:
            gpus, maker = installed.llamacpp, "other"
    if not gpus:
        return Found()
    computes = {
        "llamacpp": bool(installed.llamacpp),
        "transformers": installed.torch_computes_on(maker, driver),
    }
    engines: frozenset[Engine] = frozenset(name for name in ENGINES if computes[name])
    return Found(gpus, maker, driver, engines)


def assumed_bandwidth(cores: int) -> float:
    """Return the bytes a second of a common machine with so many cores."""
    return _CORE_BANDWIDTH * min(cores, _USEFUL_CORES)


def usable_cores() -> int:
    """Return the cores that this process may run on, no more than its container is given the time of."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _container_cores() or cores)


def _container_cores() -> int | None:
    """Return how many cores' time this container may use (cgroup v2, then v1), at least one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        folder = Path("/sys/fs/cgroup/cpu")
        try:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period")
            )
        except (OSError, ValueError):
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return max(1, round(share)) if share > 0 else None


def has_gpu() -> bool:
    """Return whether there is a GPU that something may compute on. Looks at driver files only."""
    return _is_apple() or any(
        Path(file).exists()
        for file in (
            "/proc/driver/nvidia/version",
            "/dev/dxg",  # Windows' GPUs in WSL 2
            "/dev/kfd",  # AMD's
            "/dev/dri/renderD128",
            r"C:\Windows\System32\nvml.dll",
            r"C:\Windows\System32\vulkan-1.dll",
        )
    )


def read(path: Path) -> Machine:
    """Return the machine that a .toml or .json file describes. Raises `UsageError` naming the file and the
    field."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not text"
        raise UsageError(f"cannot read the machine file {path}: {reason}", "check the path") from None
    return _from(_parsed(path, text), path)


def _parsed(path: Path, text: str) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        fields = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as fault:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise UsageError(f"{path} is not valid {kind}: {fault}", "fix the file") from None
    if not isinstance(fields, dict):
        raise UsageError(f"{path} is not a table of fields", "give memory, cores and bandwidth")
    return fields


def _from(fields: Mapping[str, Any], path: Path) -> Machine:
    known = ("name", "memory", "free", "cores", "bandwidth", "gpus", "unified", "gpu_engines")
    _only(fields, known, path)
    total = _field(fields, "memory", path)
    cores = fields.get("cores")
    if not isinstance(cores, int) or isinstance(cores, bool) or cores < 1:
        raise UsageError(f"{path}: cores must be a whole number above 0, got {cores!r}", "fix the file")
    gpus = fields.get("gpus", [])
    if not isinstance(gpus, list) or not all(isinstance(gpu, dict) for gpu in gpus):
        raise UsageError(f"{path}: gpus must be a list of tables", "write [[gpus]] above each")
    engines = fields.get("gpu_engines", list(ENGINES))
    if not isinstance(engines, list) or not all(name in ENGINES for name in engines):
        raise UsageError(
            f"{path}: gpu_engines must be a list of {' and '.join(ENGINES)}, got {engines!r}", "fix the file"
        )
    return Machine(
        name=str(fields.get("name", path.stem)),
        memory=total,
        # What a running desktop leaves: a tenth is its own.
        free=_field(fields, "free", path) if "free" in fields else total * 9 // 10,
        cores=cores,
        bandwidth=_field(fields, "bandwidth", path) if "bandwidth" in fields else assumed_bandwidth(cores),
        gpus=tuple(_gpu(gpu, path) for gpu in gpus),
        measured="bandwidth" in fields,
        unified=fields.get("unified") is True,
        gpu_engines=frozenset(engines),
    )


def _gpu(fields: Mapping[str, Any], path: Path) -> Gpu:
    _only(fields, ("name", "memory", "free", "bandwidth"), path)
    total = _field(fields, "memory", path)
    free = _field(fields, "free", path) if "free" in fields else total * 95 // 100
    speed = _field(fields, "bandwidth", path) if "bandwidth" in fields else 0
    return Gpu(str(fields.get("name", "GPU")), total, free, speed)


def _only(fields: Mapping[str, Any], known: tuple[str, ...], path: Path) -> None:
    if strange := [name for name in fields if name not in known]:
        raise UsageError(f"{path} has a field {strange[0]!r}", f"known are {', '.join(known)}")


def _field(fields: Mapping[str, Any], name: str, path: Path) -> int:
    if name not in fields:
        raise UsageError(f"{path} does not give {name}", f'write {name} = "16GB"')
    value = fields[name]
    text = re.sub(r"/s$", "", value.strip()) if isinstance(value, str) else str(value)
    try:
        number = size_in_bytes(text)
    except ValueError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise UsageError(f"{path}: {name} must be a size, got {value!r}", 'write it as "16GB" or in bytes')
    return number


def size_in_bytes(text: str) -> int:
    """Return the bytes of "10GiB", "24 GB", "512MB", "2000000". Raises `ValueError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is not a size")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def limited(machine: Machine, most: Mapping[int | str, int]) -> Machine:
    """Return `machine` as if it had no more than `most`; a device that is not named takes nothing then.

    Raises `UsageError` for a GPU that it does not have.
    """
    for name in most:
        if isinstance(name, int) and name >= len(machine.gpus):
            has = f"{len(machine.gpus)} GPUs" if machine.gpus else "no GPU"
            raise UsageError(f"`max_memory` names GPU {name}, {machine.name} has {has}", "count from 0")
    gpus = tuple(
        replace(gpu, free=min(gpu.free, most.get(index, 0))) for index, gpu in enumerate(machine.gpus)
    )
    free = min(machine.free, most.get("cpu", 0))
    return replace(machine, free=free, gpus=gpus)


def memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or less where a container is
    limited."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        import psutil

        return int(psutil.virtual_memory().total)
    return min(total, _container() or total)


def _container() -> int | None:
    """Return the memory limit of this container (cgroup v2, then v1), in bytes."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(name).read_text("ascii"))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def free_memory() -> int:
    """Return the bytes that programs can have now without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    import psutil  # 15 ms; Linux tells it in a file

    return int(psutil.virtual_memory().available)


def _is_apple() -> bool:
    return sys.platform == "darwin" and os.uname().machine == "arm64"


def _apple(total: int) -> tuple[Gpu, ...]:
    # Metal lets a program have some three quarters of the shared memory (recommendedMaxWorkingSetSize).
    return (Gpu("Apple GPU", total, total * 3 // 4),)


def _nvidia() -> tuple[tuple[Gpu, ...], int | None]:
    """Return NVIDIA's GPUs that this process may use, and the newest major version of CUDA that the driver
    runs, from its management library, because torch takes seconds to say the same.

    https://docs.nvidia.com/deploy/nvml-api/: memory moves twice a clock over the whole width of its bus.
    """
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    memory_clock = 2  # NVML_CLOCK_MEM
    gpus: dict[str, Gpu] = {}
    version = ctypes.c_int()
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return (), None
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
            if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(room)) == 0:
                speed = 2 * clock.value * 1e6 * width.value / 8
                called = name.value.decode(errors="replace")
                gpus[uuid.value.decode(errors="replace")] = Gpu(called, room.total, room.free, speed)
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return (), None
    return visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES")), version.value // 1000 or None


def visible(gpus: Mapping[str, Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """Return those of `gpus` (by UUID) that `CUDA_VISIBLE_DEVICES` leaves: numbers or beginnings of UUIDs, up
    to the first that names none (CUDA C++ Programming Guide, environment variables)."""
    if chosen is None:
        return tuple(gpus.values())
    left: dict[str, Gpu] = {}
    for name in chosen.split(","):
        number = int(name) if name.strip().isdecimal() else -1
        same = [uuid for uuid in gpus if name.strip() and uuid.startswith(name.strip())]
        found = list(gpus)[number : number + 1] if number >= 0 else same[:1]
        if not found:
            break
        left[found[0]] = gpus[found[0]]
    return tuple(left.values())


def _amd() -> tuple[Gpu, ...]:
    """Return AMD's GPUs with memory of their own, from what the amdgpu driver tells
    (https://docs.kernel.org/gpu/amdgpu/driver-misc.html). How fast it is it does not tell."""
    gpus = []
    for device in sorted(Path("/sys/class/drm").glob("card[0-9]/device")):
        try:
            total = int((device / "mem_info_vram_total").read_text("ascii"))
            used = int((device / "mem_info_vram_used").read_text("ascii"))
        except (OSError, ValueError):
            continue
        if total < _OWN_MEMORY:
            continue
        try:
            name = (device / "product_name").read_text("utf-8", "replace").strip()
        except OSError:
            name = ""
        gpus.append(Gpu(name or "AMD GPU", total, total - used))
    return tuple(gpus)
