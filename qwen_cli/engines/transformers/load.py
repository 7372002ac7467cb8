"""Weights in a safetensors folder → tokenizer and model, quietly, with one-line errors."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qwen_cli.engines.core import rope as core_rope
from qwen_cli.engines.core.options import check_attention, torch_dtype
from qwen_cli.engines.transformers import adapters as lora_adapters
from qwen_cli.engines.transformers import device as transformers_device
from qwen_cli.engines.transformers import device_map, quantization
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.formats import lora
from qwen_cli.models.planning import hardware
from qwen_cli.sanitize import error_line

if TYPE_CHECKING:
    from qwen_cli.models.formats.architecture import Architecture
    from qwen_cli.models.hub.resolve import Weights

MIN_CONTEXT = 4_096  # tokens; a default below this serves nobody, even where memory is short


def tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Load the tokenizer of `folder`. Raises `EngineError`."""
    with quiet():
        from transformers import AutoTokenizer  # 4 s with torch: only where a model is loaded

        try:
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # the library raises all sorts for a damaged or foreign tokenizer
            raise EngineError(
                f"the tokenizer in {folder} cannot be loaded: {error_line(error)}", "Fetch the model again"
            ) from error


def processor(folder: Path, sense: Literal["image", "audio"], **ways: Any) -> Any:
    """Load what prepares pictures or sounds for the model in `folder`. Raises `EngineError`."""
    part = {"image": "image_processor", "audio": "feature_extractor"}[sense]
    with quiet():
        from transformers import AutoProcessor

        try:
            loaded = AutoProcessor.from_pretrained(folder, local_files_only=True, **ways)
            getattr(loaded, part)
        except Exception as error:  # the library raises all sorts
            raise EngineError(
                f"the {sense} processor in {folder} cannot be loaded: {error_line(error)}",
                "Fetch the model again",
            ) from error
    return loaded


def model(
    weights: Weights,
    *,
    dtype: str = "auto",
    quant: str = "none",
    places: Places = Places(),
    attention: str = "auto",
    adapters: Sequence[Path] = (),
    merge: bool | None = None,
    rope: Architecture | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    notice: Callable[[str], None] = lambda text: None,
    kind: Callable[[Any], Any] | None = None,
) -> Any:
    """Load the model in evaluation mode, with its adapters (`merge` as in `adapters.attach`) and the
    positions of `rope`. Raises `EngineError`, `UsageError`.

    `dtype` is a name of `options.DTYPES`, `quant` one of `options.BITS`, `attention` one of
    `options.ATTENTION`. `allow_pickle` takes weights that are no safetensors too, read without running
    anything of theirs (torch.load's weights_only). `notice` receives one-line remarks. `kind` gives the class
    for a config where the weights are of none that the library knows.
    """
    name = torch_dtype(dtype)
    check_attention(attention)
    for adapter in adapters:
        lora.check(adapter)
    with quiet(), _one_line_faults(weights.label):
        import torch
        from transformers import AutoConfig

        from qwen_cli.engines.transformers import cpu_decode

        device_map.check(places, torch.cuda.device_count(), torch.backends.mps.is_available())
        config = AutoConfig.from_pretrained(
            weights.path, local_files_only=True, trust_remote_code=trust_remote_code
        )
        config = getattr(
            config, "thinker_config", config
        )  # of Qwen-Omni what hears and writes, not its speech
        if rope:
            core_rope.scale(config, rope)
        auto = (kind or _auto_class)(config)
        where = places.map or (
            "auto" if torch.cuda.is_available() else {"": transformers_device.best_device(torch)}
        )
        if isinstance(where, dict):
            where = _checked(where, auto, config)
        place = transformers_device.kind_of_device(where, torch)
        number = transformers_device.dtype_for(
            torch, name, place, quantized=_published(config, weights.label, quant, place, torch)
        )
        if place == "cpu":
            cpu_decode.register()
            transformers_device.hold_threads(torch)
        if quant != "none" and place == "cpu":
            notice(quantization.slow(quant, weights))
        loaded, report = auto.from_pretrained(
            weights.path,
            config=config,
            dtype=number,
            device_map=where,
            max_memory=places.memory,
            offload_folder=places.offload,
            quantization_config=quantization.in_bits(quant, number) if quant != "none" else None,
            attn_implementation=transformers_device.attention(attention, place, number, torch),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            use_safetensors=None if allow_pickle else True,
            weights_only=True,
            output_loading_info=True,
        )
        if missing := sorted(report["missing_keys"]):
            # transformers would go on with random numbers in their place.
            raise EngineError(
                f"{weights.label} lacks {len(missing)} tensors, {missing[0]} among them", "Fetch it again"
            )
        mapped = getattr(loaded, "hf_device_map", None) or {}
        if spread := device_map.summary(mapped, (name for name, _ in loaded.named_modules())):
            notice(spread)
        if "disk" in mapped.values():
            transformers_device.keep_no_blocks()
        loaded = lora_adapters.attach(loaded, adapters, merge=merge).eval()
    transformers_device.give_back()
    return loaded


def skeleton(weights: Weights) -> Any:
    """Return the model of `weights` with all its layers and none of its numbers. Raises `EngineError`."""
    with quiet(), _one_line_faults(weights.label):
        import torch
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(weights.path, local_files_only=True)
        with torch.device("meta"):
            return _auto_class(config).from_config(config)


def context(weights: Weights, shape: Architecture, loaded: Any, wanted: int | None) -> int:
    """Return the tokens of context: `wanted`, or the model's own window, halved until its KV cache takes at
    most half of the memory that is free now. The cache grows with use: a large window costs nothing at first.

    Raises `UsageError` where `wanted` is more than the model was trained for.
    """
    trained = shape.context or 32_768
    if wanted is not None:
        if not 0 < wanted <= trained:
            raise UsageError(
                f"{weights.label} was trained for {trained:,} tokens of context, {wanted:,} were asked for",
                core_rope.hint(trained, wanted),
            )
        return wanted
    window, per_token = trained, shape.kv_bytes_per_token(loaded.dtype.itemsize)
    free = free_memory(device_map.main_device(loaded))
    while window > MIN_CONTEXT and window * per_token > free // 2:
        window //= 2
    return window


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and progress bars of the libraries: what matters is raised or checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        getLogger("accelerate").setLevel(ERROR)  # what was offloaded is said here
        getLogger("bitsandbytes").setLevel(ERROR)  # peft imports it, and it tells what it has no kernel for
        getLogger("bitsandbytes").setLevel(ERROR)  # kernels that it would rather have
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def out_of_memory(error: BaseException) -> bool:
    """Return whether a RAM or GPU allocation failed; torch has no common class for them."""
    # The last is oneDNN's, which tells no reason.
    messages = ("out of memory", "can't allocate memory", "could not create a primitive")
    return isinstance(error, MemoryError) or any(words in str(error) for words in messages)


def no_memory(loaded: Any, device: Any, prompt: int) -> EngineError:
    """Return the error for memory that ran out in an answer to `prompt` tokens, with what would have
    helped."""
    smaller = f"`context={max(prompt // 2, 256)}`"
    if device.type == "cuda" and getattr(loaded, "hf_quantizer", None) is None:
        smaller = f"`quant=4bit` or {smaller}"
    elif device.type == "cpu" and loaded.dtype.itemsize > 2:
        smaller = f"`dtype=bf16` or {smaller}"
    return EngineError(
        f"{device} ran out of memory with a prompt of {prompt:,} tokens",
        f"Ask for less, or load with {smaller}",
    )


@contextlib.contextmanager
def _one_line_faults(label: str) -> Iterator[None]:
    try:
        yield
    except (EngineError, UsageError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise EngineError(
                f"{label} does not fit into memory",
                "use `quant=4bit` on a GPU, `max_memory=cpu=…` to leave layers on disk, or a GGUF",
            ) from error
        if "modules are dispatched on the CPU or the disk" in str(error):
            raise EngineError(
                f"{label} does not fit, and what bitsandbytes quantizes cannot be left in memory or on disk",
                "give more with `max_memory`, use `quant=4bit` for 8bit, or leave `quant` out",
            ) from error
        raise EngineError(f"{label} cannot be loaded: {error_line(error)}") from error


def _auto_class(config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if hasattr(config, "audio_config") and not hasattr(config, "vision_config"):
        from transformers import AutoModelForMultimodalLM

        return AutoModelForMultimodalLM
    if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and hasattr(config, "vision_config"):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _checked(where: dict[str, device_map.Device], auto: Any, config: Any) -> dict[str, device_map.Device]:
    """Return `where` as accelerate takes it. Raises `UsageError` where it does not go with the model of
    `config`."""
    if set(where) == {""}:
        return where
    import torch

    with torch.device("meta"):
        empty = auto.from_config(config)
    device_map.check_modules(where, dict(empty.named_modules()), dict(empty.named_parameters()))
    return device_map.apart(where, empty)


def _published(config: Any, label: str, quant: str, place: str, torch: Any) -> bool:
    """Return whether the weights are quantized already. Raises `EngineError` where they cannot be read,
    `UsageError` where `quant` is asked for on top."""
    if getattr(config, "quantization_config", None) is None:
        return False
    capability = torch.cuda.get_device_capability() if place == "cuda" else None
    form = quantization.published(config.to_dict(), label, capability)
    if quant != "none":
        raise UsageError(
            f"{label} is quantized already ({form.name if form else 'in a way of its own'})",
            f"leave `quant={quant}` out",
        )
    return True


def free_memory(device: Any) -> int:
    """Return the bytes that are free where `device` computes."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return hardware.free_memory()
