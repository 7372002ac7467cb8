"""LoRA adapters added to the weights of their model: W + scale · B A, computed in 32 bits, kept as W is.

One file of the model is in memory at a time, and nothing of a model is loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import gguf_vocabulary, lora, safetensors_header, whole_folder

if TYPE_CHECKING:
    from qwen_cli.models.progress import Progress

_NOT_COPIED = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack")


def merged(model: Path, adapters: Sequence[Path], out: Path, progress: Progress | None = None) -> Path:
    """Write the model in the folder `model`, with `adapters` added, to the folder `out`, which appears only
    when it is complete; return it.

    Raises `UsageError` for what is no adapter, and where `out` exists; `ModelError` for an adapter that is
    more than pairs of matrices or of another model, for quantized weights, and where there is no room.
    """
    whole_folder.check_free(out)
    if gguf_vocabulary.json_of(model / "config.json").get("quantization_config"):
        raise ModelError(
            f"{model} is quantized, adding to it would round it again", "merge into the original"
        )
    for folder in adapters:
        lora.check(folder)
    added = [_Added(folder) for folder in adapters]
    files = sorted(model.glob("*.safetensors"))
    names = {entry.name for file in files for entry in safetensors_header.read(file)}
    for one in added:
        one.check(names)
    try:
        with whole_folder.written(out, sum(file.stat().st_size for file in files), "merge") as partial:
            for file in model.iterdir():
                if file.is_file() and file.suffix not in _NOT_COPIED:
                    shutil.copyfile(file, partial / file.name)
            for number, file in enumerate(files):
                _write(file, added, partial / file.name)
                if progress:
                    progress(f"merging into {model.name}", number + 1, len(files))
    except OSError as error:
        raise ModelError(
            f"cannot write {out}: {error.strerror or error}", "check space and rights"
        ) from error
    return out


class _Added:
    """What an adapter adds to which tensor of the model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = lora.config_of(folder)
        self._pairs = {f"{module}.weight": pair for module, pair in lora.pairs_of(folder).items()}

    def check(self, names: set[str]) -> None:
        """Raise `ModelError` where one of its layers is none of the model's."""
        if missing := sorted(self._pairs.keys() - names):
            raise ModelError(
                f"the adapter {self.folder} does not fit this model: there is no {missing[0]}",
                "use the model that it was trained on",
            )

    def to(self, name: str, shape: Sequence[int]) -> Any:
        """Return what is added to the tensor `name` (outputs × inputs, float32); `None` for nothing."""
        import torch

        if name not in self._pairs:
            return None
        first, second = (torch.from_numpy(next(matrix.rows(matrix.shape[0]))) for matrix in self._pairs[name])
        if (second.shape[0], first.shape[1]) != tuple(shape):
            raise ModelError(
                f"the adapter {self.folder} does not fit this model: {name} is {' x '.join(map(str, shape))}",
                "use the model that it was trained on",
            )
        module = name.removesuffix(".weight")
        return lora.scale_of(self._config, module, first.shape[0]) * (second @ first)


def _write(file: Path, added: Sequence[_Added], out: Path) -> None:
    """Write one file of the model with what is added to its tensors."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors = {}
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
        for name in stored.keys():  # noqa: SIM118 (it is no dict)
            tensor = stored.get_tensor(name)
            more = [delta for one in added if (delta := one.to(name, tensor.shape)) is not None]
            tensors[name] = (tensor.float() + sum(more)).to(tensor.dtype) if more else tensor
    save_file(tensors, out, about or {"format": "pt"})
    shutil.copymode(file, out)  # safetensors makes files that nobody else can read
