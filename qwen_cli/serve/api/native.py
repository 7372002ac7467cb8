"""llama.cpp's own routes beside OpenAI's, with its field names (tools/server/README.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from qwen_cli._version import __version__
from qwen_cli.engines.core.base import Engine, Piece, Sampling, Stream, TokenLogprob, Usage, effective
from qwen_cli.serve.api import (
    body,
    chat_request,
    errors,
    extras,
    forms,
    native_form,
    params,
    prompts,
    sounds,
    sse,
    turn,
)
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import LONG, TOKENIZING, QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed, event

BUILD = f"qwen-{__version__}"
"""What stands where llama.cpp's server tells its build."""

_MOST_TOKENIZED = 4 << 20  # characters; Python takes 200 bytes for each of a million tokens


_MOST_LIKELY = 1_000  # tokens told of beside each: a hundred kilobytes of JSON


class _Fields(TypedDict, total=False):
    """Of a request to `/completion`, what is not said in OpenAI's way."""

    n_predict: int
    n_probs: int
    logprobs: int
    n_cmpl: int
    stream: bool
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    stop: str | list[str]
    return_tokens: bool
    response_fields: list[str]


@dataclass(frozen=True)
class _CompletionRequest:
    """`texts` are the prompts, with `n` answers to each; `several`: they came as a list. `reads`: no token is
    wanted. `forbidden` are the tokens that `ignore_eos` leaves out. `follows`: how far the prompt is read is
    told."""

    texts: list[str]
    several: bool
    sampling: Sampling
    n: int
    reads: bool
    stream: bool
    tells_tokens: bool
    fields: list[str]
    forbidden: list[dict[str, Any]]
    follows: bool

    def text(self, index: int) -> str:
        return self.texts[index // self.n]


async def complete(request: Request, service: Service) -> Response:
    """Answer with what follows each prompt, in llama.cpp's own form."""
    sent = await body.read(request, service.max_body)
    engine = await service.engine(request, named(sent))
    wanted = await body.aside(request, lambda: _read(sent, engine), engine.interrupt)
    pieces = Running(request, lambda: _pieces(wanted, engine), engine.interrupt)
    await pieces.first()
    if wanted.stream:
        return Streamed(_events(wanted, pieces, engine, service), pieces, "text/event-stream")
    said = await pieces.all()
    answers = []
    for index in range(wanted.n * len(wanted.texts)):
        answer = _Answer(wanted, engine, index)
        for at, piece in said:
            if at == index:
                answer.add(piece)
        service.metrics.record_usage(engine.model, answer.usage)
        answers.append(chosen(answer.whole(), wanted.fields))
    return JSONResponse(answers if wanted.several or wanted.n > 1 else answers[0])


async def tokenize(request: Request, service: Service) -> Response:
    """Answer with the tokens of a text, or of texts and tokens together."""
    sent = await body.read(request, service.max_body)
    engine = await service.engine(request, named(sent))
    content = sent.get("content", "")
    special = sent.get("parse_special", True) is not False
    parts = content if isinstance(content, list) else [content]
    numbers = int if isinstance(content, list) else ()
    if not all(isinstance(part, (str, numbers)) and not isinstance(part, bool) for part in parts):
        raise Refused(400, "content must be a text, or a list of texts and tokens", param="content")

    if (size := sum(len(part) if isinstance(part, str) else 1 for part in parts)) > _MOST_TOKENIZED:
        message = f"content has {size:,} characters, more than {_MOST_TOKENIZED:,}: send it in parts"
        raise Refused(400, message, param="content")

    def work() -> Response:
        known: list[tuple[int, bytes]] = []
        with TOKENIZING if size > LONG else nullcontext():
            for part in parts:
                if engine.cancelled:
                    raise Gone
                if isinstance(part, int):
                    known.append((part, engine.detokenize([part]).encode()))
                elif part:
                    known += engine.tokenize(part, special=special)
            if not sent.get("with_pieces"):
                return JSONResponse({"tokens": [id for id, _ in known]})
            return JSONResponse({"tokens": [{"id": id, "piece": _written(raw)} for id, raw in known]})

    return await threads.one(request, work, engine.interrupt)


async def detokenize(request: Request, service: Service) -> Response:
    """Answer with the text of tokens."""
    sent = await body.read(request, service.max_body)
    engine = await service.engine(request, named(sent))
    tokens = sent.get("tokens", [])
    if not isinstance(tokens, list) or not all(type(one) is int for one in tokens):
        raise Refused(400, "tokens must be a list of numbers", param="tokens")
    text = await threads.one(request, lambda: engine.detokenize(tokens), lambda: None)
    return JSONResponse({"content": text})


async def apply_template(request: Request, service: Service) -> Response:
    """Answer with the prompt that the model's template makes of messages."""
    chat, engine = await _chat(request, service)
    more: dict[str, Any] = {"tools": chat.tools} if chat.tools else {}
    if chat.template_kwargs:
        more["template_kwargs"] = chat.template_kwargs

    def work() -> str:
        return engine.render(chat.messages, thinking=chat.thinking, **more)

    return JSONResponse({"prompt": str(await threads.one(request, work, lambda: None))})


async def count(request: Request, service: Service) -> Response:
    """Answer with the tokens of a conversation."""
    chat, engine = await _chat(request, service)

    def work() -> int:
        return turn.counted(engine, chat.messages, chat)

    return JSONResponse({"input_tokens": await threads.one(request, work, lambda: None)})


async def _chat(request: Request, service: Service) -> tuple[chat_request.ChatRequest, QueuedEngine]:
    """Return the conversation of a request that asks for no answer. Raises `Refused` for pictures and
    sounds."""
    sent = await body.read(request, service.max_body)
    chat = await body.aside(request, lambda: chat_request.read(sent))
    if chat_request.shows(chat.messages):
        raise Refused(400, "this route takes no pictures", param="messages")
    if sounds.are_in(chat.messages):
        raise Refused(400, "this route takes no sounds", param="messages")
    engine = await service.engine(request, sent)
    return chat_request.for_model(chat, sent, engine.capabilities), engine


async def act(request: Request, service: Service) -> Response:
    """Refuse to save, restore or erase a slot. Raises `Refused`."""
    why = "each request goes where its beginning is cached"
    raise Refused(501, f"slots are not saved, restored or erased by hand: {why}")


async def adapters(request: Request, service: Service) -> Response:
    """List the adapters that the model was loaded with: their part in it is settled."""
    loaded = service.pool.named(request.query_params.get("model")).options.adapters
    return JSONResponse([{"id": at, "path": str(path), "scale": 1.0} for at, path in enumerate(loaded)])


async def props(request: Request, service: Service) -> Response:
    """Describe the server and its model."""
    engine = await service.engine(request, {"model": request.query_params.get("model")})
    wanted = service.pool.named(request.query_params.get("model"))
    sampling = effective(Sampling(), engine.defaults)
    return JSONResponse(
        {
            "default_generation_settings": {
                "params": native_form.settings(sampling, engine.model),
                "n_ctx": engine.capabilities.context,
            },
            "total_slots": engine.width,
            "model_alias": engine.model,
            "model_path": dict(wanted.lasting).get("path", ""),
            "modalities": {"vision": engine.capabilities.vision, "audio": engine.capabilities.audio},
            "chat_template": engine.chat_template,
            "build_info": BUILD,
            "is_sleeping": False,
        }
    )


async def slots(request: Request, service: Service) -> Response:
    """Describe the lanes of the loaded models. What they hold is not told: it is other clients'."""
    name = request.query_params.get("model")
    loaded = [one for one in service.pool.all() if name in (None, one.wanted.label)]
    said: list[dict[str, Any]] = []
    for resident in loaded:
        context = resident.engine.capabilities.context
        for busy in resident.lanes.busy():
            said.append(
                {
                    "id": len(said),
                    "model": resident.wanted.label,
                    "n_ctx": context,
                    "speculative": False,
                    "is_processing": busy,
                }
            )
    if request.query_params.get("fail_on_no_slot") and all(one["is_processing"] for one in said):
        raise Refused(503, "no slot available", code="busy")
    return JSONResponse(said)


def named(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Name any model where the client's name is empty or blank, as llama.vim sends it."""
    name = sent.get("model")
    return {**sent, "model": name.strip() if isinstance(name, str) else None}


def chosen(whole: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Return the `fields` of an answer, all where none are named. "timings/prompt_n" is one in another; those
    that there are not are left out, as by llama.cpp."""
    if not fields:
        return dict(whole)
    return {path: value for path in fields if (value := _at(whole, path)) is not None}


def _at(whole: Mapping[str, Any], path: str) -> Any:
    value: Any = whole
    for name in path.split("/"):
        if not isinstance(value, Mapping):
            return None
        # llama.vim asks for `timings/truncated`, and means `truncated`.
        value = value.get(name, whole.get(name) if name == "truncated" else None)
    return value


def _read(sent: Mapping[str, Any], engine: Engine) -> _CompletionRequest:
    """Parse `sent`. Raises `Refused`."""
    fields = body.checked(_Fields, sent)
    texts = prompts.read(sent.get("prompt"), engine)
    if "" in texts:
        raise Refused(400, "the prompt is empty", param="prompt")
    limit = params.limit(sent, "n_predict", "max_completion_tokens", "max_tokens")
    name = "logprobs" if "logprobs" in fields and "n_probs" not in fields else "n_probs"  # OpenAI's
    likely = params.alternatives(fields.get(name) or None, engine.capabilities, name, _MOST_LIKELY)
    sampling = params.sampling({**sent, **fields}, limit=1 if limit == 0 else limit, logprobs=likely)
    stream = fields.get("stream", False)
    tells_tokens = stream or fields.get("return_tokens", False)
    # Which word has ended an answer llama.cpp tells along with the tokens.
    asks_tokens = (tells_tokens or sampling.stop) and "return_tokens" in engine.capabilities.extras
    # Each piece of a stream tells of the prompt, which is known from its progress.
    follows = sent.get("return_progress", False)
    asked = {"return_progress": stream, **sent, "return_tokens": bool(asks_tokens)}
    more = extras.read(asked, engine.capabilities, forms.read(sent))
    n = params.choices(fields, "n_cmpl" if "n_cmpl" in fields else "n")
    return _CompletionRequest(
        texts,
        prompts.are_several(sent.get("prompt")),
        replace(sampling, extras=more),
        n,
        limit == 0,
        stream,
        tells_tokens,
        fields.get("response_fields") or [],
        native_form.forbidden_ends(engine) if (more or {}).get("ignore_eos") else [],
        bool(follows),
    )


def _pieces(wanted: _CompletionRequest, engine: QueuedEngine) -> Iterator[tuple[int, Piece]]:
    def ask(view: Engine, index: int) -> Stream:
        pieces = view.complete(wanted.text(index), sampling=wanted.sampling.nth(index % wanted.n))
        return sse.only_read(pieces) if wanted.reads else pieces

    with engine.admitted():
        yield from sse.each(engine, wanted.n * len(wanted.texts), ask)


class _Answer:
    """The answer `index` of a request, as it comes."""

    def __init__(self, wanted: _CompletionRequest, engine: Engine, index: int) -> None:
        self._wanted = wanted
        self._engine = engine
        self._index = index
        self._text = ""
        self._tokens: list[int] = []
        self._known: list[TokenLogprob] = []
        self.usage = Usage()

    def add(self, piece: Piece) -> None:
        self._text += piece.text
        self._tokens += piece.tokens
        self._known += piece.logprobs
        if piece.progress:
            self.usage = replace(self.usage, prompt_tokens=piece.progress.prompt_tokens)
        self.usage = piece.usage or self.usage

    def chunk(self, piece: Piece) -> dict[str, Any]:
        """Return what a client gets of a `piece`."""
        self.add(piece)
        known = self._probabilities(piece.logprobs)
        asked = {**(self._wanted.sampling.extras or {}), "return_progress": self._wanted.follows}
        told = native_form.told(piece.progress, asked) if piece.progress else {}
        return {
            "index": self._index,
            "content": piece.text,
            "tokens": list(piece.tokens),
            "stop": False,
            "id_slot": -1,
            "tokens_predicted": len(self._tokens),
            "tokens_evaluated": self.usage.prompt_tokens,
            **told,
            **known,
        }

    def last(self) -> dict[str, Any]:
        """Return the end of a stream: all but what came before."""
        whole = {**self.whole(), "content": "", "tokens": []}
        whole.pop("completion_probabilities", None)
        return chosen(whole, self._wanted.fields)

    def whole(self) -> dict[str, Any]:
        """Return the whole answer."""
        wanted = self._wanted
        sampling = effective(wanted.sampling, self._engine.defaults)
        if wanted.reads:
            sampling = replace(sampling, max_tokens=0)
        whole = native_form.whole(
            self._text,
            self.usage,
            prompt=wanted.text(self._index),
            sampling=sampling,
            model=self._engine.model,
            index=self._index,
        )
        if wanted.tells_tokens:
            whole["tokens"] = self._tokens
        whole["generation_settings"]["logit_bias"] += wanted.forbidden
        return {**whole, **self._probabilities(self._known)}

    def _probabilities(self, known: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Return how likely tokens were, where that was asked for."""
        if not known:
            return {}
        after = bool((self._wanted.sampling.extras or {}).get("post_sampling_probs"))
        return {"completion_probabilities": native_form.probabilities(known, after=after)}


async def _events(
    wanted: _CompletionRequest, pieces: Running[tuple[int, Piece]], engine: QueuedEngine, service: Service
) -> AsyncIterator[bytes]:
    answers: dict[int, _Answer] = {}
    try:
        async for came in pieces.batches():
            if not came:
                yield sse.COMMENT
            for index, piece in came:
                answer = answers.setdefault(index, _Answer(wanted, engine, index))
                chunk = answer.chunk(piece)
                if piece.text or piece.tokens or "prompt_progress" in chunk:
                    yield event(json.dumps(chunk, ensure_ascii=False))
                if piece.usage:
                    answer.usage = piece.usage
                    service.metrics.record_usage(engine.model, piece.usage)
                    yield event(json.dumps(await asyncio.to_thread(answer.last), ensure_ascii=False))
    except Gone:
        raise
    except Exception as fault:  # the status has been sent; the client is told all the same
        refused = errors.of(fault)
        said = errors.body(refused.status, refused.message, param=refused.param, code=refused.code)
        yield event(json.dumps(said))


def _written(raw: bytes) -> str | list[int]:
    """Return what a token writes: text, or bytes where it is part of a character."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)
