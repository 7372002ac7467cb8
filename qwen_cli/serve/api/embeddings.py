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
from starlette.responses import Response

from qwen_cli.serve.api import body
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.service import Service


async def embed(request: Request, service: Service) -> Response:
    """Answer with a vector for each text. Raises `UsageError` for a model that was trained to write."""
    sent = await body.read(request, service.max_body)
    fields, texts = await threads.one(request, lambda: _read(sent), lambda: None)

    def work() -> tuple[str, list[list[float]], int]:
        embedder = service.pool.embedder(service.pool.named(fields["model"] or None))
        return (embedder.model, *embedder.embed(texts))

    model, vectors, tokens = await threads.one(request, work, lambda: None)
    vectors = shortened(vectors, fields.get("dimensions"))
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


def _read(sent: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a request, and its texts. Raises `Refused`."""
    fields = body.checked(EmbeddingCreateParams, {"model": "", **sent})
    given = fields["input"]
    texts = [given] if isinstance(given, str) else given
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "input must be a text or a list of texts", param="input")
    return fields, texts


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
