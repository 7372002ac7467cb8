"""Where accelerate would put a model's modules, found on a model without weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qwen_cli.errors import ModelError
from qwen_cli.models.planning.hardware import Machine


@dataclass(frozen=True)
class ModuleMap:
    """`modules`: name → device ("cuda:0", "cpu", "disk"), in the model's order; `sizes`: bytes on each
    device."""

    modules: Mapping[str, str]
    sizes: Mapping[str, int]


def infer(
    config: Mapping[str, Any], machine: Machine, most: Mapping[int | str, int] | None, form: str, rest: str
) -> ModuleMap:
    """Return the device map of a model of `config` in `form` ("bf16", "8bit"), with at most `most` bytes for
    each device (`None`: what `machine` has free). Takes seconds: it imports torch and builds the model's
    class.

    Raises `ModelError` where transformers has no such class.
    """
    import torch
    from accelerate import infer_auto_device_map, init_empty_weights
    from accelerate.utils import CustomDtype, compute_module_sizes

    numbers = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    plain = numbers[rest if form in ("8bit", "4bit") else form]
    with init_empty_weights(), _quiet():
        model = _empty(config, plain)
    model.tie_weights()
    dtype = {"8bit": torch.int8, "4bit": CustomDtype.INT4}.get(form, plain)
    special = {}
    if form in ("8bit", "4bit"):  # bitsandbytes takes linear layers only, and not the output
        linear = {
            f"{name}.weight"
            for name, module in model.named_modules()
            if type(module) is torch.nn.Linear and module is not model.get_output_embeddings()
        }
        special = {name: plain for name, _ in model.named_parameters() if name not in linear}
    room: dict[int | str, int] = dict(most or {})
    if not most:
        room = {index: gpu.free for index, gpu in enumerate(machine.gpus)}
        if not machine.unified:  # else that of the GPUs is the machine's
            room["cpu"] = machine.free
    with _quiet():
        inferred = infer_auto_device_map(
            model,
            max_memory=room,
            no_split_module_classes=list(model._no_split_modules or ()),
            dtype=dtype,
            special_dtypes=special or None,
        )
    sizes = compute_module_sizes(model, dtype=dtype, special_dtypes=special or None)
    on: dict[str, int] = {}
    for name, device in inferred.items():
        on[_named(device)] = on.get(_named(device), 0) + int(sizes[name])
    return ModuleMap({name: _named(device) for name, device in inferred.items()}, on)


def describe(mapping: ModuleMap) -> dict[str, str]:
    """Return the device → what is on it, in words: "embed_tokens, layers 0-17"."""
    words: dict[str, list[str]] = {}
    for device in dict.fromkeys(mapping.modules.values()):
        names = [name for name, place in mapping.modules.items() if place == device]
        if names == [""]:
            words[device] = ["all of it"]
            continue
        layers = sorted(int(m[1]) for name in names if (m := re.search(r"\blayers\.(\d+)$", name)))
        others = [name.rpartition(".")[2] for name in names if not re.search(r"\blayers\.\d+$", name)]
        part = [f"layers {layers[0]}-{layers[-1]}"] if len(layers) > 1 else [f"layer {n}" for n in layers]
        words[device] = [*part, *dict.fromkeys(others)]
    return {device: ", ".join(parts) for device, parts in words.items()}


def _named(device: Any) -> str:
    return f"cuda:{device}" if isinstance(device, int) else str(device)


def _empty(config: Mapping[str, Any], dtype: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    fields = {name: value for name, value in config.items() if name != "model_type"}
    fields.pop("quantization_config", None)
    kind = str(config.get("model_type", ""))
    try:
        config_object = AutoConfig.for_model(kind, **fields)
        sees = config.get("vision_config") is not None
        auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        return auto.from_config(config_object, dtype=dtype)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise ModelError(
            f"transformers cannot build a model of type {kind!r}: {reason}", "leave `max_memory` out"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the remarks of the libraries: a GPU that is planned for need not be here."""
    import logging
    import warnings

    from transformers.utils import logging as their_logging

    level, accelerate = their_logging.get_verbosity(), logging.getLogger("accelerate")
    before = accelerate.level
    their_logging.set_verbosity_error()
    accelerate.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        their_logging.set_verbosity(level)
        accelerate.setLevel(before)
