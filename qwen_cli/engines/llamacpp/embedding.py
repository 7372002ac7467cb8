"""Embedding models (Qwen3-Embedding) in llama.cpp: a vector for a text."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.llamacpp import load
from qwen_cli.errors import ContextFull, EngineError, RequestRefused, UsageError
from qwen_cli.models.formats import gguf_header

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

# A text has to fit one batch, whose size is paid for in memory; longer ones are seldom looked up.
_CONTEXT = 8_192
_TOGETHER = 4  # texts computed at once


_RANK = 4  # LLAMA_POOLING_TYPE_RANK of llama.cpp (include/llama.h)


def ranks(path: Path) -> bool:
    """Return whether the GGUF at `path` is a reranker with a head of its own."""
    return path.suffix == ".gguf" and gguf_header.read(path).get("pooling_type") == _RANK


def is_for(path: Path) -> bool:
    """Return whether the GGUF at `path` was made to give vectors: it says which of its states they are
    (pooling)."""
    return path.suffix == ".gguf" and bool(gguf_header.read(path).get("pooling_type"))


class Embedder:
    """An embedding model, loaded. Several threads may use it. Raises `UsageError` for one that was trained
    to write, `EngineError`."""

    def __init__(self, weights: Weights) -> None:
        if not is_for(weights.path):
            raise UsageError(f"{weights.label} gives no embeddings", "choose an embedding model in GGUF")
        import xllamacpp  # 50 ms: a 100 MB extension module

        header = gguf_header.read(weights.path)
        self.model = weights.label
        self.context = min(int(header.get("context_length", _CONTEXT)), _CONTEXT)
        params = xllamacpp.CommonParams()
        params.model.path = str(weights.path)
        params.verbosity = -1
        params.embedding = True
        params.n_ctx = self.context * _TOGETHER
        params.n_batch = params.n_ubatch = self.context
        params.n_parallel = _TOGETHER
        params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
        params.api_keys = [load.new_key()]
        try:
            self._server: Any = xllamacpp.Server(params)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise EngineError(f"llama.cpp cannot load {weights.label}: {error}") from error
        self._running = threading.Semaphore(_TOGETHER)

    def embed(self, texts: Sequence[str | Sequence[int]]) -> tuple[list[list[float]], int]:
        """Return a vector of length 1 for each of `texts`, which may be tokens, and their tokens. Raises
        `UsageError`, `ContextFull`."""
        if not texts or not all(texts):
            raise UsageError("a text to embed is empty", "leave it out")
        with self._running:
            answer = self._server.handle_embeddings({"input": list(texts)})
        _check(answer)
        rows = sorted(answer["data"], key=lambda one: one["index"])
        return [one["embedding"] for one in rows], int(answer["usage"]["prompt_tokens"])

    def rerank(self, query: str, documents: Sequence[str]) -> tuple[list[float], int]:
        """Return a score for each of `documents`, and the tokens of all. Raises `ContextFull`."""
        with self._running:
            answer = self._server.handle_rerank({"query": query, "documents": list(documents)})
        _check(answer)
        rows = sorted(answer["results"], key=lambda one: one["index"])
        return [float(one["relevance_score"]) for one in rows], int(answer["usage"]["prompt_tokens"])

    def close(self) -> None:
        """Free the weights."""
        if self._server is not None:
            self.embed(["."])  # the destructor waits for ever for a loop that has not begun
            self._server = None


def _check(answer: Mapping[str, Any]) -> None:
    """Raise the error that the server's answer tells of."""
    if "error" in answer:
        error = answer["error"]
        if error.get("type") == "exceed_context_size_error":
            raise ContextFull(error["n_prompt_tokens"], error["n_ctx"])
        raise RequestRefused(f"llama.cpp refused the request: {error.get('message', error)}")
