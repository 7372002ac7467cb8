"""Which models answer what they are asked, and what the others are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import lookup

if TYPE_CHECKING:
    from qwen_cli.models.catalog.lookup import Model

# What a model with one of these tasks is, and what to do with it here.
_SILENT = {
    "embedding": ("an embedding model: it gives vectors for texts", "`qwen serve` answers /v1/embeddings"),
    "reranking": ("a reranker: it scores texts for a question", "`qwen serve` answers /v1/rerank"),
    "reward": ("a reward model: it scores answers", "`qwen math` takes it as its reward model"),
    "transcription": ("a speech recogniser: it writes down what it hears", "`qwen listen FILE` uses it"),
    "audio": ("a model for speech", "a server of vLLM runs it"),
}


def silent_task(model: Model) -> str | None:
    """Return the task of a model that answers nobody ("embedding", "reward"); `None` for one that does."""
    if {"chat", "code", "math", "guard", "base"} & set(model.tasks):
        return None
    return next((task for task in model.tasks if task in _SILENT), None)


def gives_vectors(reference: str) -> bool:
    """Return whether the catalog knows the model called `reference` as one that gives vectors for texts."""
    model = lookup.known(reference)
    return bool(model and not model.vision and silent_task(model) == "embedding")


def has_vectors_as_gguf(reference: str) -> bool:
    """Return whether the catalog knows a GGUF of the model called `reference`, which gives vectors."""
    model = lookup.known(reference)
    return bool(model and model.gguf_repo and gives_vectors(reference))


def check(reference: str, *, vectors: bool = False, hears: bool = False) -> None:
    """Raise `UsageError` where the catalog knows that the model called `reference` answers nobody; with
    `vectors` those that give them, or that score texts, will do, with `hears` those that write down speech.
    Asks no network."""
    if vectors and gives_vectors(reference):
        return
    model = lookup.known(reference)
    if model and (task := silent_task(model)):
        if (vectors and task == "reranking" and not model.vision) or (hears and task == "transcription"):
            return
        instead = "a server of vLLM runs it" if task in ("embedding", "reranking") and model.vision else None
        raise silent(model.name, task, instead)


def silent(name: str, task: str, instead: str | None = None) -> UsageError:
    """Return what to say of the model `name`, which is for `task` and answers nobody."""
    what, use = _SILENT[task]
    return UsageError(f"{name} is {what}", f"{instead or use}; for answers name another, such as qwen3.5:4b")
