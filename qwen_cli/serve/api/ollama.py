"""Ollama's routes (docs/api.md of ollama/ollama): its clients and the plug-ins of editors talk to it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import wraps
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from typing_extensions import TypedDict

from qwen_cli._version import __version__
from qwen_cli.engines.core.base import Engine, Piece, Usage
from qwen_cli.serve.api import body, embeddings, errors, extras, fim_prompt, params, sse, turn
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

_VERSION = "0.13.0"  # of Ollama, whose API this is: clients ask for what it brought
_LINES = "application/x-ndjson"
_NANO = 1_000_000_000
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(-?)((?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+|0)")

# Of `options`, what OpenAI's fields say too, by their names there.
_OPTIONS = {
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_SAMPLERS = ("repeat_last_n", "typical_p", "mirostat", "mirostat_tau", "mirostat_eta")
# How it is computed, which was settled when the model was loaded, and what changes no answer here: without a
# context shift nothing is kept through one.
_LOADING = frozenset({
    "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread",
    "use_mmap", "use_mlock", "numa", "low_vram", "f16_kv", "vocab_only",
})  # fmt: skip


class _Chat(TypedDict, total=False):
    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    stream: bool
    format: Any
    options: dict[str, Any]
    think: bool | str
    keep_alive: float | str


class _Generate(TypedDict, total=False):
    model: str
    prompt: str
    suffix: str
    system: str
    images: list[str]
    raw: bool
    stream: bool
    format: Any
    options: dict[str, Any]
    think: bool | str
    keep_alive: float | str


Route = Callable[[Request, Service], Awaitable[Response]]


def _with_its_errors(route: Route) -> Route:
    """Answer the faults of `route` as Ollama does: `{"error": "what is wrong"}`."""

    @wraps(route)
    async def handle(request: Request, service: Service) -> Response:
        try:
            return await route(request, service)
        except Exception as fault:
            refused = errors.of(fault)
            headers = dict(errors.response(fault).headers)
            kept = {name: headers[name] for name in ("retry-after",) if name in headers}
            return JSONResponse({"error": refused.message}, refused.status, kept)

    return handle


async def root(request: Request, service: Service) -> Response:
    """Answer who looks whether somebody is there. Clients look for these words of Ollama's."""
    return PlainTextResponse("qwen serves here, for clients that look whether Ollama is running")


async def version(request: Request, service: Service) -> Response:
    """Tell which Ollama's API this is, and whose server."""
    return JSONResponse({"version": _VERSION, "qwen": __version__})


@_with_its_errors
async def tags(request: Request, service: Service) -> Response:
    """List the models of this machine."""

    def work() -> list[dict[str, Any]]:
        named = {weights.label: weights for weights in reversed(service.pool.listed())}
        return [_described(weights) for weights in reversed(named.values())]

    return JSONResponse({"models": await threads.one(request, work, lambda: None)})


@_with_its_errors
async def ps(request: Request, service: Service) -> Response:
    """List the loaded models."""
    named = {weights.label: weights for weights in service.pool.listed()}
    said = []
    for one in service.pool.all():
        weights = named.get(one.wanted.label)
        keep = service.pool.keep_of(one)
        until = one.used + keep if math.isfinite(keep) else one.used + 100 * 365 * 86_400
        said.append(
            {
                **(_described(weights) if weights else _unlisted(one.wanted.label, one.wanted.size)),
                "expires_at": _written(until),
                "size_vram": 0,
                "context_length": one.engine.capabilities.context,
            }
        )
    return JSONResponse({"models": said})


@_with_its_errors
async def show(request: Request, service: Service) -> Response:
    """Describe a model, from its files."""
    sent = await body.read(request, service.max_body)

    def work() -> dict[str, Any]:
        wanted = service.pool.named(_name(sent.get("model", sent.get("name")), service))
        known = {weights.label: weights for weights in service.pool.listed()}
        weights = known.get(wanted.label)
        if weights is None:
            raise Refused(404, f"{wanted.label} is not described here", param="model")
        shape = weights.architecture
        template = shape.chat_template or ""
        return {
            "modelfile": "",
            "parameters": "",
            "template": template,
            "details": _details(weights),
            "model_info": {
                "general.architecture": shape.model_type,
                f"{shape.model_type}.context_length": shape.context,
            },
            "capabilities": _capabilities(weights, template),
            "modified_at": _changed(weights),
        }

    return JSONResponse(await threads.one(request, work, lambda: None))


@_with_its_errors
async def embed(request: Request, service: Service) -> Response:
    """Answer with a vector for each text."""
    started = time.perf_counter()
    sent = await body.read(request, service.max_body)
    given = sent.get("input", sent.get("prompt"))
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "input must be a text or a list of texts", param="input")
    cut = sent.get("truncate", True)  # the default of its API
    if not isinstance(cut, bool):
        raise Refused(400, f"truncate must be true or false, got {cut!r}", param="truncate")
    _options(sent)

    def work() -> tuple[list[list[float]], int]:
        embedder = service.pool.embedder(service.pool.named(_name(sent.get("model"), service)))
        return embedder.embed(texts, cut=cut) if texts else ([], 0)

    vectors, tokens = await threads.one(request, work, lambda: None)
    vectors = embeddings.shortened(vectors, sent.get("dimensions"))
    if request.url.path.endswith("/embeddings"):  # the older route
        return JSONResponse({"embedding": vectors[0]})
    return JSONResponse(
        {
            "model": sent.get("model", ""),
            "embeddings": vectors,
            "total_duration": int(_NANO * (time.perf_counter() - started)),
            "load_duration": 0,
            "prompt_eval_count": tokens,
        }
    )


@_with_its_errors
async def chat(request: Request, service: Service) -> Response:
    """Answer with the next turn of a conversation."""
    sent = await body.read(request, service.max_body)
    fields = body.checked(_Chat, sent)
    asked = _asked(sent, fields, service)
    messages = fields.get("messages") or []
    if not messages:
        return await _loaded(request, service, fields, "message")
    with turn.naming({"max_completion_tokens": "options.num_predict", "messages": "messages"}):
        going = await turn.read(request, service, {**asked, **_conversation(messages)})
        await threads.one(request, lambda: _fit(going.load(), fields), going.interrupt)
    writer = _Writer(lambda: fields.get("model", going.model), "message")
    answer = await turn.answer(request, going, writer, media_type=_LINES)
    _keep(service, fields)
    return answer


@_with_its_errors
async def generate(request: Request, service: Service) -> Response:
    """Answer with what follows a prompt: as a turn, raw, or up to a suffix."""
    sent = await body.read(request, service.max_body)
    for name in ("template", "context"):
        if sent.get(name):
            raise Refused(400, f"{name} is not supported; /api/chat holds a conversation", param=name)
    fields = body.checked(_Generate, sent)
    asked = _asked(sent, fields, service)
    if not fields.get("prompt") and not fields.get("images"):
        return await _loaded(request, service, fields, "response")
    writer = _Writer(lambda: fields.get("model", service.pool.first.label), "response")
    if fields.get("raw") or fields.get("suffix"):
        answer = await _completed(request, service, asked, fields, writer)
    else:
        system = [{"role": "system", "content": fields["system"]}] if fields.get("system") else []
        said = {"role": "user", "content": fields.get("prompt", ""), "images": fields.get("images") or []}
        going = await turn.read(request, service, {**asked, **_conversation([*system, said])})
        await threads.one(request, lambda: _fit(going.load(), fields), going.interrupt)
        answer = await turn.answer(request, going, writer, media_type=_LINES)
    _keep(service, fields)
    return answer


async def _completed(
    request: Request, service: Service, asked: Mapping[str, Any], fields: Mapping[str, Any], writer: _Writer
) -> Response:
    """Answer with what follows a raw prompt, or what belongs between it and a suffix. Raises `Refused`."""
    if fields.get("images") or asked.get("response_format"):
        raise Refused(400, "raw prompts take no images and no format", param="raw")
    engine = await service.engine(request, asked)

    def work() -> Iterator[tuple[int, Piece]]:
        _fit(engine, fields)
        limit = params.limit(asked, "max_tokens")
        sampling = params.sampling(asked, limit=limit)
        more = extras.read(asked, engine.capabilities)
        prompt = fields["prompt"]
        if suffix := fields.get("suffix"):
            filled = fim_prompt.between(engine, prompt, suffix, sampling)
            prompt, sampling = filled.text, filled.sampling
        with engine.admitted():
            for piece in engine.complete(prompt, sampling=replace(sampling, extras=more)):
                yield 0, piece

    pieces = Running(request, work, engine.interrupt)
    await pieces.first()
    if asked["stream"]:
        written = sse.written(writer, pieces, lambda usage: service.metrics.record_usage(engine.model, usage))
        return Streamed(written, pieces, _LINES)
    came = await pieces.all()
    for _, piece in came:
        if piece.usage:
            service.metrics.record_usage(engine.model, piece.usage)
    return Response(writer.whole(came), media_type="application/json")


async def _loaded(request: Request, service: Service, fields: Mapping[str, Any], kind: str) -> Response:
    """Load the model of a request that asks for nothing else, or drop it."""
    drops = _seconds(fields.get("keep_alive")) == 0
    if not drops:
        await service.engine(request, {"model": _name(fields.get("model"), service)})
    _keep(service, fields)
    empty = {"message": {"role": "assistant", "content": ""}} if kind == "message" else {"response": ""}
    reason = {"done": True, "done_reason": "unload" if drops else "load"}
    return JSONResponse({"model": fields.get("model", ""), "created_at": _written(), **empty, **reason})


class _Writer:
    """Writes an answer of `model` line by line; `kind` is the field that its text is in."""

    def __init__(self, model: Callable[[], str], kind: str) -> None:
        self._model = model
        self._kind = kind
        self._started = time.perf_counter()

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def events(self, index: int, piece: Piece) -> Iterator[bytes]:
        if piece.text or piece.call:
            yield self._line({**self._said([piece]), "done": False})
        if piece.usage:
            yield self._line({**self._said([]), **self._end(piece.usage)})

    def end(self) -> Iterator[bytes]:
        yield from ()

    def failed(self, fault: Refused) -> Iterator[bytes]:
        yield json.dumps({"error": fault.message}, ensure_ascii=False).encode() + b"\n"

    def quiet(self) -> bytes:
        return b""  # clients take every line for JSON

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> str:
        said = [piece for _, piece in pieces]
        usage = next((piece.usage for piece in said if piece.usage), Usage())
        return self._line({**self._said(said), **self._end(usage)}).decode()

    def _said(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces if piece.kind == "answer")
        thought = "".join(piece.text for piece in pieces if piece.kind == "thinking")
        calls = [
            {"function": {"name": piece.call.name, "arguments": piece.call.arguments}}
            for piece in pieces
            if piece.call
        ]
        more: dict[str, Any] = {"thinking": thought} if thought else {}
        if self._kind == "response":
            return {"response": text, **more}
        called = {"tool_calls": calls} if calls else {}
        return {"message": {"role": "assistant", "content": text, **more, **called}}

    def _end(self, spent: Usage) -> dict[str, Any]:
        cut = spent.stop_reason in ("length", "context")
        return {
            "done": True,
            "done_reason": "length" if cut else "stop",
            "total_duration": int(_NANO * (time.perf_counter() - self._started)),
            "load_duration": 0,
            "prompt_eval_count": spent.prompt_tokens,
            "prompt_eval_duration": int(_NANO * spent.prefill_seconds),
            "eval_count": spent.generated_tokens,
            "eval_duration": int(_NANO * spent.decode_seconds),
        }

    def _line(self, said: Mapping[str, Any]) -> bytes:
        head = {"model": self._model(), "created_at": _written()}
        return json.dumps({**head, **said}, ensure_ascii=False).encode() + b"\n"


def _asked(sent: Mapping[str, Any], fields: Mapping[str, Any], service: Service) -> dict[str, Any]:
    """Return a request in OpenAI's fields, without its messages. Raises `Refused`."""
    asked: dict[str, Any] = {
        "model": _name(fields.get("model"), service),
        "stream": fields.get("stream", True),
        **_options(sent),
    }
    if tools := fields.get("tools"):
        asked["tools"] = tools
    if form := fields.get("format"):
        asked["response_format"] = _form(form)
    think = fields.get("think")
    if isinstance(think, bool):
        asked["chat_template_kwargs"] = {"enable_thinking": think}
    elif think is not None:
        if think not in ("low", "medium", "high"):
            raise Refused(
                400, f"think must be true, false, low, medium or high, got {think!r}", param="think"
            )
        asked["reasoning_effort"] = think
    _seconds(fields.get("keep_alive"))
    return asked


def _form(form: Any) -> dict[str, Any]:
    if form == "json":
        return {"type": "json_object"}
    if not isinstance(form, Mapping):
        raise Refused(400, "format must be 'json' or a JSON schema", param="format")
    return {"type": "json_schema", "json_schema": {"name": "format", "schema": form}}


def _options(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `options` ask for in OpenAI's fields. Raises `Refused` for one that is not known."""
    asked: dict[str, Any] = {}
    for name, value in (sent.get("options") or {}).items():
        if name in _OPTIONS:
            asked[_OPTIONS[name]] = value
        elif name in _SAMPLERS:
            asked[name] = value
        elif name == "num_ctx":
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise Refused(
                    400, f"num_ctx must be a number of tokens, got {value!r}", param="options.num_ctx"
                )
        elif name not in _LOADING:
            raise Refused(400, f"options.{name} is not supported", param=f"options.{name}")
    if asked.get("max_tokens") == -2:  # until the context is full
        asked["max_tokens"] = -1
    return asked


def _fit(engine: Engine, fields: Mapping[str, Any]) -> None:
    """Raise `Refused` for a context that the model was not loaded with, and for thinking that it cannot."""
    wanted, has = (fields.get("options") or {}).get("num_ctx"), engine.capabilities.context
    if wanted is not None and has is not None and wanted > has:
        message = f"num_ctx {wanted:,} is more than the {has:,} tokens that {engine.model} was loaded with"
        raise Refused(400, f"{message}; serve it with a larger `context`", param="options.num_ctx")
    if fields.get("think") and engine.capabilities.thinking is None:
        raise Refused(400, f"{engine.model} does not support thinking", param="think")


def _conversation(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `messages` in OpenAI's form. Their calls have no ids there: a result belongs to the first call
    that has none yet, of its name where it names one."""
    said: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []  # (id, name) of calls without a result
    for message in messages:
        turned = {
            name: message[name]
            for name in ("role", "content", "tool_call_id")
            if message.get(name) is not None
        }
        if message.get("thinking"):
            turned["reasoning_content"] = message["thinking"]
        if images := message.get("images"):
            shown = [{"type": "image_url", "image_url": {"url": _as_address(image)}} for image in images]
            turned["content"] = [*shown, {"type": "text", "text": message.get("content") or ""}]
        if calls := message.get("tool_calls"):
            turned["tool_calls"] = [_call(call, f"call_{len(said)}_{at}") for at, call in enumerate(calls)]
            waiting += [(call["id"], call["function"].get("name", "")) for call in turned["tool_calls"]]
        if turned.get("role") == "tool" and "tool_call_id" not in turned:
            name = message.get("tool_name", message.get("name"))
            found = next((one for one in waiting if name in (None, one[1])), None)
            if found is None:
                raise Refused(400, f"a result of {name!r} follows no call of it", param="messages")
            waiting.remove(found)
            turned["tool_call_id"] = found[0]
        said.append(turned)
    return {"messages": said}


def _call(call: Any, id: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise Refused(400, "a tool call has no function", param="messages")
    arguments = function.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    name = function.get("name")
    return {"id": call.get("id") or id, "type": "function", "function": {"name": name, "arguments": written}}


def _as_address(image: Any) -> str:
    """Return a picture in base64 as an address. Raises `Refused`."""
    if not isinstance(image, str):
        raise Refused(400, "images must be a list of texts in base64", param="images")
    return (
        image if image.startswith("data:") else f"data:image/png;base64,{image}"
    )  # its bytes say what it is


def _name(name: Any, service: Service) -> str | None:
    """Return the model's name here: Ollama's clients put ":latest" behind one without a tag."""
    if name is None or not isinstance(name, str):
        return None
    bare = name.removesuffix(":latest")
    return name if name in service.pool.names() else bare


def _seconds(given: Any) -> float | None:
    """Return how long a model is to stay loaded; for ever where that is below zero. Raises `Refused`."""
    if given is None:
        return None
    if isinstance(given, str):
        if not (match := _DURATION.fullmatch(given)):
            raise Refused(400, f"keep_alive must be a duration like '5m', got {given!r}", param="keep_alive")
        parts = re.findall(r"([\d.]+)([a-z]+)", match[2])
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        seconds = -seconds if match[1] else seconds
    else:
        seconds = float(given)
    return math.inf if seconds < 0 else seconds


def _keep(service: Service, fields: Mapping[str, Any]) -> None:
    """Keep the model of a request loaded for as long as it asks."""
    if (seconds := _seconds(fields.get("keep_alive"))) is None:
        return
    wanted = service.pool.named(_name(fields.get("model"), service))
    for one in service.pool.all():
        if one.wanted.id == wanted.id:
            one.keep = seconds


def _described(weights: Weights) -> dict[str, Any]:
    return {
        **_unlisted(weights.label, weights.size),
        "modified_at": _changed(weights),
        "details": _details(weights),
    }


def _unlisted(label: str, size: int) -> dict[str, Any]:
    digest = hashlib.sha256(f"{label} {size}".encode()).hexdigest()
    return {"name": label, "model": label, "size": size, "digest": digest}


def _details(weights: Weights) -> dict[str, Any]:
    family, parameters = weights.architecture.model_type, weights.architecture.parameters
    return {
        "parent_model": "",
        "format": weights.format,
        "family": family,
        "families": [family],
        "parameter_size": f"{parameters / 1e9:.1f}B" if parameters else "",
        "quantization_level": weights.quant or "",
    }


def _capabilities(weights: Weights, template: str) -> list[str]:
    from qwen_cli.engines import load
    from qwen_cli.engines.parsing.chat_template import thinking_of

    if load.gives_vectors(weights.path):
        return ["embedding"]
    shape, model = weights.architecture, weights.model
    thinks = thinking_of(template, model.thinking if model else None) is not None
    told = {
        "completion": True,
        "tools": "tools" in template,
        "insert": model.fim if model else shape.fim,
        "vision": weights.mmproj is not None or (weights.format == "safetensors" and shape.vision),
        "thinking": thinks,
    }
    return [name for name, has in told.items() if has]


def _changed(weights: Weights) -> str:
    return _written(weights.path.stat().st_mtime)


def _written(moment: float | None = None) -> str:
    """Return a moment (seconds since 1970, `None`: now) as Ollama writes it."""
    moment = time.time() if moment is None else moment
    return datetime.fromtimestamp(moment, timezone.utc).isoformat().replace("+00:00", "Z")
