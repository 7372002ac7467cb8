"""What is to be served, as another engine is told of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from qwen_cli import aliases
from qwen_cli.engines.core import rope
from qwen_cli.engines.core.draft import MTP_TOKENS
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import config_fields
from qwen_cli.models.hub import resolve
from qwen_cli.models.planning import describe
from qwen_cli.models.planning.describe import Described

EngineName: TypeAlias = Literal["vllm", "sglang"]
NAMES: dict[EngineName, str] = {"vllm": "vLLM", "sglang": "SGLang"}


@dataclass(frozen=True)
class Target:
    """`place` is what the engine loads: a folder, or a hub id, which it fetches by itself. `name` is what it
    was asked for by."""

    place: str
    name: str
    described: Described

    @property
    def model(self) -> lookup.Model | None:
        return self.described.model

    @property
    def config(self) -> dict[str, Any]:
        """Return the language model's part of config.json."""
        return config_fields.text(self.described.config or {})

    @property
    def sees(self) -> bool:
        return bool(self.described.counted.vision)

    @property
    def dual_chunk(self) -> bool:
        """Return whether it is one of the models that read a million tokens by dual chunk attention
        (Qwen2.5-1M, arXiv:2501.15383): their config.json says so, as does their family."""
        family = self.model.family if self.model else ""
        return "dual_chunk_attention_config" in self.config or family == "qwen2.5-1m"


def drafted(target: Target) -> int:
    """Return how many tokens the draft layer of `target` drafts at a time. Raises `UsageError` where it has
    none; a config.json that does not tell is left to the engine."""
    layers = target.config.get("mtp_num_hidden_layers")
    kind = str(target.config.get("model_type", ""))
    if layers == 0 or (layers is None and not kind.startswith(("qwen3_next", "qwen3_5", "qwen4"))):
        raise UsageError(
            f"`draft=mtp`: {target.name} has no draft layer", "leave `draft` out, or choose Qwen3.5 or later"
        )
    return MTP_TOKENS


def find(name: str | None, engine: EngineName) -> Target:
    """Return the safetensors weights that `name` means, here or at the hub. Raises `UsageError`,
    `ModelError`."""
    if not name:
        raise UsageError(f"{NAMES[engine]} serves one model", "name it, such as qwen3:8b")
    name = aliases.meant(name)
    if name.lower().endswith(".gguf"):
        raise UsageError(
            f"{NAMES[engine]} is given safetensors here, {name} is GGUF", "name the model or its folder"
        )
    try:
        weights = resolve.resolve(name, prefer="safetensors", strict=True, download=False)
    except ModelError:
        bare, file_type = lookup.spelled(name)
        if file_type:
            raise UsageError(
                f"{NAMES[engine]} is given safetensors here, {name} is GGUF", f"leave {file_type} out"
            ) from None
        model = lookup.find(bare)
        repo = model.repo if model else bare
        described = describe.describe(repo, prefer="safetensors")
        if described.engine == "llamacpp":  # only its GGUF is here: that is as published, not what is served
            described = describe.of_model(model) if model else described
            described = replace(described, stored="bf16", engine="transformers", size=None)
        return Target(repo, name, described)
    return Target(str(weights.path), name, describe.of_weights(weights))


def scaling(target: Target, given: str | None, context: int | None) -> tuple[dict[str, Any] | None, int]:
    """Return (rope parameters, longest window) for the options `rope_scaling` and `context`; none where the
    model's own stand. Raises `UsageError` as `engines.rope.extended` does, and for a context that is too
    long."""
    wanted = rope.checked(given)
    if wanted == "dca" and not target.dual_chunk:
        raise UsageError(
            f"{target.name} has no dual_chunk_attention_config, which servers take dual chunk attention from",
            "use `rope_scaling=yarn`, or leave `engine` out",
        )
    if wanted == "dca":
        wanted = None  # as it is served anyway
    config = target.config
    own = config.get("rope_parameters") or config.get("rope_scaling")
    shape = replace(describe.shape(target.described), dual_chunk=None)
    stretched = rope.extended(shape, wanted, context, target.name)
    longest = stretched.context or 0
    if context and longest and context > longest:
        raise UsageError(
            f"{target.name} was trained for {longest:,} tokens of context, {context:,} were asked for",
            rope.hint(longest, context),
        )
    if wanted == "none" and own:
        return {"rope_type": "default"}, longest
    return (stretched.rope_scaling if wanted == "yarn" and stretched is not shape else None), longest
