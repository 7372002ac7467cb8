"""From what a person asked for to a loaded engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from qwen_cli.engines.protocol import Engine
from qwen_cli.errors import EngineError, UsageError

if TYPE_CHECKING:
    from qwen_cli.models.reference import Weights
    from qwen_cli.models.store import Progress

EngineName: TypeAlias = Literal["auto", "llamacpp", "transformers", "remote"]


def load(
    model: str | None = None,
    *,
    engine: EngineName = "auto",
    endpoint: str | None = None,
    api_key: str | None = None,
    context: int | None = None,
    adapters: Sequence[Path] = (),
    quant: str | None = None,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    draft: Literal["ngram"] | None = None,
    notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Engine:
    """Load `model` (an alias, hub id, folder or .gguf file; `None` picks one for this machine).

    `engine` "auto" takes `remote` with an `endpoint`, `transformers` for a safetensors folder or where a GPU
    is present, else `llamacpp`. `context` is in tokens. `notice` receives one-line remarks.
    `draft` "ngram" speeds up text that repeats itself (llama.cpp only).
    Raises `UsageError`, `ModelError`, `DownloadError`, `EngineError`, `EndpointError`.
    """
    if engine not in get_args(EngineName):
        raise UsageError(f"unknown engine {engine!r}", f"choose one of {', '.join(get_args(EngineName))}")
    if engine == "remote" or (engine == "auto" and endpoint):
        if not endpoint:
            raise UsageError("the remote engine needs an address", "give --endpoint URL")
        if draft:
            raise UsageError("drafts need a local engine", "let the server make them")
        if adapters:
            raise UsageError("--adapter needs a local engine", "load the adapter on the server")
        from qwen_cli.engines.remote import Remote

        return Remote(endpoint, model=model, api_key=api_key)
    if endpoint:
        raise UsageError(
            f"--engine {engine} runs on this machine, --endpoint elsewhere", "drop one of the two"
        )

    weights = _weights(model, engine, quant, notice, progress)
    if engine == "transformers" or (engine == "auto" and weights.format == "safetensors"):
        if weights.format != "safetensors":
            raise EngineError(
                f"the transformers engine needs safetensors, {weights.label} is GGUF",
                f"run `qwen models convert {weights.label} --to safetensors` once",
            )
        if draft:
            raise UsageError(
                f"drafts need llama.cpp, {weights.label} runs with transformers", "use --engine llamacpp"
            )
        from qwen_cli.engines.transformers import Transformers

        return Transformers(
            weights,
            context=context,
            adapters=adapters,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
    if weights.format != "gguf":
        raise EngineError(
            f"llama.cpp needs a GGUF file, {weights.label} is safetensors", "use --engine transformers"
        )
    from qwen_cli.engines.llamacpp import LlamaCpp

    return LlamaCpp(weights, context=context, adapters=adapters, draft=draft)


def _weights(
    model: str | None,
    engine: EngineName,
    quant: str | None,
    notice: Callable[[str], None],
    progress: Progress | None,
) -> Weights:
    from qwen_cli.models import placement, reference

    if engine == "llamacpp":
        prefer: Literal["gguf", "safetensors"] = "gguf"
    elif engine == "transformers":
        prefer = "safetensors"
    else:
        prefer = placement.preferred_format()
    if model is None:
        return placement.default_model(prefer=prefer, notice=notice, progress=progress)
    return reference.resolve(model, prefer=prefer, strict=engine != "auto", quant=quant, progress=progress)
