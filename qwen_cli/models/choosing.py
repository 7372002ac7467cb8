"""Which files of a repository make up the model that was asked for."""

from __future__ import annotations

import re
from pathlib import Path

from qwen_cli.errors import ModelError
from qwen_cli.models import store
from qwen_cli.models.sources import Listing, RemoteFile

# Of a safetensors repository: weights, settings, tokenizer, licence, and code for --trust-remote-code.
_WANTED = re.compile(
    r"(\.safetensors|\.json|\.jinja|\.model|\.tiktoken|\.py|(^|/)(merges|vocab)\.txt|LICENSE.*)$"
)


def safetensors(listing: Listing) -> list[RemoteFile]:
    """Weights and what belongs to them. Raises `ModelError` where there are none."""
    files = [file for file in listing.files if _WANTED.search(file.path) and "/" not in file.path]
    names = {file.path for file in files}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        if any(file.path.lower().endswith(".gguf") for file in listing.files):
            raise ModelError(f"{listing.repo} holds GGUF files only", "use --engine llamacpp")
        if any(file.path.endswith(".bin") for file in listing.files):
            raise ModelError(
                f"{listing.repo} holds its weights as pickles, a format that can run code when it is read",
                "give another repository, or fetch it yourself and name the folder with --allow-pickle",
            )
        raise ModelError(f"{listing.repo} has no safetensors weights", "give another repository")
    return files


def gguf(listing: Listing, quant: str | None, usual: str, *, vision: bool) -> list[RemoteFile]:
    """All parts of one GGUF model, and its vision projector."""
    ggufs = [file for file in listing.files if file.path.lower().endswith(".gguf")]
    projectors = {
        store.quant_of(f.path) or "": f for f in ggufs if Path(f.path).name.lower().startswith("mmproj")
    }
    by_quant: dict[str, list[RemoteFile]] = {}
    for file in ggufs:
        if not Path(file.path).name.lower().startswith("mmproj"):
            by_quant.setdefault(store.quant_of(file.path) or "", []).append(file)
    chosen = store.pick_quant(set(by_quant), quant, usual)
    if chosen is None:
        has = ", ".join(sorted(filter(None, by_quant))) or "no GGUF model"
        raise ModelError(f"{listing.repo} has no {quant or 'GGUF file'}", f"it has {has}")
    files = by_quant[chosen]
    if vision and projectors:
        files.append(projectors.get("F16") or next(iter(projectors.values())))
    return files
