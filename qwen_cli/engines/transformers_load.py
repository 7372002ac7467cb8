"""Weights in a safetensors folder → tokenizer and model, quietly, with one-line errors."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import EngineError, UsageError

if TYPE_CHECKING:
    from qwen_cli.models.architecture import Architecture
    from qwen_cli.models.reference import Weights

DTYPES = ("auto", "bfloat16", "float16", "float32")
MIN_CONTEXT = 4_096  # tokens; a default below this serves nobody, even where memory is short


def tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """The tokenizer of `folder`. Raises `EngineError`."""
    with quiet():
        from transformers import AutoTokenizer  # 4 s with torch: only where a model is loaded

        try:
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # the library raises all sorts for a damaged or foreign tokenizer
            raise EngineError(
                f"the tokenizer in {folder} cannot be loaded: {one_line(error)}", "Fetch the model again"
            ) from error


def model(
    weights: Weights,
    *,
    dtype: str,
    device: str | None,
    adapters: Sequence[Path],
    trust_remote_code: bool,
    kind: Callable[[Any], Any] | None = None,
) -> Any:
    """The model in evaluation mode, adapters merged in. Raises `EngineError`, `UsageError`.

    `device` is "cpu", "cuda", "cuda:1", "mps"; `None` takes all GPUs there are, else the CPU. `kind` gives
    the class for a config where the weights are of none that the library knows.
    """
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}", f"Choose one of {', '.join(DTYPES)}")
    for adapter in adapters:
        _check_adapter(adapter)
    with quiet(), _one_line_faults(weights.label):
        import torch
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(
            weights.path, local_files_only=True, trust_remote_code=trust_remote_code
        )
        place = device or _best_device(torch)
        loaded, report = (kind or _auto_class)(config).from_pretrained(
            weights.path,
            config=config,
            dtype=_dtype(torch, dtype, place, config),
            device_map="auto" if device is None and place == "cuda" else {"": place},
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        if missing := sorted(report["missing_keys"]):
            # transformers would go on with random numbers in their place.
            raise EngineError(
                f"{weights.label} lacks {len(missing)} tensors, {missing[0]} among them", "Fetch it again"
            )
        for adapter in adapters:
            loaded = _adapted(loaded, adapter)
        return loaded.eval()


def context(weights: Weights, shape: Architecture, loaded: Any, wanted: int | None) -> int:
    """Tokens of context: `wanted`, or the model's own window, halved until its KV cache takes at most half
    of the memory that is free now. The cache grows with use: a large window costs nothing at first.

    Raises `UsageError` where `wanted` is more than the model was trained for.
    """
    trained = shape.context or 32_768
    if wanted is not None:
        if not 0 < wanted <= trained:
            raise UsageError(
                f"{weights.label} was trained for {trained:,} tokens of context, {wanted:,} were asked for",
                f"Use --context {trained} or less",
            )
        return wanted
    window, per_token = trained, shape.kv_bytes_per_token(loaded.dtype.itemsize)
    free = _free_memory(loaded.device)
    while window > MIN_CONTEXT and window * per_token > free // 2:
        window //= 2
    return window


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings and progress bars of the libraries: what matters is raised or checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.utils import logging

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def one_line(error: BaseException) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    """Whether a RAM or GPU allocation failed; torch has no common class for them."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


@contextlib.contextmanager
def _one_line_faults(label: str) -> Iterator[None]:
    try:
        yield
    except (EngineError, UsageError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise EngineError(
                f"{label} does not fit into memory", "Choose a smaller model, or a GGUF quantisation"
            ) from error
        if "trust_remote_code" in str(error):
            raise EngineError(
                f"{label} needs code of its own to run", "Read that code, then give --trust-remote-code"
            ) from error
        raise EngineError(f"{label} cannot be loaded: {one_line(error)}") from error


def _auto_class(config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and hasattr(config, "vision_config"):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def _best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(torch: Any, name: str, device: str, config: Any) -> Any:
    """`name`, or what is fastest and right. Quantised checkpoints say themselves.

    On a CPU decoding waits for memory, so half the bytes are twice the speed (starter on two AVX2 cores:
    bfloat16 9.6 tok/s, float32 4.3); float16 has no fast kernels there. GPUs before Ampere have no bfloat16.
    """
    if name != "auto":
        return getattr(torch, name)
    if getattr(config, "quantization_config", None) is not None:
        return "auto"
    if device.startswith("cuda") and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def _free_memory(device: Any) -> int:
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def _check_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"{folder} is not a LoRA adapter: it has no adapter_config.json",
            "Give the folder that peft's save_pretrained wrote",
        )
    if not (folder / "adapter_model.safetensors").is_file():
        # A .bin adapter is a pickle, which can run code when it is loaded.
        raise UsageError(f"{folder} has no adapter_model.safetensors", "Save the adapter as safetensors")


def _adapted(loaded: Any, folder: Path) -> Any:
    """`loaded` with the adapter merged into its weights, so that it costs nothing while decoding."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(loaded, folder).merge_and_unload()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"the adapter {folder} does not fit this model: {one_line(error)}",
            "Use the model that it was trained on",
        ) from error
