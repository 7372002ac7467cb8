"""What another engine is to be started with, and the command that does it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.launch.parallelism import Split
from qwen_cli.launch.target import NAMES, EngineName, Target
from qwen_cli.models.catalog.lookup import Model

# What each engine quantizes plain weights to while it loads them (vLLM `config/quantization.py`, SGLang
# `arg_groups/choices.py`), and how much of it that is.
ONLINE: dict[EngineName, dict[str, str]] = {
    "vllm": {
        "fp8": "8bit",
        "fp8_per_tensor": "8bit",
        "fp8_per_block": "8bit",
        "fp8_per_channel": "8bit",
        "int8_per_channel_weight_only": "8bit",
        "mxfp8": "8bit",
        "nvfp4_per_token": "4bit",
    },
    "sglang": {"fp8": "8bit", "mxfp8": "8bit", "nvfp4_online": "4bit"},
}
# What a scaling leaves as it is: the base, and how a vision model shares it out.
_KEPT = ("rope_theta", "partial_rotary_factor", "mrope_section", "mrope_interleaved")
DTYPES = {"auto": None, "bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


@dataclass(frozen=True)
class LaunchOptions:
    """`scaling` are rope parameters in place of the model's own, `window` the context in tokens, `keyed` says
    that a key is asked of clients. `drafted` tokens at a time come from the model's own draft layer (0: it
    rests). `extra` is passed on as it is."""

    target: Target
    split: Split
    host: str = "127.0.0.1"
    port: int = 8000
    keyed: bool = True
    quant: str | None = None
    dtype: str = "auto"
    scaling: Mapping[str, Any] | None = None
    adapters: tuple[Path, ...] = ()
    trust_remote_code: bool = False
    drafted: int = 0
    extra: tuple[str, ...] = ()

    @property
    def overrides(self) -> dict[str, Any] | None:
        """Return what of config.json is replaced for `scaling`, where the model has it. Both engines hold a
        context against `max_position_embeddings`, which they take to be stretched already."""
        if self.scaling is None:
            return None
        config = self.target.config
        own = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
        kept = {name: own[name] for name in _KEPT if name in own}
        if base := kept.get("rope_theta") or config.get("rope_theta"):
            kept["rope_theta"] = base
        else:  # vLLM takes the parameters as they are given, and a base of its own for one that is missing
            raise ModelError(
                f"the rope_theta of {self.target.name} is in its config.json, which is not here",
                f"run `qwen models pull {self.target.name}` where a hub can be reached",
            )
        changed: dict[str, Any] = {
            "rope_parameters": {**kept, **self.scaling},
            "max_position_embeddings": self.split.context,
        }
        nested = "text_config" in (self.target.described.config or {})
        return {"text_config": changed} if nested else changed


@dataclass(frozen=True)
class Command:
    """`words` with variables of the environment; `key` names the variable that brings the key, or is None
    where it comes in another way."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None

    def shell_line(self) -> str:
        """Return the command line as a shell takes it. The key is not told: it is read from where `qwen
        serve` reads it."""
        before = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        before += [f'{self.key}="$QWEN_SERVE_KEY"'] if self.key else []
        return " ".join([*before, *(_quoted(word) for word in self.words)])


def _quoted(word: str) -> str:
    return f'"{word}"' if word.startswith("$") else shlex.quote(word)


def method(quant: str | None, engine: EngineName) -> tuple[str | None, str | None]:
    """Return (the engine's name, the form it makes of the weights) for `quant`. Raises `UsageError`."""
    if quant is None or quant.lower() == "none":
        return None, None
    name = {"8bit": "fp8"}.get(quant.lower(), quant.lower())
    if name not in ONLINE[engine]:
        raise UsageError(
            f"{NAMES[engine]} does not quantize to {quant} while it loads",
            f"choose {', '.join(ONLINE[engine])}, or name a repository that is packed (…-AWQ, …-FP8)",
        )
    return name, ONLINE[engine][name]


def rank(adapter: Path) -> int:
    """Return the rank of a LoRA adapter. Raises `UsageError` where the folder has none."""
    try:
        return int(reading.parsed_json(reading.read(adapter / "adapter_config.json"))["r"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{adapter} holds no LoRA adapter", "give a folder with adapter_config.json"
        ) from None


def reasoning(model: Model | None, engine: EngineName) -> str | None:
    """Return the parser for what `model` thinks; `None` where it does not think."""
    if model is None or model.thinking is None:
        return None
    if model.family == "qwq":  # its template opens <think> as DeepSeek-R1's does
        return "deepseek_r1" if engine == "vllm" else "deepseek-r1"
    if engine == "sglang" and model.thinking_mode == "always":
        return "qwen3-thinking"
    return "qwen3"


def tools(model: Model | None, engine: EngineName) -> str | None:
    """Return the parser for the tool calls of `model`; `None` where its template has no tools."""
    if model is None or model.base or not {"chat", "code"} & set(model.tasks):
        return None
    if model.family.startswith("qwen3-coder") or model.generation in ("3.5", "3.6", "3.8"):
        return "qwen3_coder"  # <function=…><parameter=…>
    if model.generation not in ("2.5", "3") or (model.vision and model.generation == "2.5"):
        return None
    return "hermes" if engine == "vllm" else "qwen"
