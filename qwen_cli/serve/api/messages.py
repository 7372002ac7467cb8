"""`/v1/messages`: Anthropic's way to ask for the next turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from qwen_cli.serve.api import body, messages_request, turn
from qwen_cli.serve.api.messages_answer import MessageWriter
from qwen_cli.serve.api.turn import Turn
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.service import Service

# Fields of `/v1/chat/completions` by the names that they have here, for errors.
_NAMES = {
    "max_completion_tokens": "max_tokens",
    "stop": "stop_sequences",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "thinking_token_budget": "thinking.budget_tokens",
}


async def create(request: Request, service: Service) -> Response:
    """Answer with the next turn of a conversation."""
    sent = await body.read(request, service.max_body)
    with turn.naming(_NAMES):
        asked = await _read(request, service, sent)
        hides = messages_request.omits_thinking(sent)
        writer = MessageWriter(lambda: asked.model, hides_thinking=hides)
        return await turn.answer(request, asked, writer)


async def count(request: Request, service: Service) -> Response:
    """Answer with the tokens of what would be asked."""
    sent = await body.read(request, service.max_body)
    with turn.naming(_NAMES):
        asked = await _read(request, service, sent, counts=True)
        tokens = await threads.one(request, asked.count, asked.interrupt)
    return JSONResponse({"input_tokens": tokens})


async def _read(request: Request, service: Service, sent: Mapping[str, Any], *, counts: bool = False) -> Turn:
    """Return what is asked. Raises `Refused`."""

    def work() -> dict[str, Any]:
        chat = messages_request.read(sent, counts=counts)
        if messages_request.is_foreign(chat["model"]) and chat["model"] not in service.pool.names():
            chat["model"] = ""
        return chat

    chat = await body.aside(request, work)
    return await turn.read(request, service, chat)
