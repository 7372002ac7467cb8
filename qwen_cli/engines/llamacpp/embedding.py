"""Embedding models (Qwen3-Embedding) in llama.cpp: a vector for a text."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.embedder import Input
from qwen_cli.engines.llamacpp import load
from qwen_cli.engines.llamacpp.slot import ask
from qwen_cli.errors import ContextFull, RequestRefused, UsageError
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


def task(path: Path) -> str:
    """Return what the GGUF at `path`, which writes nothing, is for, as the catalog calls it."""
    return "reranking" if ranks(path) else "embedding"


def is_for(path: Path) -> bool:
    """Return whether the GGUF at `path` was made to give vectors: it says which of its states they are
    (pooling)."""
    return path.suffix == ".gguf" and bool(gguf_header.read(path).get("pooling_type"))


class Embedder:
    """See `core.embedder.Embedder`. Raises `UsageError` for a model that was trained to write,
    `EngineError`."""

    def __init__(self, weights: Weights) -> None:
        if not is_for(weights.path):
            raise UsageError(f"{weights.label} gives no embeddings", "choose an embedding model in GGUF")
        import xllamacpp  # 50 ms: a 100 MB extension module

        header = gguf_header.read(weights.path)
        self.model = weights.label
        room = min(int(header.get("context_length", _CONTEXT)), _CONTEXT)
        self.context = room - 1  # llama.cpp refuses a text that fills it
        params = xllamacpp.CommonParams()
        params.model.path = str(weights.path)
        params.verbosity = -1
        params.embedding = True
        if ranks(weights.path):  # what its `--reranking` does
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
        params.n_ctx = room * _TOGETHER
        params.n_batch = params.n_ubatch = room
        params.n_parallel = _TOGETHER
        params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
        self._key = load.new_key()
        params.api_keys = [self._key]
        self._server: Any = load.start(params, weights)
        self._running = threading.Semaphore(_TOGETHER)
        self._tail = self._tokens("")  # what is put behind every text: of Qwen3-Embedding, <|endoftext|>

    def embed(self, texts: Sequence[Input], *, cut: bool = False) -> tuple[list[list[float]], int]:
        if not texts or not all(texts):
            raise UsageError("a text to embed is empty", "leave it out")
        texts = [self._whole(text, cut=cut) for text in texts]
        with self._running:
            answer = self._server.handle_embeddings({"input": list(texts)})
        _check(answer)
        rows = sorted(answer["data"], key=lambda one: one["index"])
        return [one["embedding"] for one in rows], int(answer["usage"]["prompt_tokens"])

    def _whole(self, text: Input, *, cut: bool) -> Input:
        """Return `text` as llama.cpp takes it, which puts nothing behind tokens; with `cut` no more of it
        than there is room for."""
        if isinstance(text, str) and (not cut or len(text.encode()) < self.context):
            return text  # a token is a byte at least
        ids = self._tokens(text) if isinstance(text, str) else list(text)
        end = len(ids) - len(self._tail)
        if self._tail and ids[end:] == self._tail:
            ids = ids[:end]
        return [*(ids[: self.context - len(self._tail)] if cut else ids), *self._tail]

    def _tokens(self, text: str) -> list[int]:
        body = {"content": text, "add_special": True, "parse_special": True}
        return list(ask(self._server, self._key, "POST", "/tokenize", body)["tokens"])

    def rerank(self, query: str, documents: Sequence[str]) -> tuple[list[float], int]:
        with self._running:
            answer = self._server.handle_rerank({"query": query, "documents": list(documents)})
        _check(answer)
        rows = sorted(answer["results"], key=lambda one: one["index"])
        return [float(one["relevance_score"]) for one in rows], int(answer["usage"]["prompt_tokens"])

    def close(self) -> None:
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
