"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.engines.core.base import Usage, effective, usual
from qwen_cli.engines.core.template import given
from qwen_cli.serve.api import body as api_body
from qwen_cli.serve.api import native_form, sse, turn
from qwen_cli.serve.api.chat_response import Answering
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.turn import Turn
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.service import Service


async def complete(request: Request, service: Service) -> Response:
    """Answer with the next turn of a conversation."""
    sent = await api_body.read(request, service.max_body)
    asked = await turn.read(request, service, sent)
    chat = asked.chat
    if chat.goes_on and [message["role"] for message in chat.messages[-2:]] == ["assistant"] * 2:
        raise Refused(400, "the last two messages are both the assistant's: join them", param="messages")
    plain = (
        not (chat.stream or chat.tools or chat.reads)
        and chat.schema is None
        and chat.sampling.logprobs is None
    )
    if chat.n > 1 and plain and not (chat.goes_on or sent.get("verbose")):
        return await threads.one(request, lambda: _together(asked), asked.interrupt)
    told = None
    if sent.get("verbose"):
        told = await threads.one(request, lambda: _told(asked), asked.interrupt)
    return await turn.answer(request, asked, sse.Chunked(lambda: Answering(asked.chat, asked.model, told)))


def _told(asked: Turn) -> Callable[[int, str, Usage], dict[str, Any]]:
    """Return what tells of an answer in llama.cpp's own form, with the prompt that it was generated from."""
    prompt, engine, chat = asked.prompt(), asked.load(), asked.chat
    sampling = effective(chat.sampling, usual(engine, chat.thinking))

    def whole(index: int, text: str, spent: Usage) -> dict[str, Any]:
        own = sampling.nth(index)
        return native_form.whole(text, spent, prompt=prompt, sampling=own, model=engine.model, index=index)

    return whole


def _together(asked: Turn) -> Response:
    """Answer with choices that are computed together."""
    engine = asked.load()
    chat = asked.chat
    with engine.admitted(), asked.messages() as messages:
        done = engine.sample(
            messages,
            chat.n,
            sampling=chat.sampling,
            thinking=chat.thinking,
            **given(chat.template_kwargs),
        )
    answering = Answering(chat, engine.model)
    answer = answering.of_samples(done).model_dump_json(exclude_unset=True)
    for usage in answering.usages:
        asked.record(usage)
    return Response(answer, media_type="application/json")
