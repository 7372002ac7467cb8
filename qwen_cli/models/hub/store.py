"""Weights on this machine: huggingface_hub's own cache, shared with other tools, read without importing it.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import weight_formats

_T = TypeVar("_T")
_TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its switches
_PREFIX = "models--"
# Which file type is taken where the usual one is not there: the usual size first, then larger, then smaller.
_PREFERENCE = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "Q4_0", "Q5_K_M", "Q5_0", "Q6_K", "Q8_0", "Q3_K_M", "Q2_K",
    "F16", "FP16", "BF16",
)  # fmt: skip

_BETWEEN = re.compile(r"[-._ ]+")  # words in the name of a file
_TYPE = re.compile(rf"(?<![a-z0-9])(?:{weight_formats.FILE_TYPE})(?![a-z0-9])", re.IGNORECASE)


def cache_folder() -> Path:
    """Return huggingface_hub's cache: `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else under `~/.cache`."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expandvars(given)).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(os.path.expandvars(home)).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def offline() -> bool:
    """Return whether the person has switched the model hub off (`HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`)."""
    return any(os.environ.get(n, "").upper() in _TRUE for n in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def repo_folder(repo: str, kind: str = "models") -> Path:
    """Return where the cache keeps `repo` ("Qwen/Qwen3-8B"; "datasets": "cais/mmlu"), present or not."""
    return cache_folder() / (f"{kind}--" + repo.replace("/", "--"))


def snapshot(repo: str, kind: str = "models") -> Path | None:
    """Return the files of `repo` as last fetched, or None. Some of them may be missing."""
    folder = repo_folder(repo, kind)
    try:
        commit = (folder / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        commit = ""
    if commit and (folder / "snapshots" / commit).is_dir():
        return folder / "snapshots" / commit
    try:
        kept = list((folder / "snapshots").iterdir())
    except OSError:
        return None
    return max(kept, key=lambda path: path.stat().st_mtime, default=None)


def repositories() -> list[str]:
    """Return the hub ids of all models in the cache, in order."""
    try:
        names = sorted(path.name for path in cache_folder().iterdir() if path.name.startswith(_PREFIX))
    except OSError:
        return []
    return [name.removeprefix(_PREFIX).replace("--", "/", 1) for name in names]


def quant_of(name: str) -> str | None:
    """Return the file type that a GGUF file name ends in: "Qwen3-8B-Q4_K_M.gguf" → "Q4_K_M"."""
    return weight_formats.without_file_type(Path(name).name)[1]


def is_later_shard(name: str) -> bool:
    """Return whether a GGUF file is a second or later part of a split model."""
    return weight_formats.part(name) > 1


def is_projector(name: str) -> bool:
    """Return whether a GGUF file is a vision projector: "mmproj-F16.gguf", "Qwen2-VL-2B.mmproj-f16.gguf"."""
    return "mmproj" in Path(name).name.lower()


def is_companion(name: str) -> bool:
    """Return whether a GGUF file goes with a model and is none: a vision projector, a draft layer alone, what
    was measured to quantize it."""
    lower = Path(name).name.lower()
    return is_projector(name) or lower.startswith("mtp-") or "imatrix" in lower


def pick_quant(available: set[str], wanted: str | None, usual: str = "Q4_K_M") -> str | None:
    """Choose among the file types `available`: the one asked for, else `usual`, else the nearest to it.

    None where there is none, or not the one that was asked for.
    """
    if wanted:
        kind = wanted.upper()
        # unsloth's dynamic ones are often called without UD, half floats are with and without P.
        spelled = (kind, f"UD-{kind}", {"F16": "FP16", "FP16": "F16"}.get(kind, kind))
        return next((quant for quant in spelled if quant in available), None)
    for quant in (usual, *_PREFERENCE):
        if quant in available:
            return quant
    return min(available, default=None)


def local_ggufs(folder: Path) -> dict[str, Path]:
    """Return the file type → first file of each whole GGUF model below `folder`; "" where the name gives no
    type.

    Vision projectors and split models with a part missing are left out.
    """
    found: dict[str, Path] = {}
    for path in whole_models(folder):
        found.setdefault(quant_of(path.name) or "", path)
    return found


def whole_models(folder: Path) -> list[Path]:
    """Return the first file of each whole GGUF model below `folder`, in order of their names."""
    return [
        path
        for path in ggufs(folder, deep=True)
        if not is_companion(path.name) and not is_later_shard(path.name) and _is_whole(path)
    ]


def ggufs(folder: Path, *, deep: bool = False) -> list[Path]:
    """Return the files in `folder` (with `deep` below it) that are called .gguf, in any letter case."""
    try:
        entries = folder.rglob("*") if deep else folder.iterdir()
        return sorted(path for path in entries if path.name.lower().endswith(".gguf"))
    except OSError:
        return []


def _is_whole(path: Path) -> bool:
    from qwen_cli.models.formats import gguf_header

    try:
        return all(part.is_file() for part in gguf_header.shards(path))
    except ModelError:
        return False


def local_mmproj(gguf: Path) -> Path | None:
    """Return the vision projector of a GGUF file: the most exact one beside it, or, where each file type has
    a folder of its own in the snapshot, above it. Of several models in a folder each has those that bear its
    name, where there are any, else those that are made for its width. Raises `ModelError` where several
    models' projectors may be meant."""
    beside = gguf.parent
    above = beside.parent if beside.parent.parent.name == "snapshots" else beside
    found = [
        path
        for folder in dict.fromkeys((above, beside))
        for path in ggufs(folder)
        if is_projector(path.name) and path.is_file()
    ]
    own = named_after(gguf.name, {path.name: path for path in found})
    if not own and found:
        width = _metadata(gguf, "embedding_length")
        own = [path for path in found if _metadata(path, "vision.projection_dim") in (None, width)]
        others = {essence(path.name) for path in ggufs(beside) if not is_companion(path.name)}
        if len({essence(path.name) for path in own}) > 1 and len(others) > 1:
            raise ModelError(
                f"{', '.join(path.name for path in own)} may all be the projector of {gguf.name}",
                "move the right one and the model into a folder of their own, or call it mmproj-MODEL.gguf",
            )
    return most_exact({path.name: path for path in own})


def named_after(model: str, projectors: Mapping[str, _T]) -> list[_T]:
    """Return those of `projectors`, by their names, that bear the name of a model's file."""
    return [one for name, one in projectors.items() if essence(name) == essence(model)]


def most_exact(projectors: Mapping[str, _T]) -> _T | None:
    """Return of several file types of a projector, by their names, the one to take; None without any."""
    kinds = {_kind_in(name) or "": one for name, one in projectors.items()}
    for kind in ("F16", "FP16", "BF16", "F32", "Q8_0"):
        if kind in kinds:
            return kinds[kind]
    return next(iter(kinds.values()), None)


def essence(name: str) -> str:
    """Return what a GGUF file is called but for its file type, the word mmproj, the number of a part and how
    words are parted: "mmproj-Qwen3VL-8B-F16.gguf", "qwen3vl_8b.mmproj.gguf" → "qwen3vl-8b"."""
    stem = _TYPE.sub("", weight_formats.without_part(Path(name).name).lower())
    return "-".join(word for word in _BETWEEN.split(stem) if word not in ("", "mmproj"))


def _kind_in(name: str) -> str | None:
    """Return the file type in the name of a projector, wherever it stands."""
    found = _TYPE.search(Path(name).name)
    return found[0].upper() if found else None


def _metadata(path: Path, name: str) -> Any:
    """Return what a GGUF file says under its architecture's prefix; None where it says nothing, or cannot be
    read."""
    from qwen_cli.models.formats import gguf_header

    try:
        return gguf_header.read(path).get(name)
    except ModelError:
        return None


def has_safetensors(folder: Path) -> bool:
    """Return whether `folder` has config.json and all the weights its index names."""
    import json

    if not (folder / "config.json").is_file():
        return False
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return any(path.is_file() for path in folder.glob("*.safetensors"))
    try:
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return bool(named) and all((folder / name).is_file() for name in named)


def size_of(repo: str) -> int:
    """Return the bytes that `repo` takes in the cache, unfinished downloads included."""
    blobs = repo_folder(repo) / "blobs"
    try:
        return sum(path.stat().st_size for path in blobs.iterdir() if path.is_file())
    except OSError:
        return 0


def delete(repo: str) -> int:
    """Remove `repo` from the cache. Returns the bytes freed. Raises `ModelError` if it is not there."""
    import shutil

    folder = repo_folder(repo)
    if not folder.is_dir():
        raise ModelError(f"{repo} is not on this machine", "run `qwen models list` for what is")
    freed = size_of(repo)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(f"cannot remove {folder}: {error.strerror}", "check its permissions") from None
    shutil.rmtree(cache_folder() / ".locks" / folder.name, ignore_errors=True)
    return freed
