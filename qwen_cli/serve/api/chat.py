"""`/v1/chat/completions`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.engines.core.base import Engine, Piece, Stream
from qwen_cli.engines.core.template import given
from qwen_cli.serve.api import body as api_body
from qwen_cli.serve.api import chat_request, sse
from qwen_cli.serve.api.chat_request import ChatRequest
from qwen_cli.serve.api.chat_response import Answering
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed
from qwen_cli.tasks.common import structured


async def complete(request: Request, service: Service) -> Response:
    """Answer with the next turn of a conversation."""
    sent = await api_body.read(request, service.max_body)
    chat = await threads.one(request, lambda: chat_request.read(sent), lambda: None)
    engine = await service.engine(request, sent)
    chat = chat_request.for_model(chat, sent, engine.capabilities)
    answering = Answering(chat, engine.model)
    plain = not (chat.stream or chat.tools) and chat.schema is None and chat.sampling.logprobs is None
    if chat.n > 1 and plain:

        def together() -> Response:
            with engine.admitted(), _with_visual_parts(chat, engine, service) as messages:
                done = engine.sample(
                    messages,
                    chat.n,
                    sampling=chat.sampling,
                    thinking=chat.thinking,
                    **given(chat.template_kwargs),
                )
            return _whole(answering.of_samples(done).model_dump_json(exclude_unset=True))

        answer = await threads.one(request, together, engine.interrupt)
    else:
        pieces = Running(request, lambda: _pieces(chat, engine, service), engine.interrupt)
        await pieces.first()
        if chat.stream:
            return Streamed(sse.events(answering, pieces, service, engine.model), pieces, "text/event-stream")
        answer = _whole(answering.whole(await pieces.all()).model_dump_json(exclude_unset=True))
    for usage in answering.usages:
        service.metrics.record_usage(engine.model, usage)
    return answer


@contextmanager
def _with_visual_parts(
    chat: ChatRequest, engine: QueuedEngine, service: Service
) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages of `chat` with their pictures and videos; files that this takes are gone
    afterwards."""
    if not chat_request.shows(chat.messages):
        yield chat.messages
        return
    with tempfile.TemporaryDirectory(prefix="qwen-serve-") as scratch:
        yield chat_request.with_visual_parts(
            chat.messages,
            engine,
            allow_local_urls=service.allow_local_urls,
            scratch=Path(scratch),
            stopped=lambda: engine.cancelled,
        )


def _pieces(chat: ChatRequest, engine: QueuedEngine, service: Service) -> Iterator[tuple[int, Piece]]:
    with engine.admitted(), _with_visual_parts(chat, engine, service) as messages:

        def ask(view: Engine, index: int) -> Stream:
            settings: dict[str, Any] = {
                "tools": chat.tools,
                "sampling": chat.sampling.nth(index),
                "thinking": chat.thinking,
                **given(chat.template_kwargs),
            }
            if chat.schema is None:
                return view.chat(messages, **settings)
            return structured.chat(view, messages, chat.schema, **settings, cut_is_answer=True)

        yield from sse.each(engine, chat.n, ask)


def _whole(body: str) -> Response:
    return Response(body, media_type="application/json")
