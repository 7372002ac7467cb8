"""The next turn of a conversation, whichever API asks for it: each puts its requests into the fields of
`/v1/chat/completions` and writes the pieces in its own form; what is between is here."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.engines.core.base import Engine, Piece, Stream, Usage
from qwen_cli.engines.core.template import given
from qwen_cli.errors import QwenError, RequestRefused, SchemaUnmet, UsageError
from qwen_cli.serve.api import body, chat_request, errors, sounds, sse
from qwen_cli.serve.api.chat_request import ChatRequest
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import LONG, TOKENIZING, QueuedEngine, said_in
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed
from qwen_cli.tasks.chat import context_window, prefill
from qwen_cli.tasks.common import structured


class Turn:
    """A request in the fields of `/v1/chat/completions`, `sent`, and the model that it is for. `slides`:
    where the context does not hold all of it, its oldest turns are left out."""

    def __init__(
        self, request: Request, service: Service, sent: Mapping[str, Any], chat: ChatRequest
    ) -> None:
        self._request, self._service, self._sent = request, service, sent
        self._engine: QueuedEngine | None = None
        self._cancelled = False
        self.chat = chat
        self.slides = False

    @property
    def model(self) -> str:
        """Return the name of the model: until it is loaded, what the request calls it."""
        return self._engine.model if self._engine else self.chat.model

    def load(self) -> QueuedEngine:
        """Return the model, loaded, with the request fitted to it. Raises what loading raises, `Gone`, and
        `Refused` and `UsageError` for what it cannot do. Blocks."""
        if self._engine is None:
            engine = self._service.load(self._request, self._sent)
            self.chat = chat = chat_request.for_model(self.chat, self._sent, engine.capabilities)
            if chat.goes_on:
                prefill.check(engine, *_cut(chat.messages), chat.schema)
            self._engine = engine
            if self._cancelled:
                raise Gone
        return self._engine

    def pieces(self) -> Iterator[tuple[int, Piece]]:
        """Yield the pieces of all choices, each with the number of its choice, as they come."""
        engine = self.load()
        with engine.admitted(), self.messages() as messages:
            if self.slides:
                messages = _that_fit(messages, self.chat, engine)

            def ask(view: Engine, index: int) -> Stream:
                settings: dict[str, Any] = {
                    "tools": self.chat.tools,
                    "sampling": self.chat.sampling.nth(index),
                    "thinking": self.chat.thinking,
                    **given(self.chat.template_kwargs),
                }
                if self.chat.reads:
                    return sse.only_read(view.chat(messages, **settings))
                if self.chat.goes_on:
                    return prefill.stream(view, *_cut(messages), **settings)
                if self.chat.schema is None:
                    return view.chat(messages, **settings)
                return structured.chat(view, messages, self.chat.schema, **settings, cut_is_answer=True)

            try:
                yield from _finished(sse.each(engine, self.chat.n, ask), self.chat, engine)
            except SchemaUnmet as fault:
                if not self.chat.forced:
                    raise
                told = errors.of(fault)  # the schema is that of the call
                raise Refused(told.status, told.message, param="tool_choice", code=told.code) from None

    @contextmanager
    def messages(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the messages with their pictures, videos and sounds; files that this takes are gone
        afterwards."""
        engine = self.load()
        messages = self.chat.messages
        if sounds.are_in(messages):
            messages = sounds.decoded(
                messages,
                allow_local_urls=self._service.allow_local_urls,
                stopped=lambda: engine.cancelled,
            )
        if not chat_request.shows(messages):
            yield messages
            return
        with tempfile.TemporaryDirectory(prefix="qwen-serve-") as scratch:
            yield chat_request.with_visual_parts(
                messages,
                engine,
                allow_local_urls=self._service.allow_local_urls,
                scratch=Path(scratch),
                stopped=lambda: engine.cancelled,
            )

    def count(self) -> int:
        """Return the tokens of the prompt. Blocks."""
        with self.messages() as messages:
            return counted(self.load(), messages, self.chat)

    def prompt(self) -> str:
        """Return the raw prompt, "" where it is not told: there are pictures in it, or a server makes it.
        Blocks."""
        engine, chat = self.load(), self.chat
        if chat_request.shows(chat.messages) or not engine.capabilities.render:
            return ""
        messages, begun = _cut(chat.messages) if chat.goes_on else (chat.messages, {"content": ""})
        ways: dict[str, Any] = {"tools": chat.tools} if chat.tools else {}
        prompt = engine.render(messages, thinking=chat.thinking, **ways, **given(chat.template_kwargs))
        return prompt + begun["content"]

    def interrupt(self) -> None:
        """End what runs or waits, from another thread."""
        self._cancelled = True
        if self._engine:
            self._engine.interrupt()

    def record(self, usage: Usage) -> None:
        """Count what an answer cost."""
        self._service.metrics.record_usage(self.model, usage)


def counted(engine: QueuedEngine, messages: Sequence[Mapping[str, Any]], chat: ChatRequest) -> int:
    """Return the tokens of `messages` with the tools of `chat`. Raises `ContextFull` for what no context of
    the model's size could hold: it is not counted. Blocks."""
    said = said_in(messages, chat.tools)
    engine.check_length(said)
    with TOKENIZING if len(said) > LONG else nullcontext():
        return engine.count_tokens(messages, tools=chat.tools, **given(chat.template_kwargs))


async def read(request: Request, service: Service, sent: Mapping[str, Any]) -> Turn:
    """Return the turn that is asked for by `sent`, a request in the fields of `/v1/chat/completions`. Raises
    `Refused` and `UsageError`."""
    chat = await body.aside(request, lambda: chat_request.read(sent))
    return Turn(request, service, sent, chat)


async def answer(
    request: Request, turn: Turn, writer: sse.Writer, *, media_type: str = "text/event-stream"
) -> Response:
    """Answer as `writer` writes it: as it comes where that is asked for, else at once."""
    pieces = Running(request, turn.pieces, turn.interrupt)
    await pieces.first()
    if turn.chat.stream:
        return Streamed(sse.written(writer, pieces, turn.record), pieces, media_type)
    came = await pieces.all()
    for _, piece in came:
        if piece.usage:
            turn.record(piece.usage)
    return Response(writer.whole(came), media_type="application/json")


@contextmanager
def naming(names: Mapping[str, str]) -> Iterator[None]:
    """Raise faults of fields of `/v1/chat/completions` by the names that another API has for them."""
    try:
        yield
    except (Refused, SchemaUnmet, UsageError, RequestRefused) as raised:
        fault = errors.of(raised)
        field, dot, rest = (fault.param or "").partition(".")
        if field not in names:
            raise
        named = f"{names[field]}{dot}{rest}"
        message = re.sub(rf"\A{re.escape(str(fault.param))}\b", named, fault.message)
        raise Refused(fault.status, message, param=named, code=fault.code) from None


def _cut(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return (what is answered, what there is of the answer)."""
    *turns, last = [{**message, "content": _text(message.get("content"))} for message in messages]
    return turns, {"content": last["content"] or "", "thinking": last.get("reasoning_content", "")}


def _text(content: Any) -> Any:
    """Return parts that are all text as one."""
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content)
    return content


def _that_fit(
    messages: list[dict[str, Any]], chat: ChatRequest, engine: QueuedEngine
) -> list[dict[str, Any]]:
    """Return `messages` without the oldest turns that the context has no room for beside an answer."""
    window = engine.capabilities.context
    if window is None:
        return messages
    room = window - min(chat.sampling.max_tokens or int(window * context_window.ROOM), window // 2)
    first = 1 if messages[0]["role"] == "system" else 0

    def fits(start: int) -> bool:
        kept = messages[:first] + messages[start:]
        tokens = context_window.count(engine, kept, chat.tools, chat.template_kwargs)
        return tokens is None or tokens <= room

    turns = context_window.starts(messages, first)
    if fits(first) or not turns:
        return messages
    return messages[:first] + messages[context_window.first_to_keep(turns, fits) :]


def _finished(
    pieces: Iterator[tuple[int, Piece]], chat: ChatRequest, engine: QueuedEngine
) -> Iterator[tuple[int, Piece]]:
    """Yield `pieces` as clients are to see them: the JSON of a forced call is a call, of more calls than are
    wanted the first are passed on, and the usage says how many tokens were thinking."""
    said: dict[int, list[str]] = {}
    thought: dict[int, list[str]] = {}
    called: dict[int, int] = {}
    for index, piece in pieces:
        if piece.kind == "thinking":
            thought.setdefault(index, []).append(piece.text)
        if chat.forced and piece.kind == "answer":
            said.setdefault(index, []).append(piece.text)
            piece = replace(piece, text="", logprobs=())
        if piece.call:
            called[index] = called.get(index, 0) + 1
            if chat.calls is not None and called[index] > chat.calls:
                continue
        if piece.usage:
            text = "".join(said.pop(index, ()))
            if call := chat_request.forced_call(text):
                yield index, Piece(kind="tool_call", call=call)
            elif text:
                yield index, Piece(text)
            if words := "".join(thought.get(index, ())):
                piece = replace(piece, usage=_with_thinking(piece.usage, words, engine))
        yield index, piece


def _with_thinking(usage: Usage, thought: str, engine: Engine) -> Usage:
    with suppress(QwenError):  # it does not count
        tokens = min(engine.count_tokens(thought), usage.generated_tokens)
        return replace(usage, thinking_tokens=tokens)
    return usage
