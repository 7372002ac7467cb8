"""Which GPUs the installed libraries compute on: a driver alone computes nothing.

llama.cpp is asked for its own devices (the wheel of the package index has Metal on Apple's machines, and no
GPU elsewhere), the user's own llama-server for its, PyTorch for what it was built for, which its version.py
says without the seconds that importing it takes. All of it is kept until the machine is started anew or one
of them is replaced.
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
from qwen_cli.models.planning import llama_server
from qwen_cli.models.planning.gpus import Gpu, alone
from qwen_cli.models.planning.llama_server import LlamaServer


@dataclass(frozen=True)
class BackEnds:
    """`llamacpp` are the GPUs that llama.cpp in the process computes on, `kernels` the instructions that it
    was built for ("AVX2"), `server` is the user's llama-server. `torch` is what PyTorch was built for: "cuda
    13.0", "rocm 6.4", "xpu", "mps" or "cpu"; `None` where it is not installed."""

    llamacpp: tuple[Gpu, ...]
    torch: str | None
    server: LlamaServer | None = None
    kernels: frozenset[str] = frozenset()

    @property
    def ggufs(self) -> tuple[Gpu, ...]:
        """Return the GPUs that GGUF files are computed on, in the process or by the user's llama-server."""
        return self.server.gpus if self.server and self._outdone() else self.llamacpp

    def _outdone(self) -> bool:
        """Return whether the user's llama-server computes on a GPU where the process does not, or on one with
        memory of its own where the process has none."""
        if self.server is None or self.server.fault or not self.server.gpus:
            return False
        return not self.llamacpp or (self.llamacpp[0].unified and not self.server.gpus[0].unified)

    def outside(self) -> str | None:
        """Return what the user's llama-server has that llama.cpp in the process lacks, which is why `auto`
        takes it: the name of a GPU, else of instructions of this processor; `None` where it has no more."""
        if self.server is None or self.server.fault:
            return None
        if self._outdone():
            return self.server.gpus[0].name
        if self.llamacpp:
            return None
        lacks = sorted((self.server.kernels & llama_server.WIDE) - self.kernels)
        return lacks[0] if lacks and self.kernels else None

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
            server = LlamaServer.from_json(known["server"]) if known["server"] else None
            gpus = tuple(Gpu(**gpu) for gpu in known["llamacpp"])
            return BackEnds(gpus, known["torch"], server, frozenset(known["kernels"]))
    from concurrent.futures import ThreadPoolExecutor  # 3 ms, once after each start of the machine

    program = llama_server.find()
    with ThreadPoolExecutor(1) as thread:  # a program is waited for while the library loads
        server_told = thread.submit(llama_server.probe, program) if program else None
        llamacpp, kernels = _llamacpp()
        found = BackEnds(llamacpp, torch_build(), server_told.result() if server_told else None, kernels)
    _remember({
        "of": mark,
        "llamacpp": [asdict(gpu) for gpu in found.llamacpp],
        "torch": found.torch,
        "server": found.server.to_json() if found.server else None,
        "kernels": sorted(found.kernels),
    })  # fmt: skip
    return found


def outside() -> str | None:
    """Return why `auto` computes GGUF files with the user's llama-server (`BackEnds.outside`). Asks nothing
    where there is none."""
    return installed().outside() if llama_server.find() else None


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


def _llamacpp() -> tuple[tuple[Gpu, ...], frozenset[str]]:
    """Return the GPUs and the kernels of llama.cpp in the process."""
    if _folder("xllamacpp") is None:
        return (), frozenset()
    try:
        import xllamacpp

        return gpus_of(xllamacpp.get_device_info()), _kernels()
    except (ImportError, OSError, RuntimeError):  # a library that does not load computes on nothing
        return (), frozenset()


def _kernels() -> frozenset[str]:
    """Return the instructions that the library was built for, where it says so (not on Windows, where it
    lends no functions)."""
    import ctypes

    from xllamacpp import xllamacpp

    try:
        said = ctypes.CDLL(xllamacpp.__file__).llama_print_system_info
    except (OSError, AttributeError):
        return frozenset()
    said.restype = ctypes.c_char_p
    return llama_server.kernels_of(said().decode("ascii", "replace"))


def gpus_of(devices: Sequence[Any]) -> tuple[Gpu, ...]:
    """Return the GPUs among llama.cpp's devices: not the processor, or what helps it (BLAS). The small GPU in
    a processor, which shares its memory, counts where there is no other."""
    return alone(
        Gpu(
            str(one["description"]),
            int(one["memory_total"]),
            int(one["memory_free"]),
            unified=str(one["type"]).endswith("TYPE_IGPU"),
        )
        for one in devices
        if str(one["type"]).endswith(("TYPE_GPU", "TYPE_IGPU"))
    )


def ggufs_now() -> tuple[Gpu, ...]:
    """Return the GPUs that GGUF files are computed on (`BackEnds.ggufs`) with the memory that is free now:
    what else is known of them is kept, and that changes. Where they cannot be asked it is what was free
    then."""
    known = installed()
    gpus = known.ggufs
    if all(gpu.unified for gpu in gpus):  # the machine's
        return gpus
    if gpus is known.llamacpp:
        anew = _llamacpp()[0]
    else:
        assert known.server
        anew = llama_server.devices(known.server)
    same = [gpu.name for gpu in anew] == [gpu.name for gpu in gpus]
    return anew if same else gpus


# What leaves out GPUs for a library that is asked for them; one that is empty leaves none.
_CHOSEN = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR", "LLAMA_ARG_DEVICE",
)  # fmt: skip


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
    if program := llama_server.find():
        changed.append(f"{program} {llama_server.stamp(program)}")
    return [boot, *changed, *(os.environ.get(name, "\0") for name in _CHOSEN)]


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
