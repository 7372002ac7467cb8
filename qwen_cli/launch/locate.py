"""Where an engine is on this machine, and whether it is a release that can do what is asked of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from qwen_cli.errors import EngineError
from qwen_cli.launch.target import NAMES, EngineName, Target

# Each release that still had dual chunk attention, and its file: gone since vLLM 0.11 (with its older engine)
# and SGLang 0.5.20.
LAST_DUAL_CHUNK: dict[EngineName, tuple[str, str]] = {
    "vllm": ("0.10.2", "attention/backends/dual_chunk_flash_attn.py"),
    "sglang": ("0.5.19", "srt/layers/attention/dual_chunk_flashattention_backend.py"),
}


@dataclass(frozen=True)
class Installed:
    """`program` starts it; `package` is its code, `None` where that was not found."""

    program: Path
    package: Path | None


def find(engine: EngineName) -> Installed | None:
    """Return the engine that `$PATH` has, or that stands in this environment."""
    import sys

    beside = Path(sys.executable).parent
    where = shutil.which(engine) or shutil.which(engine, path=str(beside))
    if where is None:
        return None
    program = Path(where)
    places = program.resolve().parent.parent.glob(f"lib*/python3*/site-packages/{engine}")
    return Installed(program, next(places, None))


def required(engine: EngineName) -> Installed:
    """Return the same. Raises `EngineError` where it is not installed."""
    installed = find(engine)
    if installed is None:
        raise EngineError(
            f"{NAMES[engine]} is not installed",
            f"run `pip install {engine}` in an environment of its own and put its bin folder on PATH",
        )
    return installed


def check(target: Target, engine: EngineName, installed: Installed | None) -> str | None:
    """Return a remark on what `target` needs of the engine, where it is not here to be looked at. Raises
    `EngineError` where it is and has not got it."""
    if not target.dual_chunk:
        return None
    release, file = LAST_DUAL_CHUNK[engine]
    remark = f"{target.name} needs dual chunk attention, which {NAMES[engine]} has up to {release}"
    if installed is None:
        return remark
    if installed.package and not (installed.package / file).is_file():
        raise EngineError(
            f"{remark}, and {installed.program} is newer",
            f"install it apart: pip install '{engine}<={release}'",
        )
    return None
