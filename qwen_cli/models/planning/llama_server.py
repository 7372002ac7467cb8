"""The user's own llama-server: where it is, what it takes and which devices it computes on.

An official release, Homebrew's or a distribution's build has CUDA, Vulkan, ROCm, or the processor's widest
instructions, which the wheel of the package index may lack. It is asked once after each start of the machine,
or when it is replaced (`back_ends`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qwen_cli.models.planning.gpus import Gpu, alone

VARIABLE = "QWEN_LLAMA_SERVER"
"""Path of the program, where it is not found by itself; "off" looks for none."""

_NAME = "llama-server"
# Where Homebrew puts programs, which a program started from the desktop has not on its PATH.
_PLACES = ("/opt/homebrew/bin", "/usr/local/bin", "/home/linuxbrew/.linuxbrew/bin")
_SECONDS = 20.0  # for an answer: initialising CUDA on a busy machine takes some

# Instructions that a processor's kernels are written for, of those that make a difference to a prompt
# (ggml/src/ggml-cpu: `ggml_cpu_has_…`).
WIDE = frozenset({"AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8", "SVE", "MATMUL_INT8"})


@dataclass(frozen=True)
class LlamaServer:
    """A llama-server. `build` is its version ("11549 (abc1234)"), `flags` are those that its help lists,
    `gpus` what it computes on, `kernels` the instructions its processor code uses ("AVX512").
    `stamp` tells one program from another at the same place. `fault` says why it cannot be asked."""

    path: Path
    build: str = ""
    flags: frozenset[str] = frozenset()
    gpus: tuple[Gpu, ...] = ()
    kernels: frozenset[str] = frozenset()
    fault: str = ""
    stamp: str = ""

    def takes(self, flag: str) -> bool:
        return flag in self.flags

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            **asdict(self),
            "path": str(self.path),
            "flags": sorted(self.flags),
            "kernels": sorted(self.kernels),
        }

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> LlamaServer:
        """Return what `to_json` made. Raises `KeyError`, `TypeError` for anything else."""
        return cls(
            Path(known["path"]),
            str(known["build"]),
            frozenset(known["flags"]),
            tuple(Gpu(**gpu) for gpu in known["gpus"]),
            frozenset(known["kernels"]),
            str(known["fault"]),
            str(known["stamp"]),
        )


def find() -> Path | None:
    """Return the program that `QWEN_LLAMA_SERVER` names, else the first on PATH, else Homebrew's; `None`
    where there is none or none is wanted. What the variable names may not be there."""
    if named := os.environ.get(VARIABLE):
        if named.lower() == "off":
            return None
        found = shutil.which(Path(named).expanduser())
        return Path(found) if found else Path(named).expanduser()
    found = shutil.which(_NAME) or shutil.which(_NAME, path=os.pathsep.join(_PLACES))
    return Path(found) if found else None


def probe(path: Path) -> LlamaServer:
    """Return what the program at `path` says of itself. Its questions are asked side by side."""
    questions = (
        ("--version",),
        ("--help",),
        ("--list-devices",),
        # Said only where a model is loaded: one that is not there. The port is any.
        ("--model", f"{os.devnull}/none", "--port", "0", "--verbosity", "4"),
    )
    with ThreadPoolExecutor(len(questions)) as threads:
        version, told, devices, started = threads.map(lambda one: _said(path, one), questions)
    if fault := version[1] or told[1]:
        return LlamaServer(path, fault=fault, stamp=stamp(path))
    build = re.search(r"^version: (.+)$", version[0], re.MULTILINE)
    return LlamaServer(
        path,
        build=build[1].strip() if build else "",
        flags=frozenset(re.findall(r"(?<![\w-])--?[a-z][\w-]*", told[0])),
        gpus=gpus_of(devices[0], started[0]),
        kernels=kernels_of(started[0]),
        stamp=stamp(path),
    )


def stamp(path: Path) -> str:
    """Return what changes when the program is replaced; "" where there is none."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns}"


# NVIDIA's that have no memory of their own, of which CUDA says nothing here.
_SHARING = re.compile(r"\b(?:Orin|Thor|Xavier|Tegra|Jetson|GB10)\b")


def gpus_of(said: str, more: str = "") -> tuple[Gpu, ...]:
    """Return the GPUs among the devices that a list names ("CUDA0: NVIDIA RTX 4090 (24217 MiB, 23000 MiB
    free)"): those with memory. Those that share the machine's (Vulkan's "uma: 1", in `said` or `more`) count
    where there are no others."""
    found = re.findall(r"^\s+(\w+): (.+) \((\d+) MiB, (\d+) MiB free\)\s*$", said, re.MULTILINE)
    shared = {
        f"Vulkan{index}" for index in re.findall(r"ggml_vulkan: (\d+) = .*\buma: 1\b", f"{said}\n{more}")
    }
    return alone(
        Gpu(
            name,
            int(total) << 20,
            int(free) << 20,
            unified=device in shared or bool(device.startswith("CUDA") and _SHARING.search(name)),
        )
        for device, name, total, free in found
        if int(total) and not device.startswith(("BLAS", "CPU", "RPC"))
    )


def devices(server: LlamaServer) -> tuple[Gpu, ...]:
    """Return the GPUs of a llama-server with the memory that is free now."""
    return gpus_of(_said(server.path, ("--list-devices",))[0])


def kernels_of(said: str) -> frozenset[str]:
    """Return the instructions that llama.cpp's "system_info" names with a 1."""
    line = next((line for line in said.splitlines() if "system_info:" in line), said)
    return frozenset(re.findall(r"(\w+) = 1\b", line))


def _said(path: Path, arguments: tuple[str, ...]) -> tuple[str, str]:
    """Return what the program writes, and why it could not be asked ("")."""
    try:
        done = subprocess.run(
            [str(path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            timeout=_SECONDS,
            text=True,
            errors="replace",
        )
    except OSError as fault:
        return "", fault.strerror or str(fault)
    except subprocess.TimeoutExpired:
        return "", f"it did not answer {arguments[0]} within {_SECONDS:.0f} s"
    if done.returncode and arguments[0] in ("--version", "--help"):
        last = (done.stdout.strip().splitlines() or [""])[-1]
        return done.stdout, last or f"{arguments[0]} ended with {done.returncode}"
    return done.stdout, ""


# Of llama.cpp's own variables (LLAMA_ARG_…), those that say where it computes; the others are for servers
# that somebody starts by hand.
_KEPT = ("DEVICE", "N_GPU_LAYERS", "SPLIT_MODE", "TENSOR_SPLIT", "MAIN_GPU", "NUMA", "MMAP", "MLOCK")


def environment() -> dict[str, str]:
    """Return the environment that the program is started in."""
    kept = {f"LLAMA_ARG_{name}" for name in _KEPT}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("LLAMA_ARG_", "LLAMA_API_KEY", "LLAMA_LOG_"))
    }
