"""`/v1/embeddings`, where the model gives them (Qwen3-Embedding)."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types import CreateEmbeddingResponse, Embedding
from openai.types.create_embedding_response import Usage
from openai.types.embedding_create_params import EmbeddingCreateParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from qwen_cli.serve.api import body, prompts
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.rerank import INSTRUCTION
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.service import Service


async def embed(request: Request, service: Service) -> Response:
    """Answer with a vector for each text. Raises `UsageError` for a model that was trained to write."""
    fields, model, vectors, tokens = await _embedded(request, service)
    packed = fields.get("encoding_format") == "base64"
    answer = CreateEmbeddingResponse.model_construct(
        object="list",
        model=model,
        data=[
            Embedding.model_construct(
                object="embedding", index=index, embedding=_packed(vector) if packed else vector
            )
            for index, vector in enumerate(vectors)
        ],
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )
    return Response(answer.model_dump_json(warnings=False, exclude_unset=True), media_type="application/json")


async def embed_natively(request: Request, service: Service) -> Response:
    """Answer with a vector for each text, as llama.cpp's server does: one of its lists for each."""
    _, _, vectors, _ = await _embedded(request, service)
    return JSONResponse([{"index": index, "embedding": [vector]} for index, vector in enumerate(vectors)])


async def _embedded(request: Request, service: Service) -> tuple[dict[str, Any], str, list[list[float]], int]:
    """Return the fields of a request, the model, and what it made of the texts: vectors, and their tokens."""
    sent = await body.read(request, service.max_body)
    fields, texts = await body.aside(request, lambda: _read(sent))

    def work() -> tuple[str, list[list[float]], int]:
        embedder = service.pool.embedder(service.pool.named(fields["model"] or None))
        return (embedder.model, *embedder.embed(texts))

    model, vectors, tokens = await threads.one(request, work, lambda: None)
    return fields, model, shortened(vectors, fields.get("dimensions")), tokens


def shortened(vectors: list[list[float]], dimensions: Any) -> list[list[float]]:
    """Return the first `dimensions` of each of `vectors`, of length 1 again; `None` are all. Raises
    `Refused`."""
    if dimensions is None or not vectors:
        return vectors
    most = len(vectors[0])
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= most:
        raise Refused(400, f"dimensions must be from 1 to {most}", param="dimensions")
    # The family is trained so that the beginning of a vector is one too (Matryoshka; its model card).
    return [_unit(vector[:dimensions]) for vector in vectors]


# What others call the two kinds of text (Cohere, Voyage, Jina).
_QUERIES = ("query", "search_query", "retrieval.query")
_DOCUMENTS = ("document", "search_document", "passage", "retrieval.passage")


def _read(sent: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the fields of a request, and its texts. Raises `Refused`."""
    fields = body.checked(EmbeddingCreateParams, {"model": "", **sent, "input": ""})
    given = sent.get("input", sent.get("content"))
    texts = [_plain(one) for one in (given if prompts.are_several(given) else [given])]
    if not texts or not all(_is_input(text) for text in texts):
        raise Refused(400, "input must be a text, tokens, or a list of those", param="input")
    task = _task(sent)
    if task and not all(isinstance(text, str) for text in texts):
        raise Refused(400, "tokens cannot be given an instruction: write it into them", param="input")
    return fields, [f"Instruct: {task}\nQuery:{text}" for text in texts] if task else texts


def _plain(one: Any) -> Any:
    """Return one input without the objects that llama.cpp's server takes a text in: `prompt_string`, or the
    parts of a message. Raises `Refused` for what is no text."""
    if not isinstance(one, Mapping):
        return one
    if "content" not in one:
        if one.get("multimodal_data"):
            raise Refused(400, "input takes no pictures", param="input")
        return one.get("prompt_string")
    parts = one["content"] if isinstance(one["content"], list) else [one["content"]]
    texts: list[Any] = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "the content of an input must be parts of text", param="input")
    return "".join(texts)


def _is_input(one: Any) -> bool:
    """Return whether `one` is a text, or tokens, with texts between them or without."""
    return isinstance(one, str) or (
        isinstance(one, list) and bool(one) and all(type(part) in (int, str) for part in one)
    )


def _task(sent: Mapping[str, Any]) -> str:
    """Return the instruction that a query of Qwen3-Embedding has before it (its model card), "" for a
    document, which has none. Raises `Refused`."""
    kind, instruction = sent.get("input_type"), sent.get("instruction")
    if kind not in (None, *_QUERIES, *_DOCUMENTS):
        raise Refused(400, f"input_type must be query or document, got {kind!r}", param="input_type")
    if instruction is not None and not isinstance(instruction, str):
        raise Refused(400, "instruction must be a text", param="instruction")
    if instruction and kind in _DOCUMENTS:
        raise Refused(400, "documents have no instruction, queries have", param="instruction")
    return instruction or (INSTRUCTION if kind in _QUERIES else "")


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
