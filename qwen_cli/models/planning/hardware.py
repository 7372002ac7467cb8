"""What a machine has that decides which models run on it: memory, cores, bandwidth, GPUs.

Of this machine it is asked, of another it is read from a file:

    name = "desktop"
    memory = "64GB"
    cores = 8
    bandwidth = "80GB/s"

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

# Bytes a second that one core reads, and how many cores it takes until memory itself is the limit, where
# nothing has been measured: dual-channel DDR4-3200 gives 51 GB/s (JEDEC JESD79-4), a core some 12 of it.
_CORE_BANDWIDTH, _USEFUL_CORES = 12e9, 4
# Multiply-adds a second of one core, where nothing has been measured: two 256-bit units (8 float32) at 3 GHz.
_CORE_MULTIPLYING = 48e9
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
    bandwidth was measured and not assumed; `unified` that GPU and processor share the memory."""

    name: str
    memory: int
    free: int
    cores: int
    bandwidth: float
    gpus: tuple[Gpu, ...] = ()
    measured: bool = False
    unified: bool = False
    multiplying: float = _CORE_MULTIPLYING

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
    gpus = _apple(total) if _is_apple() else _nvidia()
    return Machine(
        name="this machine",
        memory=total,
        free=min(total, free_memory()),
        cores=cores,
        bandwidth=known.bandwidth if known else assumed_bandwidth(cores),
        gpus=gpus,
        measured=known is not None,
        unified=_is_apple(),
        multiplying=known.multiplying if known else _CORE_MULTIPLYING,
    )


def assumed_bandwidth(cores: int) -> float:
    """Return the bytes a second of a common machine with so many cores."""
    return _CORE_BANDWIDTH * min(cores, _USEFUL_CORES)


def usable_cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu() -> bool:
    """Return whether a CUDA or Apple GPU is present. Looks at driver files only."""
    return (
        _is_apple()
        or Path("/proc/driver/nvidia/version").exists()
        or Path(r"C:\Windows\System32\nvml.dll").exists()
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
    _only(fields, ("name", "memory", "free", "cores", "bandwidth", "gpus", "unified"), path)
    total = _field(fields, "memory", path)
    cores = fields.get("cores")
    if not isinstance(cores, int) or isinstance(cores, bool) or cores < 1:
        raise UsageError(f"{path}: cores must be a whole number above 0, got {cores!r}", "fix the file")
    gpus = fields.get("gpus", [])
    if not isinstance(gpus, list) or not all(isinstance(gpu, dict) for gpu in gpus):
        raise UsageError(f"{path}: gpus must be a list of tables", "write [[gpus]] above each")
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


def _nvidia() -> tuple[Gpu, ...]:
    """Return NVIDIA's GPUs from its management library, because torch takes seconds to say the same.

    https://docs.nvidia.com/deploy/nvml-api/: memory moves twice a clock over the whole width of its bus.
    """
    if not has_gpu():
        return ()
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    memory_clock = 2  # NVML_CLOCK_MEM
    gpus = []
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return ()
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        for index in range(count.value):
            device, room, name = ctypes.c_void_p(), Memory(), ctypes.create_string_buffer(96)
            clock, width = ctypes.c_uint(), ctypes.c_uint()
            nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
            nvml.nvmlDeviceGetName(device, name, 96)
            nvml.nvmlDeviceGetMaxClockInfo(device, memory_clock, ctypes.byref(clock))
            nvml.nvmlDeviceGetMemoryBusWidth(device, ctypes.byref(width))
            if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(room)) == 0:
                speed = 2 * clock.value * 1e6 * width.value / 8
                gpus.append(Gpu(name.value.decode(errors="replace"), room.total, room.free, speed))
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return ()
    return tuple(gpus)
