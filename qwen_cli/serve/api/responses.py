"""`/v1/responses`: OpenAI's newer way to ask for the next turn, with answers that are kept for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from qwen_cli.serve.api import auth, body, responses_request, turn
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.responses_answer import ResponseWriter
from qwen_cli.serve.api.responses_request import ResponsesRequest
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.response_store import Stored
from qwen_cli.serve.scheduling.service import Service

# Fields of `/v1/chat/completions` by the names that they have here, for errors.
_NAMES = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}


async def create(request: Request, service: Service) -> Response:
    """Answer with the next turn of a conversation."""
    sent = await body.read(request, service.max_body)
    key = auth.key_of(request)
    wanted = await body.aside(request, lambda: _read(sent, key, service))

    def keep(answer: dict[str, Any], size: int) -> None:
        if wanted.stored:
            previous = sent.get("previous_response_id")
            stored = Stored(answer, wanted.input, previous, size + wanted.size)
            service.responses.put(key, answer["id"], stored)

    with turn.naming(_NAMES):
        asked = await turn.read(request, service, wanted.chat)
        asked.slides = sent.get("truncation") == "auto"
        writer = ResponseWriter(wanted, lambda: asked.model, keep)
        return await turn.answer(request, asked, writer)


async def count(request: Request, service: Service) -> Response:
    """Answer with the tokens of what would be asked."""
    sent = await body.read(request, service.max_body)
    key = auth.key_of(request)
    wanted = await body.aside(request, lambda: _read(sent, key, service))
    with turn.naming(_NAMES):
        asked = await turn.read(request, service, wanted.chat)
        tokens = await threads.one(request, asked.count, asked.interrupt)
    return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})


async def get(request: Request, service: Service) -> Response:
    """Answer with a kept answer."""
    return JSONResponse(_stored(request, service).body)


async def input_items(request: Request, service: Service) -> Response:
    """Answer with what was asked for a kept answer, the newest first."""
    items = [{"id": f"item_{at}", **item} for at, item in enumerate(_stored(request, service).input)]
    if request.query_params.get("order", "desc") == "desc":
        items.reverse()
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return JSONResponse({"object": "list", "data": items, "has_more": False, **ends})


async def delete(request: Request, service: Service) -> Response:
    """Forget a kept answer."""
    id = request.path_params["id"]
    if not service.responses.delete(auth.key_of(request), id):
        raise _missing(id)
    return JSONResponse({"id": id, "object": "response.deleted", "deleted": True})


def _read(sent: Mapping[str, Any], key: str, service: Service) -> ResponsesRequest:
    store = service.responses
    return responses_request.read(
        sent, lambda id: store.conversation(key, id), lambda id: store.item(key, id)
    )


def _stored(request: Request, service: Service) -> Stored:
    """Return the kept answer that the address names. Raises `Refused`."""
    id = request.path_params["id"]
    if request.query_params.get("stream") == "true":
        raise Refused(400, "a kept answer is not streamed again", param="stream")
    stored = service.responses.get(auth.key_of(request), id)
    if stored is None:
        raise _missing(id)
    return stored


def _missing(id: str) -> Refused:
    return Refused(404, f"there is no answer {id[:80]!r} any more", param="response_id")
