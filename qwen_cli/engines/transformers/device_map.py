"""Where the layers of a model go: GPUs, memory, disk, as accelerate's device maps and memory limits say.

Read from options before anything is fetched or imported; checked against the machine and the model later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from qwen_cli import paths, reading
from qwen_cli.errors import UsageError

Device: TypeAlias = "int | str"
"""A GPU by its number, or "cpu", "mps", "disk"."""

# What accelerate fills in by itself (its docs, "Big Model Inference", "Designing a device map").
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True)
class Places:
    """Where a model may go. `map` is a strategy, or module → device (`""` is the whole model); `None` takes
    the best device there is. `memory` is in bytes for each device, `None` all that is free. `offload` is the
    folder for weights that have to be written to disk once more.
    """

    map: str | dict[str, Device] | None = None
    memory: dict[Device, int] | None = None
    offload: Path | None = None

    @property
    def devices(self) -> set[Device]:
        """Return all devices that are named."""
        mapped = set(self.map.values()) if isinstance(self.map, dict) else set()
        return mapped | set(self.memory or ())


def places(device_map: str | None, max_memory: str | None, offload_dir: Path | None) -> Places:
    """Parse the device map, the memory limits and the offload folder. Raises `UsageError`."""
    memory = _memory(max_memory) if max_memory is not None else None
    parsed = _map(device_map) if device_map is not None else None
    if isinstance(parsed, dict) and memory:
        raise UsageError(
            f"`max_memory` needs a map that is made here, and `device_map={device_map}` is one already",
            f"set `device_map` to {', '.join(STRATEGIES)}",
        )
    if offload_dir is not None and offload_dir.exists() and not offload_dir.is_dir():
        raise UsageError(f"`offload_dir={offload_dir}` is a file", "name a folder")
    return Places(parsed or ("auto" if memory else None), memory, offload_dir)


def check(wanted: Places, gpus: int, mps: bool) -> None:
    """Raise `UsageError` where a device is named that this machine does not have."""
    for device in wanted.devices:
        if isinstance(device, int) and device >= gpus:
            there = "this machine has no CUDA device" if not gpus else f"the last one here is cuda:{gpus - 1}"
            raise UsageError(f"there is no cuda:{device}: {there}", "use `device_map=cpu` or auto")
        if device == "mps" and not mps:
            raise UsageError("there is no mps: this is not a Mac with Apple silicon", "use `device_map=cpu`")


def check_modules(mapped: Mapping[str, Device], modules: Collection[str], tensors: Collection[str]) -> None:
    """Raise `UsageError` where a map names what a model does not have, or leaves out one of its `tensors`.

    `modules` are the names of the model's modules.
    """
    if unknown := [name for name in mapped if name and name not in modules and name not in tensors]:
        raise UsageError(
            f"the device map names {unknown[0]}, which this model does not have", "correct its name"
        )
    if "" in mapped:
        return
    for tensor in tensors:
        if not any(tensor == name or tensor.startswith(f"{name}.") for name in mapped):
            raise UsageError(f"the device map does not say where {tensor} goes", 'add it, or "" for the rest')


def apart(mapped: Mapping[str, Device], model: Any) -> dict[str, Device]:
    """Return the same map with no entry inside another: accelerate knows no exceptions from an entry."""
    separate: dict[str, Device] = {}

    def walk(name: str, module: Any) -> None:
        inside = f"{name}." if name else ""
        if any(entry != name and entry.startswith(inside) for entry in mapped):
            for below, child in module.named_children():
                walk(inside + below, child)
            for below, _ in module.named_parameters(recurse=False):
                separate[inside + below] = _place(inside + below, mapped)
        elif any(True for _ in module.parameters()) or name in mapped:
            separate[name] = _place(name, mapped)

    walk("", model)
    return separate


def main_device(model: Any) -> Any:
    """Return the torch device that takes a model's inputs: offloaded weights are on none."""
    import torch

    mapped = getattr(model, "hf_device_map", None) or {}
    computing = [device for device in mapped.values() if device not in ("cpu", "disk")]
    if len(set(mapped.values())) < 2 and "disk" not in mapped.values():
        return model.device
    return torch.device(computing[0] if computing else "cpu")


def offload_folder(wanted: Places) -> TemporaryDirectory[str] | None:
    """Create a folder for weights that the library writes once more to read them from the disk: those of
    mixtures of experts, which are stored in another shape than they are computed in, and pickles. Everything
    else is read from where it lies. In `wanted.offload`, else in the cache; removed with the object that this
    returns."""
    if isinstance(wanted.map, dict) and "disk" not in wanted.map.values():
        return None
    above = wanted.offload or paths.cache_folder() / "offload"
    try:
        above.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix="weights-", dir=above, ignore_cleanup_errors=True)
    except OSError as fault:
        raise UsageError(f"cannot write to {above}: {fault.strerror}", "give another `offload_dir`") from None


def summary(mapped: Mapping[str, Device], modules: Iterable[str]) -> str | None:
    """Return what a person should know of a finished map: how many layers are where; `None` where all of the
    model is in one place. `modules` are the names of the model's modules."""
    if len({_written(device) for device in mapped.values()}) < 2 and "disk" not in mapped.values():
        return None
    layers = [name for name in modules if re.search(r"(?:^|\.)layers\.\d+$", name)]
    counts = Counter(_written(_place(layer, mapped)) for layer in layers)
    slow = ", which is read for every token" if "disk" in counts else ""
    return f"layers: {', '.join(f'{count} on {device}' for device, count in counts.items())}{slow}"


def _place(module: str, mapped: Mapping[str, Device]) -> Device:
    """Return where `module` is; one that is spread counts for its slowest part."""
    inside = [device for name, device in mapped.items() if name.startswith(f"{module}.")]
    if inside:
        return max(
            inside, key=lambda device: ("cpu", "disk").index(device) if device in ("cpu", "disk") else -1
        )
    above = [name for name in mapped if name in ("", module) or module.startswith(f"{name}.")]
    return mapped[max(above, key=len)]


def _written(device: Any) -> str:
    return f"cuda:{device}" if isinstance(device, int) else str(device)


def _map(text: str) -> str | dict[str, Device]:
    if text in STRATEGIES:
        return text
    if text.lower().endswith(".json"):
        return _read(Path(text).expanduser())
    if (device := _device(text)) is None or device == "disk":
        raise UsageError(
            f"`device_map` must be {', '.join(STRATEGIES)}, cpu, cuda:N, mps or a .json file, got {text!r}"
        )
    return {"": device}


def _read(file: Path) -> dict[str, Device]:
    """Read a map that somebody wrote: JSON, module → device."""
    try:
        parsed = reading.parsed_json(reading.read(file))
    except OSError as fault:
        raise UsageError(f"cannot read `device_map={file}`: {fault.strerror}", "check the path") from None
    except ValueError as fault:
        raise UsageError(f"`device_map={file}` is not JSON: {fault}", "fix the file") from None
    if not isinstance(parsed, dict) or not parsed:
        raise UsageError(f"`device_map={file}` is not an object", 'write {"model.embed_tokens": 0, …}')
    mapped: dict[str, Device] = {}
    for name, value in parsed.items():
        device = value if isinstance(value, int) and not isinstance(value, bool) else _device(str(value))
        if device is None or (isinstance(device, int) and device < 0):
            raise UsageError(
                f"`device_map={file}`: {name} goes to {value!r}", "use a GPU's number, cpu, mps or disk"
            )
        mapped[name] = device
    return mapped


def _device(text: str) -> Device | None:
    if text in ("cpu", "mps", "disk"):
        return text
    number = re.fullmatch(r"(?:cuda(?::|$))?(\d*)", text)
    return int(number[1] or 0) if number and text else None


def _memory(text: str) -> dict[Device, int]:
    """Parse `0=10GiB,cpu=20GiB` into bytes."""
    limits: dict[Device, int] = {}
    for part in text.split(","):
        name, equals, size = (word.strip() for word in part.partition("="))
        device, amount = _device(name), _SIZE.fullmatch(size)
        if not equals or device is None or amount is None:
            raise UsageError(
                f"`max_memory` must be like 0=10GiB,cpu=20GiB, got {part.strip() or text!r}",
                "write a GPU's number, cpu or disk, and a size in MB, MiB, GB or GiB",
            )
        number, unit, binary = amount.groups()
        limits[device] = int(float(number) * (1024 if binary else 1000) ** _POWER[unit.upper()])
    return limits
