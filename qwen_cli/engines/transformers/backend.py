"""transformers as a back end: safetensors weights on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qwen_cli.engines.core import backend
from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import LLAMACPP_ONLY, Hooks, LoadOptions, torch_dtype
from qwen_cli.engines.transformers import remote_code
from qwen_cli.engines.transformers.device_map import Places, places
from qwen_cli.errors import EngineError
from qwen_cli.models.catalog import answers

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Format, Weights


class TransformersBackEnd:
    """See `backend.BackEnd`."""

    name = "transformers"
    format: Format | None = "safetensors"

    def accepts(self, options: LoadOptions) -> bool:
        _places(options)
        return options.endpoint is None

    def load(self, weights: Weights | None, options: LoadOptions, hooks: Hooks) -> Engine:
        assert weights is not None
        backend.tell_of_scaling(weights, options, hooks)
        draft = backend.drafter(weights, options, hooks)
        if weights.format != "safetensors":
            raise EngineError(
                f"the transformers engine needs safetensors, {weights.label} is GGUF",
                f"run `qwen models convert {weights.label}` once",
            )
        from qwen_cli.engines.transformers import embedding

        if embedding.is_for(weights.path):
            raise answers.silent(weights.label, "embedding")
        why = f"is for llama.cpp, {weights.label} runs with transformers"
        options.refuse(LLAMACPP_ONLY, why, "leave it out, or add `engine=llamacpp`")
        trusted = options.trust_remote_code or _agreed(weights, hooks)
        backend.check_room(weights, options, hooks)
        from qwen_cli.engines.transformers.engine import Transformers

        return Transformers(
            weights,
            context=options.context,
            adapters=options.adapters,
            merge=options.merge,
            draft=draft,
            rope_scaling=options.rope_scaling,
            dca_chunk=options.dca_chunk,
            dtype=torch_dtype(options.dtype),
            quant=options.bits or "none",
            places=_places(options),
            attention=options.attention,
            compiled=options.compiled,
            trust_remote_code=trusted,
            allow_pickle=options.allow_pickle,
            notice=hooks.notice,
        )


def _places(options: LoadOptions) -> Places:
    return places(options.device_map, options.max_memory, options.offload_dir)


def _agreed(weights: Weights, hooks: Hooks) -> bool:
    """Return whether code that comes with `weights` may run: false where there is none. Raises `EngineError`
    where they need it and nobody agrees."""
    code = remote_code.required_code(weights.path)
    if code and not hooks.agree(weights.label, code):
        raise EngineError(
            f"{weights.label} needs code of its own to run: {', '.join(code)}",
            "read it, then give `trust_remote_code`",
        )
    return bool(code)
