"""Embedding models (Qwen3-Embedding) in transformers: a vector for a text, by the script of its card."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli import sanitize
from qwen_cli.engines.core.embedder import Input
from qwen_cli.engines.transformers import device, load
from qwen_cli.engines.transformers.device_map import main_device
from qwen_cli.errors import ContextFull, EngineError, ModelError, UsageError

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

_END = "<|endoftext|>"  # its state is the vector (the card's last_token_pool); the tokenizer appends it
_TOKENS = 8_192  # computed at once, those that fill up shorter texts among them: 70 MB a layer in float32


def is_for(folder: Path) -> bool:
    """Return whether the weights in `folder` were made to give vectors: beside them lie the steps that
    sentence-transformers takes, one of which pools."""
    return any(str(step.get("type", "")).endswith("Pooling") for step in _steps(folder))


class Embedder:
    """See `core.embedder.Embedder`; `dtype` is one of `options.DTYPES`. Raises `UsageError` for weights that
    were trained to write, `ModelError` for a vector that is not the last token's, `EngineError`."""

    def __init__(self, weights: Weights, *, dtype: str = "auto") -> None:
        if not is_for(weights.path):
            raise UsageError(f"{weights.label} gives no embeddings", "choose an embedding model")
        _check_pooling(weights)
        self.model = weights.label
        self._tokenizer = load.tokenizer(weights.path, trust_remote_code=False)
        end = self._tokenizer.convert_tokens_to_ids(_END)
        if end is None:
            raise ModelError(f"the tokenizer of {self.model} has no {_END}", "fetch the model again")
        self._end: int = end
        self._network: Any = load.model(weights, dtype=_usual(dtype), kind=_kind)
        self.context: int = self._network.config.max_position_embeddings
        self._alone = threading.Lock()

    def embed(self, texts: Sequence[Input], *, cut: bool = False) -> tuple[list[list[float]], int]:
        if not texts or not all(texts):
            raise UsageError("a text to embed is empty", "leave it out")
        with self._alone:
            ids = [self._ids(text, cut=cut) for text in texts]
            try:
                vectors = self._vectors(ids)
            except (RuntimeError, MemoryError) as fault:
                if load.out_of_memory(fault):
                    raise EngineError(f"{self.model} ran out of memory", "send shorter texts") from fault
                raise EngineError(f"{self.model} failed: {sanitize.error_line(fault)}") from fault
        return vectors, sum(map(len, ids))

    def rerank(self, query: str, documents: Sequence[str]) -> tuple[list[float], int]:
        raise UsageError(f"{self.model} gives vectors, no scores", "choose a reranker")

    def close(self) -> None:
        self._network = self._tokenizer = None

    def _ids(self, text: Input, *, cut: bool) -> list[int]:
        """Return the tokens of `text` with the one at the end whose state is the vector. Raises
        `ContextFull`, `UsageError` for a number that is no token."""
        if isinstance(text, str):
            ids = list(
                self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            )
        else:
            ids = list(text)
            size = self._network.get_input_embeddings().weight.shape[0]
            if wrong := [id for id in ids if not 0 <= id < size]:
                raise UsageError(
                    f"there is no token {wrong[0]}: the vocabulary has {size:,}", "tokenize with this model"
                )
        if ids[-1:] != [self._end]:
            ids.append(self._end)
        if len(ids) > self.context:
            if not cut:
                raise ContextFull(len(ids), self.context)
            ids = [*ids[: self.context - 1], self._end]
        return ids

    def _vectors(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the vectors of texts, those of a length computed together: what fills up the end of one is
        seen by no token of it, as each sees only those before it."""
        import torch

        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        vectors: list[list[float]] = [[]] * len(ids)
        while order:
            longest = len(ids[order[-1]])
            rows = [order.pop() for _ in range(min(len(order), max(1, _TOKENS // longest)))]
            filled = [[*ids[at], *[self._end] * (longest - len(ids[at]))] for at in rows]
            with torch.inference_mode():
                tokens = torch.tensor(filled, device=main_device(self._network))
                states = self._network(input_ids=tokens, use_cache=False).last_hidden_state
                last = torch.stack([states[row, len(ids[at]) - 1] for row, at in enumerate(rows)])
                units = torch.nn.functional.normalize(last.float(), dim=1).tolist()
            for at, unit in zip(rows, units, strict=True):
                vectors[at] = unit
        return vectors


def _steps(folder: Path) -> list[dict[str, Any]]:
    try:
        steps = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _check_pooling(weights: Weights) -> None:
    """Raise `ModelError` unless the last token's state is the vector."""
    step = next(step for step in _steps(weights.path) if str(step.get("type", "")).endswith("Pooling"))
    file = weights.path / Path(str(step.get("path", ""))).name / "config.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        last = said.get("pooling_mode_lasttoken") or said.get("pooling_mode") == "lasttoken"
    except (OSError, ValueError, AttributeError) as fault:
        raise ModelError(
            f"{weights.label} has no readable {file.name} of its pooling", "fetch it again"
        ) from fault
    if not last:
        raise ModelError(
            f"{weights.label} does not take its vectors from the last token", "choose Qwen3-Embedding"
        )


def _usual(dtype: str) -> str:
    """Return `dtype`, where it is "auto" what is right for texts that are read and not written: on a CPU they
    wait for the arithmetic, which few have in 16 bits."""
    import torch

    return "fp32" if dtype == "auto" and device.best_device(torch) == "cpu" else dtype


def _kind(config: Any) -> Any:
    from transformers import AutoModel

    return AutoModel
