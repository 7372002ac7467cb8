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

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.errors import UsageError
from qwen_cli.models.formats.weight_formats import Engine
from qwen_cli.models.planning import cgroups, gpus
from qwen_cli.models.planning.gpus import Gpu

# Bytes a second that one core reads, and how many cores it takes until memory itself is the limit, where
# nothing has been measured: dual-channel DDR4-3200 gives 51 GB/s (JEDEC JESD79-4), a core some 12 of it.
_CORE_BANDWIDTH, _USEFUL_CORES = 12e9, 4
# Multiply-adds a second of one core, where nothing has been measured: two 256-bit units (8 float32) at 3 GHz.
_CORE_MULTIPLYING = 48e9
ENGINES: tuple[Engine, ...] = ("llamacpp", "transformers")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
          "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """`memory` and `free` are bytes, `cores` those this process may use, `bandwidth` bytes a second that all
    of them read together, `multiplying` float32 multiply-adds a second of one. `measured` says that the
    bandwidth was measured and not assumed; `unified` that GPU and processor share the memory. `gpu_engines`
    are those that compute on its GPUs as they are installed. `wide` says that GGUF files are computed by a
    llama-server with instructions (AVX-512) that llama.cpp in the process was not built for."""

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
    wide: bool = False

    def seen_by(self, engine: Engine) -> Machine:
        """Return the machine that an engine computes on: without GPUs where it has no use for them."""
        if not self.gpus or engine in self.gpu_engines:
            return self
        return replace(self, gpus=(), unified=False)

    def wasted_by(self, engine: Engine) -> bool:
        """Return whether an engine computes on the processor where llama.cpp computes on a GPU: PyTorch that
        is built for the processor, beside a card with a driver, on a Mac, or with Vulkan."""
        able = self.gpu_engines if self.gpus else ()
        return "llamacpp" in able and engine not in able

    @property
    def apples(self) -> bool:
        """Return whether the memory is shared with a GPU of Apple's, not one that runs CUDA or Vulkan."""
        return self.unified and any(gpu.name.startswith("Apple") for gpu in self.gpus)

    @property
    def here(self) -> bool:
        return self.name == "this machine"


def this_machine(*, measure: bool = False) -> Machine:
    """Return this machine. `measure` spends half a second on how fast it reads memory and multiplies; else it
    is what was measured before, or assumed.

    Costs some milliseconds otherwise and imports nothing heavy: `auto` asks before every start.
    """
    from qwen_cli.models.planning import back_ends, measured

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
        unified=found.unified,
        multiplying=known.multiplying if known else _CORE_MULTIPLYING,
        gpu_engines=found.engines,
        wide=not found.gpus and back_ends.outside() is not None,
    )


@dataclass(frozen=True)
class Found:
    """The GPUs of this machine: who made them ("nvidia", "amd", "apple", "other"; `None` without any), the
    newest major version of CUDA that their driver runs, and which engines, as installed, compute on them."""

    gpus: tuple[Gpu, ...] = ()
    maker: str | None = None
    driver: int | None = None
    engines: frozenset[Engine] = frozenset()

    @property
    def unified(self) -> bool:
        """Return whether they have no memory but the machine's."""
        return bool(self.gpus) and all(gpu.unified for gpu in self.gpus)


_seen: ContextVar[dict[int, Found] | None] = ContextVar("seen", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Ask the drivers once in all that is done in this block, as for one load: their answer takes some
    milliseconds, and the free memory in it is that of the first time."""
    if _seen.get() is not None:
        yield
        return
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def found_gpus(memory: int) -> Found:
    """Return the GPUs of this machine, which has `memory` bytes. Costs some milliseconds where there are any,
    once after each start of the machine up to half a second more."""
    if not gpus.has_gpu():
        return Found()
    seen = _seen.get()
    if seen is None:
        return _asked_gpus(memory)
    if memory not in seen:
        seen[memory] = _asked_gpus(memory)
    return seen[memory]


def _asked_gpus(memory: int) -> Found:
    from qwen_cli.models.planning import back_ends

    installed = back_ends.installed()
    found, maker, driver = gpus.apple(memory), "apple", None
    if not gpus.is_apple():
        (found, driver), maker = gpus.nvidia(), "nvidia"
        if not found:
            found, maker = gpus.amd(), "amd"
        if not found:
            found, maker = back_ends.ggufs_now(), "other"
    if not found:
        return Found()
    if any(gpu.unified for gpu in found) and maker != "apple":
        found = tuple(gpus.within(gpu, memory, free_memory()) for gpu in gpus.alone(found))
    computes = {
        "llamacpp": bool(installed.ggufs),
        "transformers": installed.torch_computes_on(maker, driver),
    }
    engines: frozenset[Engine] = frozenset(name for name in ENGINES if computes[name])
    return Found(found, maker, driver, engines)


def assumed_bandwidth(cores: int) -> float:
    """Return the bytes a second of a common machine with so many cores."""
    return _CORE_BANDWIDTH * min(cores, _USEFUL_CORES)


def usable_cores() -> int:
    """Return the cores that this process may run on, no more than the groups around it are given the time
    of."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cgroups.cores()
    return cores if share is None else min(cores, max(1, round(share)))


def read(path: Path) -> Machine:
    """Return the machine that a .toml or .json file describes. Raises `UsageError` naming the file and the
    field."""
    try:
        text = reading.read(path).decode()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not text"
        raise UsageError(f"cannot read the machine file {path}: {reason}", "check the path") from None
    return _from(_parsed(path, text), path)


def _parsed(path: Path, text: str) -> Mapping[str, Any]:
    try:
        fields = (reading.parsed_json if path.suffix.lower() == ".json" else reading.parsed_toml)(text)
    except ValueError as fault:
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
        unified=fields.get("unified") is True and bool(gpus),
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
    """Return the bytes of memory that this process may use: the machine's, or less where a group around it
    (a container, a service) is limited."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        import psutil

        return int(psutil.virtual_memory().total)
    return min(total, cgroups.memory() or total)


def free_memory() -> int:
    """Return the bytes that this process can have now without swapping, or hitting a limit."""
    free = _available()
    left = cgroups.free_memory()
    return free if left is None else min(free, left)


def _available() -> int:
    """Return the bytes that all programs of this machine can have now."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    import psutil  # 15 ms; Linux tells it in a file

    return int(psutil.virtual_memory().available)
