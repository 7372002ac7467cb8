"""Which GPUs the installed libraries compute on: a driver alone computes nothing.

llama.cpp is asked for its own devices (the wheel of the package index has Metal on Apple's machines, and no
GPU elsewhere), PyTorch for what it was built for, which its version.py says without the seconds that
importing it takes. Both are kept until the machine is started anew or a library is replaced.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qwen_cli import paths
from qwen_cli.models.planning.gpus import Gpu


@dataclass(frozen=True)
class BackEnds:
    """`llamacpp` are the GPUs that llama.cpp computes on. `torch` is what PyTorch was built for: "cuda 13.0",
    "rocm 6.4", "xpu", "mps" or "cpu"; `None` where it is not installed."""

    llamacpp: tuple[Gpu, ...]
    torch: str | None

    def torch_computes_on(self, maker: str, driver: int | None = None) -> bool:
        """Return whether PyTorch computes on GPUs of `maker` ("nvidia", "amd", "apple"). `driver` is the
        newest major version of CUDA that NVIDIA's driver runs: programs for a newer one fail on it
        (https://docs.nvidia.com/deploy/cuda-compatibility/)."""
        kind, _, version = (self.torch or "").partition(" ")
        if maker == "nvidia":
            return kind == "cuda" and (driver is None or int(version.partition(".")[0] or 0) <= driver)
        return kind == {"amd": "rocm", "apple": "mps"}.get(maker)


def installed() -> BackEnds:
    """Return what is installed here: from the file where that is still true, else by asking."""
    mark = _mark()
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(_file().read_text("utf-8"))
        if known["of"] == mark:
            return BackEnds(tuple(Gpu(**gpu) for gpu in known["llamacpp"]), known["torch"])
    found = BackEnds(_llamacpp(), torch_build())
    _remember({"of": mark, "llamacpp": [asdict(gpu) for gpu in found.llamacpp], "torch": found.torch})
    return found


def torch_version() -> str | None:
    """Return PyTorch's version with what it was built for ("2.14.1+cu130"), as far as its files say. Imports
    nothing."""
    said = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", _torchs_version() or "", re.MULTILINE)
    return said[1] if said else None


def torch_build() -> str | None:
    """Return what PyTorch was built for, as in `BackEnds`. Imports nothing."""
    text = _torchs_version()
    if not text:
        return text if text is None else "cpu"
    for name, kind in (("cuda", "cuda"), ("rocm", "rocm"), ("hip", "rocm"), ("xpu", "xpu")):
        if built := re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE):
            return kind if kind == "xpu" else f"{kind} {'.'.join(built[1].split('.')[:2])}"
    return "mps" if sys.platform == "darwin" else "cpu"


def _torchs_version() -> str | None:
    """Return the text of PyTorch's version.py, "" where it has none; `None` where it is not installed."""
    folder = _folder("torch")
    if folder is None:
        return None
    try:
        return (folder / "version.py").read_text("utf-8")
    except OSError:
        return ""


def _llamacpp() -> tuple[Gpu, ...]:
    if _folder("xllamacpp") is None:
        return ()
    try:
        import xllamacpp

        return gpus_of(xllamacpp.get_device_info())
    except (ImportError, OSError, RuntimeError):  # a library that does not load computes on nothing
        return ()


def gpus_of(devices: Sequence[Any]) -> tuple[Gpu, ...]:
    """Return the GPUs among llama.cpp's devices: not the processor, what helps it (BLAS), or the small GPU
    beside it, which is no faster than it."""
    return tuple(
        Gpu(str(one["description"]), int(one["memory_total"]), int(one["memory_free"]))
        for one in devices
        if str(one["type"]).endswith("TYPE_GPU")
    )


def _mark() -> list[str]:
    """Return what tells one start of the machine, and one installation, from another."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    changed = []
    for name in ("xllamacpp", "torch"):
        with suppress(OSError):
            if folder := _folder(name):
                changed.append(f"{folder} {(folder / '__init__.py').stat().st_mtime_ns}")
    visible = (os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"))
    return [boot, *changed, *visible]


def _folder(package: str) -> Path | None:
    """Return where a package is installed, without importing it."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _remember(known: dict[str, Any]) -> None:
    file = _file()
    with suppress(OSError):  # then it is asked again the next time
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(file, json.dumps(known))


def _file() -> Path:
    return paths.data_folder() / "back_ends.json"
