"""llama.cpp as a back end: GGUF files on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qwen_cli.engines.core import backend
from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import TRANSFORMERS_ONLY, Hooks, LoadOptions
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.catalog import answers
from qwen_cli.models.formats import kv_types

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Format, Weights


class LlamaCppBackEnd:
    """See `backend.BackEnd`."""

    name = "llamacpp"
    format: Format | None = "gguf"

    def accepts(self, options: LoadOptions) -> bool:
        if options.rope_scaling == "dca" or options.dca_chunk:
            raise UsageError(
                "llama.cpp has no dual chunk attention",
                "use `rope_scaling=yarn`, or `engine=transformers` with safetensors",
            )
        return options.endpoint is None

    def load(self, weights: Weights | None, options: LoadOptions, hooks: Hooks) -> Engine:
        assert weights is not None
        self.accepts(options)
        backend.tell_of_scaling(weights, options, hooks)
        draft = backend.drafter(weights, options, hooks)
        if weights.format != "gguf":
            raise EngineError(
                f"llama.cpp needs a GGUF file, {weights.label} is safetensors", "use `engine=transformers`"
            )
        from qwen_cli.engines.llamacpp import embedding

        if embedding.is_for(weights.path):
            raise answers.silent(weights.label, "embedding")
        why = f"needs transformers, {weights.label} runs with llama.cpp"
        options.refuse(TRANSFORMERS_ONLY, why, "add `engine=transformers`")
        if options.merge is not None:
            raise UsageError(
                f"`merge={options.merge}` is for transformers, {weights.label} runs with llama.cpp",
                "leave it out: llama.cpp computes adapters beside the weights",
            )
        plan = backend.check_room(weights, options, hooks)
        from qwen_cli.engines.llamacpp.engine import LlamaCpp

        engine = LlamaCpp(
            weights,
            context=options.context,
            adapters=options.adapters,
            parallel=options.parallel,
            draft=draft,
            rope_scaling=options.rope_scaling,
            kv=options.kv or (plan.kv if plan and plan.kv != kv_types.USUAL else None),
            n_cpu_moe=options.n_cpu_moe,
        )
        if options.kv is None and engine.kv != kv_types.USUAL:
            hooks.notice(
                f"keys and values are kept as {engine.kv}, so that {engine.capabilities.context:,} tokens of "
                "context fit: `kv=f16` keeps them whole"
            )
        return engine
