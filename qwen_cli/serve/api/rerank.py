"""`/v1/rerank`: how well documents answer a query (Qwen3-Reranker), in the forms of Jina, Cohere and TEI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.prompt import Prompt, Tokens, joined, plain
from qwen_cli.serve.api import body
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.native import named
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""What is asked for where a request does not say: the default of Qwen3-Reranker's and -Embedding's cards."""

# The layout of Qwen3-Reranker (its model card). Only yes or no can follow; how likely yes is, is the score.
_BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_MOST = 1_024  # documents of a request: as many as Cohere's, with room to spare
_NOT_HERE = {
    "max_tokens_per_doc": "is not supported: documents are read whole",
    "max_chunks_per_doc": "is not supported: documents are read whole",
    "raw_scores": "is not supported: scores are probabilities",
    "rank_fields": "is not supported: send texts",
}


class _Fields(TypedDict, total=False):
    model: str
    query: str
    documents: list[str | dict[str, Any]]
    texts: list[str]
    top_n: int
    return_documents: bool
    return_text: bool
    instruction: str


@dataclass(frozen=True)
class _RerankRequest:
    """`bare`: the answer is a list, as TEI's."""

    query: str
    documents: list[str]
    instruction: str
    most: int
    shows: bool
    bare: bool


async def rerank(request: Request, service: Service) -> Response:
    """Answer with the documents, the best first."""
    sent = await body.read(request, service.max_body)
    wanted = await body.aside(request, lambda: _read(sent))
    ranked = await threads.one(request, lambda: service.pool.ranks(named(sent)["model"]), lambda: None)
    if ranked is not None:
        scores, tokens = await threads.one(
            request, lambda: ranked.rerank(wanted.query, wanted.documents), lambda: None
        )
        return _answer(wanted, scores, tokens, ranked.model)
    engine = await service.engine(request, named(sent), scores=True)
    if not engine.capabilities.tokens:
        raise Refused(400, "this model's engine does not rate texts", param="model")
    scores, tokens = await threads.one(request, lambda: _scored(wanted, engine), engine.interrupt)
    return _answer(wanted, scores, tokens, engine.model)


def prompt(instruction: str, query: str, document: str) -> Prompt:
    """Return what Qwen3-Reranker is asked; what of it is anybody's is text, whatever it spells."""
    said = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    return joined([_BEFORE, plain(said), _AFTER])


def relevance(engine: Engine, asked: Prompt) -> tuple[float, int]:
    """Return how likely "yes" is against "no" after the prompt `asked` (0 to 1), and its tokens. Raises
    `ContextFull`."""
    ids = [id for id, _ in engine.tokenize(asked)]
    known = []
    for word in ("yes", "no"):
        ((token, _), *_) = engine.tokenize(word)
        (one,) = engine.score(Tokens(f"{asked}{word}", [*ids, token]), begin=len(ids))
        known.append(one.logprob)
    yes, no = known
    return 1.0 / (1.0 + math.exp(min(700.0, no - yes))), len(ids)


def _scored(wanted: _RerankRequest, engine: QueuedEngine) -> tuple[list[float], int]:
    """Return a score for each document, and the tokens of all."""
    scores, tokens = [], 0
    with engine.admitted():
        for document in wanted.documents:
            if engine.cancelled:
                raise Gone
            score, count = relevance(engine, prompt(wanted.instruction, wanted.query, document))
            scores.append(score)
            tokens += count
    return scores, tokens


def _read(sent: Mapping[str, Any]) -> _RerankRequest:
    """Parse `sent`. Raises `Refused`."""
    fields = body.checked(_Fields, sent)
    for name, why in _NOT_HERE.items():
        if sent.get(name):
            raise Refused(400, f"{name} {why}", param=name)
    bare = "texts" in fields and "documents" not in fields
    name = "texts" if bare else "documents"
    documents = [_text(one, name) for one in fields.get("texts" if bare else "documents") or ()]
    if "query" not in fields or not documents:
        raise Refused(
            400, f"{'query' if documents else name} is missing", param="query" if documents else name
        )
    if len(documents) > _MOST:
        raise Refused(400, f"there are more than {_MOST:,} {name}", param=name)
    most = fields.get("top_n", len(documents))
    if most < 1:
        raise Refused(400, f"top_n must be at least 1, got {most}", param="top_n")
    shows = fields.get("return_text" if bare else "return_documents", False)
    return _RerankRequest(
        fields["query"], documents, fields.get("instruction", INSTRUCTION), most, bool(shows), bare
    )


def _text(document: str | Mapping[str, Any], name: str) -> str:
    text = document.get("text") if isinstance(document, Mapping) else document
    if not isinstance(text, str):
        raise Refused(400, f"{name} must be texts, or objects with a text", param=name)
    return text


def _answer(wanted: _RerankRequest, scores: Sequence[float], tokens: int, model: str) -> Response:
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: wanted.most]
    score = "score" if wanted.bare else "relevance_score"
    results: list[dict[str, Any]] = []
    for index in best:
        shown: dict[str, Any] = {}
        if wanted.shows:
            text = wanted.documents[index]
            shown = {"text": text} if wanted.bare else {"document": {"text": text}}
        results.append({"index": index, score: scores[index], **shown})
    if wanted.bare:
        return JSONResponse(results)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    said = {
        "id": f"rerank-{uuid4().hex}",
        "object": "list",
        "model": model,
        "usage": usage,
        "results": results,
    }
    return JSONResponse(said)
