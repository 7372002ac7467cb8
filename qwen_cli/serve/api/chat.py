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
from qwen_cli.serve.api import body as api_body
from qwen_cli.serve.api import chat_request, sse
from qwen_cli.serve.api.chat_request import ChatRequest
from qwen_cli.serve.api.chat_response import Answering
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.queued_engine import Queued
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed
from qwen_cli.tasks.common import structured


async def complete(request: Request, service: Service) -> Response:
    """Answer with the next turn of a conversation."""
    sent = await api_body.read(request, service.max_body)
    asked = await threads.one(request, lambda: chat_request.read(sent), lambda: None)
    engine = await service.engine(request, sent)
    asked = chat_request.for_model(asked, sent, engine.capabilities)
    answering = Answering(asked, engine.model)
    plain = not (asked.stream or asked.tools) and asked.schema is None and asked.sampling.logprobs is None
    if asked.n > 1 and plain:

        def together() -> Response:
            with engine.admitted(), _shown(asked, engine, service) as messages:
                done = engine.sample(messages, asked.n, sampling=asked.sampling, thinking=asked.thinking)
            return _whole(answering.of_samples(done).model_dump_json(exclude_unset=True))

        answer = await threads.one(request, together, engine.interrupt)
    else:
        pieces = Running(request, lambda: _pieces(asked, engine, service), engine.interrupt)
        await pieces.first()
        if asked.stream:
            return Streamed(sse.events(answering, pieces, service, engine.model), pieces, "text/event-stream")
        answer = _whole(answering.whole(await pieces.all()).model_dump_json(exclude_unset=True))
    for usage in answering.usages:
        service.metrics.spent(engine.model, usage)
    return answer


@contextmanager
def _shown(asked: ChatRequest, engine: Queued, service: Service) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages of `asked` with their pictures and videos; files that this takes are gone
    afterwards."""
    if not chat_request.shows(asked.messages):
        yield asked.messages
        return
    with tempfile.TemporaryDirectory(prefix="qwen-serve-") as scratch:
        yield chat_request.shown(
            asked.messages,
            engine,
            allow_local_urls=service.allow_local_urls,
            scratch=Path(scratch),
            stopped=lambda: engine.cancelled,
        )


def _pieces(asked: ChatRequest, engine: Queued, service: Service) -> Iterator[tuple[int, Piece]]:
    with engine.admitted(), _shown(asked, engine, service) as messages:

        def ask(view: Engine, index: int) -> Stream:
            settings: dict[str, Any] = {
                "tools": asked.tools,
                "sampling": asked.sampling.nth(index),
                "thinking": asked.thinking,
            }
            if asked.schema is None:
                return view.chat(messages, **settings)
            return structured.chat(view, messages, asked.schema, **settings, cut_is_answer=True)

        yield from sse.each(engine, asked.n, ask)


def _whole(body: str) -> Response:
    return Response(body, media_type="application/json")
