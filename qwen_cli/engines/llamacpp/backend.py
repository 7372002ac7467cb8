"""llama.cpp as a back end: GGUF files on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core import backend
from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import TRANSFORMERS_ONLY, Hooks, LoadOptions
from qwen_cli.errors import EngineError, QwenError, UsageError
from qwen_cli.models.catalog import answers, published
from qwen_cli.models.formats import dual_chunk, kv_types

if TYPE_CHECKING:
    from qwen_cli.engines.llamacpp.engine import LlamaCpp
    from qwen_cli.models.hub.resolve import Format, Weights


def unchunked(weights: Weights, context: int | None) -> str | None:
    """Return what to know of a model that reads longer texts by dual chunk attention where it is published,
    which its GGUF says nothing of; `None` for others, and for a `context` that does not need it."""
    model = weights.model
    if model is None or context is None or not published.has_shape(model):
        return None
    chunks = dual_chunk.read(published.config(model))
    if chunks is None or context <= chunks.size:
        return None
    return (
        f"llama.cpp has no dual chunk attention: beyond {chunks.size:,} tokens {weights.label} gets worse; "
        "use `engine=transformers`"
    )


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
        if remark := unchunked(weights, options.context):
            hooks.notice(remark)
        draft = backend.drafter(weights, options, hooks)
        if weights.format != "gguf":
            raise EngineError(
                f"llama.cpp needs a GGUF file, {weights.label} is safetensors", "use `engine=transformers`"
            )
        from qwen_cli.engines.llamacpp import embedding

        if embedding.is_for(weights.path):
            raise answers.silent(weights.label, embedding.task(weights.path))
        why = f"needs transformers, {weights.label} runs with llama.cpp"
        options.refuse(TRANSFORMERS_ONLY, why, "add `engine=transformers`")
        if options.merge is not None:
            raise UsageError(
                f"`merge={options.merge}` is for transformers, {weights.label} runs with llama.cpp",
                "leave it out: llama.cpp computes adapters beside the weights",
            )
        plan = backend.check_room(weights, options, hooks)
        engine = self._engine(
            weights,
            hooks,
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

    def _engine(self, weights: Weights, hooks: Hooks, **options: Any) -> LlamaCpp:
        """Return the engine, loaded. Raises `EngineError`, `UsageError`."""
        from qwen_cli.engines.llamacpp.engine import LlamaCpp

        return LlamaCpp(weights, **options)


class LlamaServerBackEnd(LlamaCppBackEnd):
    """The user's own build of llama.cpp, as a program."""

    name = "llama-server"

    def accepts(self, options: LoadOptions) -> bool:
        _found()
        return super().accepts(options)

    def _engine(self, weights: Weights, hooks: Hooks, **options: Any) -> LlamaCpp:
        from qwen_cli.engines.llamacpp.outside import OutsideLlamaCpp
        from qwen_cli.models.planning import back_ends

        _found()
        program = back_ends.installed().server
        assert program is not None
        if program.fault:
            raise EngineError(f"{program.path} cannot be used: {program.fault}", _WHERE)
        return OutsideLlamaCpp(weights, program=program, progress=hooks.progress, **options)


_WHERE = "set QWEN_LLAMA_SERVER to the path of a llama-server that runs here"


def _found() -> None:
    """Raise `EngineError` where there is no llama-server."""
    from qwen_cli.models.planning import llama_server

    path = llama_server.find()
    if path is None:
        raise EngineError(
            "there is no llama-server on PATH",
            "install llama.cpp (`brew install llama.cpp`, or its releases on GitHub), or name the program in "
            "QWEN_LLAMA_SERVER",
        )
    if not path.is_file():
        raise EngineError(f"QWEN_LLAMA_SERVER: there is no program {path}", "give its whole path")


def fault_of_start(fault: QwenError) -> str:
    """Return the remark about a llama-server that was chosen by itself and does not come up."""
    return f"{fault.message}; llama.cpp in the process is taken"
