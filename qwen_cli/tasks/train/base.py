"""The model that an adapter is trained on: which it is, whether that fits into memory, how it is set up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import gguf_vocabulary, lora, parameters, safetensors_header
from qwen_cli.models.hub import resolve, starter
from qwen_cli.tasks.train import memory
from qwen_cli.tasks.train.settings import TrainSettings

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.models.progress import Progress as OnProgress

_SAMPLES, _SAMPLE = 64, 4_096  # pieces of a weights file, and bytes of each, that tell it from another


def trainable(model: str, progress: OnProgress | None = None) -> Weights:
    """Return the safetensors that `model` names, fetched if they are not here; the starter, which comes as
    GGUF, is converted once. Raises `ModelError` for weights that LoRA cannot be trained on here."""
    from qwen_cli.engines.transformers import embedding
    from qwen_cli.models.formats import gguf_import

    place = resolve.as_path(model)
    if place and place.suffix.lower() == ".gguf":
        raise ModelError(
            f"{place} is GGUF, training needs safetensors", f"run `qwen models convert {place}` once"
        )
    if model == "starter" and not starter.safetensors_path().is_dir():
        gguf_import.to_safetensors(starter.fetch(progress), starter.safetensors_path(), progress=progress)
    weights = resolve.resolve(model, prefer="safetensors", strict=True, progress=progress)
    if gguf_vocabulary.json_of(weights.path / "config.json").get("quantization_config"):
        raise ModelError(f"{weights.label} is quantized, which training here cannot use", "name the original")
    if embedding.is_for(weights.path) or weights.architecture.audio:
        raise ModelError(f"{weights.label} is no model that writes answers", "choose one that chats")
    return weights


def number_format(name: str) -> str:
    """Return "bf16" or "fp32": what was asked for, or bfloat16 where the device has it in hardware."""
    if name not in ("auto", "bf16", "fp32"):
        raise UsageError(f"`dtype={name}` makes no sense for training", "it must be auto, bf16 or fp32")
    if name != "auto":
        return name
    import torch

    from qwen_cli.engines.transformers import device

    where = device.best_device(torch)
    if where == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif where == "cpu":
        known = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
        fast = any(ask() for ask in known)
    else:
        fast = False
    return "bf16" if fast else "fp32"


def number_bytes(dtype: str) -> int:
    """Return the bytes of a number of this format."""
    return 2 if dtype == "bf16" else 4


def counts(weights: Weights) -> parameters.Counted:
    """Return how many parameters the model has, and of which shapes."""
    path = weights.path / "config.json"
    return parameters.count(gguf_vocabulary.json_of(path), str(path))


def fitted(
    settings: TrainSettings, weights: Weights, dtype: str, longest: int, *, head: bool = False
) -> tuple[memory.MemoryPlan, int]:
    """Return how a training with sequences of at most `longest` tokens fits into memory, and how many
    parameters learn. With `head` a reward's head learns too, and the words' probabilities are not computed.
    Raises `ModelError` where it does not fit, `UsageError` for targets that the model does not have."""
    import torch

    from qwen_cli.engines.transformers import device, load

    with load.quiet():
        from qwen_cli.tasks.train.compute import logit_bytes  # and peft with it

    where = device.best_device(torch)
    free = load.free_memory(torch.device(where))
    counted = counts(weights)
    if settings.start_from:
        stored = safetensors_header.read(settings.start_from.expanduser() / lora.WEIGHTS)
        trained = sum(entry.parameters for entry in stored)
    else:
        skeleton = load.skeleton(weights)
        trained = sum(
            settings.rank * (module.in_features + module.out_features)
            for name, module in skeleton.named_modules()
            if _is_target(name, module, settings.targets)
        )
        if not trained:
            raise UsageError(
                f"{weights.label} has no layers that end in {', '.join(settings.targets)}",
                "name some with `targets`, such as q_proj,v_proj",
            )
    size = number_bytes(dtype)
    whole, logits = counted.parameters * size, 0 if head else logit_bytes(counted.vocabulary, where)
    if head:
        trained += counted.hidden * (counted.hidden + 1) + counted.hidden + 1
        counted = replace(counted, vocabulary=0)
    demand = memory.Demand(counted, whole, size, trained, longest, logits)
    return memory.planned(demand, settings, free, where, weights.label), trained


def _is_target(name: str, module: Any, targets: Sequence[str]) -> bool:
    """Return whether an adapter is put at a layer of the model for text: its name ends in a target."""
    ends = name.endswith(tuple(f".{target}" for target in targets))
    return ends and hasattr(module, "in_features") and "visual" not in name.split(".")


def adapted(settings: TrainSettings, weights: Weights, dtype: str) -> Any:
    """Return the model with an adapter that learns on it, peft's: a new one, or `settings.start_from`."""
    import torch

    from qwen_cli.engines.transformers import adapters, load

    model = load.model(weights, dtype=dtype)
    model.requires_grad_(False)
    torch.manual_seed(settings.seed)
    if settings.start_from:
        return adapters.learning(model, settings.start_from.expanduser())
    from peft import LoraConfig, get_peft_model

    names = [name for name, m in model.named_modules() if _is_target(name, m, settings.targets)]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=_shortened(names, model, settings.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def save_adapter(adapted: Any, label: str, place: Path) -> None:
    """Write an adapter into the folder `place`, as one for the model `label`."""
    if path := resolve.as_path(label):
        label = str(path.absolute())  # whoever reads it may be in another folder
    adapted.peft_config["default"].base_model_name_or_path = label
    adapted.save_pretrained(place)


def _shortened(names: Sequence[str], model: Any, targets: Sequence[str]) -> list[str]:
    """Return the ends of names where they mean the same layers as `names`, as other programs know them."""
    meant = [name for name, _ in model.named_modules() if name.endswith(tuple(f".{t}" for t in targets))]
    return list(targets) if meant == list(names) else list(names)


def weights_digest(folder: Path) -> str:
    """Return what tells a model from another without reading all of it: its settings and its tokenizer, and
    of each file of weights the size, the begin, the end, and pieces between."""
    mark = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (folder / name).is_file():
            mark.update((folder / name).read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        mark.update(f"{file.name} {size}".encode())
        with file.open("rb") as stored:
            for piece in range(_SAMPLES):
                stored.seek(max(0, size - _SAMPLE) * piece // (_SAMPLES - 1))
                mark.update(stored.read(_SAMPLE))
    return mark.hexdigest()


def adapter_digest(folder: Path) -> str:
    """Return what tells an adapter from another: its settings and its weights."""
    mark = hashlib.sha256()
    for name in (lora.CONFIG, lora.WEIGHTS):
        mark.update((folder.expanduser() / name).read_bytes())
    return mark.hexdigest()
