"""`/infill` as llama.cpp's server has it (tools/server/README.md), so that llama.vim and llama.vscode work
unchanged.

The layout is this suite's own: llama.cpp puts all context into one made-up repository and cuts the text to
its batch size; here it is cut to the context. Samplers that there are none of here ("infill") are ignored,
as a greedy answer needs none.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import NotRequired, TypedDict

from qwen_cli.engines.core.base import Engine, Sampling, Usage
from qwen_cli.serve.api import body, fim_prompt, native, native_form, params, sse
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.fim_prompt import Between, Context
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed, event
from qwen_cli.tasks.fim.prompt import restored


class _Chunk(TypedDict):
    text: str
    filename: NotRequired[str]


class _Fields(TypedDict, total=False):
    """Of llama.cpp's request, what is heeded here beside the sampling."""

    input_prefix: str
    input_suffix: str
    input_extra: list[_Chunk]
    prompt: str
    n_predict: int
    n_indent: int
    t_max_predict_ms: int
    stop: str | list[str]
    temperature: float
    top_p: float
    seed: int
    stream: bool
    response_fields: list[str]
    model: str


@dataclass(frozen=True)
class _InfillRequest:
    """`seconds` bound the answer once it has a whole line; lines indented less than `indent` end it. With
    `only_reads` nothing is generated: the KV cache is made ready."""

    prompt: Between
    seconds: float | None
    indent: int
    only_reads: bool
    stream: bool
    fields: list[str]


@dataclass
class _AnswerState:
    """The answer so far, and what it cost once it has ended."""

    text: str = ""
    tokens: int = 0
    usage: Usage | None = None
    started: float = 0.0
    first: float = 0.0
    stop_type: str = "eos"


async def infill(request: Request, service: Service) -> Response:
    """Answer with the middle, in llama.cpp's own form."""
    sent = await body.read(request, service.max_body)
    engine = await service.engine(request, native.named(sent))
    wanted = await body.aside(request, lambda: _read(sent, engine), engine.interrupt)
    state = _AnswerState(started=time.perf_counter())
    pieces = Running(request, lambda: _texts(wanted, engine, state), engine.interrupt)
    await pieces.first()
    if wanted.stream:
        events = _events(pieces, wanted, state, engine, service)
        return Streamed(sse.told(events), pieces, "text/event-stream")
    await pieces.all()
    return JSONResponse(await asyncio.to_thread(_answer, wanted, state, engine, service))


def _read(sent: Mapping[str, Any], engine: Engine) -> _InfillRequest:
    """Parse `sent`. Raises `Refused`; `UsageError` for a model that cannot fill in."""
    fields = body.checked(_Fields, sent)
    predict = fields.get("n_predict", -1)
    if predict < -1:
        raise Refused(400, f"n_predict must be at least -1, got {predict}", param="n_predict")
    limit = None if predict == -1 else max(1, predict)
    drawn = {name: value for name, value in sent.items() if name not in ("top_k", "top_p", "min_p")}
    # What editors send along with no temperature is meant for llama.cpp's chain of samplers.
    drawn = drawn if "temperature" not in sent else dict(sent)
    prompt = fim_prompt.between(
        engine,
        fields.get("input_prefix", "") + fields.get("prompt", ""),
        fields.get("input_suffix", ""),
        params.sampling(drawn, limit=limit),
        files=[
            Context(chunk.get("filename") or "snippet", chunk["text"])
            for chunk in fields.get("input_extra") or ()
            if chunk.get("text")
        ],
        whole_words=True,
    )
    milliseconds = fields.get("t_max_predict_ms", -1)
    return _InfillRequest(
        prompt,
        milliseconds / 1e3 if milliseconds > 0 else None,
        fields.get("n_indent", 0),
        predict == 0,
        bool(fields.get("stream")),
        fields.get("response_fields") or [],
    )


def _texts(wanted: _InfillRequest, engine: QueuedEngine, state: _AnswerState) -> Iterator[str]:
    """Yield the middle as it comes."""
    sampling = wanted.prompt.sampling
    if wanted.only_reads:
        sampling = replace(sampling, max_tokens=1)
    pieces = engine.complete(wanted.prompt.text, sampling=sampling, reuse="shift")
    whole = ""
    try:
        for piece in pieces:
            if piece.usage:
                state.usage = piece.usage
                state.stop_type = "limit" if piece.usage.stop_reason in ("length", "context") else "eos"
                break
            state.first = state.first or time.perf_counter()
            state.tokens += 1
            if wanted.only_reads:
                continue
            whole += piece.text
            kept, ended = _cut(wanted.prompt.middle(restored(whole)), wanted, state)
            if len(kept) > len(state.text):
                new, state.text = kept[len(state.text) :], kept
                yield new
            if ended:
                break
    finally:
        pieces.close()
    yield ""


def _cut(text: str, wanted: _InfillRequest, state: _AnswerState) -> tuple[str, bool]:
    """Return what of `text` stands, and whether it ends here (llama.cpp's `n_indent` and
    `t_max_predict_ms`)."""
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], 1):
        indented = len(line) - len(line.lstrip(" \t"))
        if wanted.indent and line.strip() and indented < wanted.indent:
            state.stop_type = "limit"
            return "\n".join(lines[:number]), True
    late = wanted.seconds is not None and time.perf_counter() - state.first > wanted.seconds
    if late and len(lines) > 1:
        state.stop_type = "limit"
        return text, True
    return text, False


async def _events(
    pieces: Running[str], wanted: _InfillRequest, state: _AnswerState, engine: QueuedEngine, service: Service
) -> AsyncIterator[bytes]:
    async for came in pieces.batches():
        if not came:
            yield sse.COMMENT
        if text := "".join(came):
            yield event(json.dumps({"index": 0, "content": text, "tokens": [], "stop": False}))
    last = await asyncio.to_thread(_answer, wanted, state, engine, service)
    yield event(json.dumps({**last, "content": ""}))


def _answer(
    wanted: _InfillRequest, state: _AnswerState, engine: QueuedEngine, service: Service
) -> dict[str, Any]:
    """Build the object that llama.cpp answers with."""
    now = time.perf_counter()
    first = state.first or now
    spent = state.usage or Usage(
        # Ended before the engine reports: the prompt is counted, the rest was measured here.
        prompt_tokens=engine.count_tokens(wanted.prompt.text),
        cached_tokens=engine.cached_tokens,
        generated_tokens=state.tokens,
        prefill_seconds=first - state.started,
        decode_seconds=now - first,
        stop_reason="stop",
    )
    service.metrics.record_usage(engine.model, spent)
    sampling: Sampling = wanted.prompt.sampling
    whole: dict[str, Any] = {
        "index": 0,
        "content": state.text,
        "tokens": [],
        "id_slot": 0,
        "stop": True,
        "model": engine.model,
        "tokens_predicted": 0 if wanted.only_reads else spent.generated_tokens,
        "tokens_evaluated": spent.prompt_tokens,
        "tokens_cached": spent.prompt_tokens + spent.generated_tokens,
        "generation_settings": body.without_nulls(
            {
                "n_predict": sampling.max_tokens or -1,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "seed": sampling.seed,
                "stop": list(sampling.stop),
            }
        ),
        "prompt": wanted.prompt.text,
        "has_new_line": "\n" in state.text,
        "truncated": wanted.prompt.truncated,
        "stop_type": state.stop_type,
        "stopping_word": "",
        "timings": native_form.timings([spent]),
    }
    return native.chosen(whole, wanted.fields)
