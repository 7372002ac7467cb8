"""LoRA adapters for the transformers engine, one or several at once (Hu et al. 2021,
https://arxiv.org/abs/2106.09685; files as peft's `save_pretrained` writes them)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwen_cli.errors import EngineError
from qwen_cli.models.formats import lora


def attach(loaded: Any, folders: Sequence[Path], *, merge: bool | None = None) -> Any:
    """Attach all adapters of `folders` to `loaded`.

    With `merge` it is added to the weights, and costs nothing while decoding; without, it is computed beside
    them, as quantized weights need it, which lose from being rounded again. `None` merges where nothing is
    quantized. Raises `EngineError` where an adapter was made for another model.
    """
    if not folders:
        return loaded
    from peft import PeftModel  # 1 s

    for folder in folders:
        _check_places(loaded, folder)
    names = [str(number) for number in range(len(folders))]
    adapted: Any = None
    for name, folder in zip(names, folders, strict=True):
        try:
            if adapted is None:
                adapted = PeftModel.from_pretrained(loaded, folder, adapter_name=name)
            else:
                adapted.load_adapter(folder, adapter_name=name)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _other_base(folder, next(iter(str(error).splitlines()), "")) from error
    adapted.base_model.set_adapter(names)
    if merges(loaded, merge):
        return adapted.merge_and_unload(adapter_names=names)
    return adapted.get_base_model()  # its layers have been replaced; the wrapper only hides what it is


def learning(loaded: Any, folder: Path) -> Any:
    """Return `loaded` with the adapter in `folder`, to be trained on: peft's model. Raises `EngineError`
    where it was made for another model."""
    from peft import PeftModel

    _check_places(loaded, folder)
    try:
        return PeftModel.from_pretrained(loaded, folder, is_trainable=True)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _other_base(folder, next(iter(str(error).splitlines()), "")) from error


def merges(loaded: Any, merge: bool | None) -> bool:
    """Return whether `attach` adds adapters to the weights of `loaded`, for this `merge`."""
    return getattr(loaded, "hf_quantizer", None) is None if merge is None else merge


def _check_places(loaded: Any, folder: Path) -> None:
    """Refuse an adapter made for layers that the model does not have, which peft would pass over."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / lora.WEIGHTS, "pt") as file:
            keys = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise EngineError(f"the adapter {folder} cannot be read: {error}", "Fetch it again") from error
    places = {key.removeprefix("base_model.model.").partition(".lora_")[0] for key in keys if ".lora_" in key}
    missing = sorted(places - {name for name, _ in loaded.named_modules()})
    if missing:
        raise _other_base(folder, f"there is no {missing[0]}")


def _other_base(folder: Path, why: str) -> EngineError:
    return EngineError(
        f"the adapter {folder} does not fit this model: {why.strip().rstrip(':.')}",
        "Use the model that it was trained on",
    )
