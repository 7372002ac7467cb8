"""`/v1/audio/transcriptions`: what is said in a recording, by a speech recogniser (Qwen3-ASR)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import QwenError
from qwen_cli.serve.api import body, errors
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.native import named
from qwen_cli.serve.api.sse import COMMENT
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed, event
from qwen_cli.tasks.speech import transcribe

if TYPE_CHECKING:
    from qwen_cli.media.audio import Sound
    from qwen_cli.tasks.speech.transcribe import Transcript

MOST_SECONDS = 3_600
"""Seconds of a recording at most: 230 MB of samples. A body of the usual limit may last for twelve hours."""

_READ_SECONDS = 120.0  # for a body, altogether
_MOST_FIELDS = 32
_LARGEST_FIELD = 1 << 16  # bytes of one that is no file
_DECODING = threading.Lock()  # one at a time: a recording is large once decoded
_FORMS = ("json", "text", "verbose_json")
_TIMED = ("srt", "vtt", "diarized_json")
_NOT_HERE = {
    "include": "log probabilities are not given with transcripts",
    "timestamp_granularities": "Qwen3-ASR gives no times of words or sentences",
    "known_speaker_names": "Qwen3-ASR does not tell speakers apart",
    "known_speaker_references": "Qwen3-ASR does not tell speakers apart",
    "languages": "name one `language`, or none: the model finds it out",
    "keywords": "write them into `prompt`",
}
_KNOWN = {
    "file",
    "model",
    "language",
    "prompt",
    "response_format",
    "temperature",
    "stream",
    "chunking_strategy",
}


@dataclass(frozen=True)
class _Wanted:
    """A request, read. `data` is the file, `name` what its client calls it."""

    data: bytes
    name: str
    language: str | None
    prompt: str
    form: str
    sampling: Sampling
    streams: bool


async def create(request: Request, service: Service) -> Response:
    """Answer with what is said in a recording."""
    fields, data, name = await _form(request, service.max_body)
    wanted = _read(fields, data, name)
    engine = await service.engine(request, named(fields))
    transcribe.check(engine.capabilities, engine.model)
    told = _Told()
    pieces = Running(request, lambda: _written(wanted, engine, told), engine.interrupt)
    await pieces.first()
    if wanted.streams:
        return Streamed(_events(pieces, told, service, engine.model), pieces, "text/event-stream")
    await pieces.all()
    transcript, sound = told.transcript, told.sound
    assert transcript and sound
    service.metrics.record_usage(engine.model, transcript.usage)
    if wanted.form == "text":
        return PlainTextResponse(transcript.text + "\n")
    said: dict[str, Any] = {"text": transcript.text, "usage": _usage(transcript)}
    if wanted.form == "verbose_json":
        found = {"language": ", ".join(transcript.languages).lower(), "duration": round(sound.seconds, 2)}
        said = {"task": "transcribe", **found, **said}
    return JSONResponse(said)


@dataclass
class _Told:
    """What came of the work in the thread."""

    sound: Sound | None = None
    transcript: Transcript | None = None


def _written(wanted: _Wanted, engine: QueuedEngine, told: _Told) -> Iterator[str]:
    from qwen_cli.media import audio

    with engine.admitted():
        with _DECODING:
            if engine.cancelled:
                raise Gone
            told.sound = audio.decode(wanted.data, wanted.name, most_seconds=MOST_SECONDS)
        if told.sound.remark:  # nobody would read of it
            raise Refused(400, told.sound.remark, param="file")
        running = transcribe.stream(
            engine,
            told.sound.samples,
            language=wanted.language,
            context=wanted.prompt,
            sampling=wanted.sampling,
        )
        with closing(running):
            told.transcript = yield from running
        if engine.cancelled:
            raise Gone


async def _events(pieces: Running[str], told: _Told, service: Service, model: str) -> AsyncIterator[bytes]:
    """Yield the transcript as OpenAI streams it."""
    try:
        async for batch in pieces.batches():
            if not batch:
                yield COMMENT
            for text in batch:
                yield event(json.dumps({"type": "transcript.text.delta", "delta": text}))
    except QwenError as fault:
        refused = errors.of(fault)
        yield event(json.dumps(errors.body(refused.status, refused.message, param=refused.param)))
        return
    if told.transcript:
        service.metrics.record_usage(model, told.transcript.usage)
        done = {"text": told.transcript.text, "usage": _usage(told.transcript)}
        yield event(json.dumps({"type": "transcript.text.done", **done}))


def _usage(transcript: Transcript) -> dict[str, Any]:
    given, made = transcript.usage.prompt_tokens, transcript.usage.generated_tokens
    return {"type": "tokens", "input_tokens": given, "output_tokens": made, "total_tokens": given + made}


async def _form(request: Request, most_bytes: int) -> tuple[dict[str, str], bytes, str]:
    """Return the fields of a form, its file and the file's name. Raises `Refused`."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Refused(415, "a recording is sent as multipart/form-data, in the field file")
    body.check_room(request)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "a form is sent as it is, not compressed")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes)

    async def limited() -> AsyncIterator[bytes]:
        size = 0
        async for block in request.stream():
            size += len(block)
            if size > most_bytes:
                raise _too_large(most_bytes)
            yield block

    parser = MultiPartParser(
        request.headers,
        limited(),  # type: ignore[arg-type]  # an iterator is all that it needs of a generator
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_LARGEST_FIELD,
    )
    try:
        form = await asyncio.wait_for(parser.parse(), _READ_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not come within {_READ_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refused(400, "the connection closed before the body was complete") from None
    except (MultiPartException, KeyError, ValueError) as fault:
        reason = getattr(fault, "message", None) or "it is damaged"
        raise Refused(400, f"the form cannot be read: {reason}") from None
    try:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise Refused(400, "file is missing: send the recording in a field of this name", param="file")
        data = await file.read()
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        return fields, data, file.filename or "the file"
    finally:
        await form.close()


def _read(fields: Mapping[str, str], data: bytes, name: str) -> _Wanted:
    """Parse a form. Raises `Refused`, `UsageError`."""
    given = {key.removesuffix("[]"): value for key, value in fields.items() if value != ""}
    for key in given:
        if key in _NOT_HERE:
            raise Refused(400, f"{key} is not supported: {_NOT_HERE[key]}", param=key)
        if key not in _KNOWN:
            raise Refused(400, f"there is no field {key[:60]!r}", param=key[:60])
    form = given.get("response_format", "json")
    if form in _TIMED:
        raise Refused(
            400,
            f"response_format {form!r} has times in it, and Qwen3-ASR gives none",
            param="response_format",
        )
    if form not in _FORMS:
        raise Refused(400, f"response_format must be json, text or verbose_json, got {form[:40]!r}",
                      param="response_format")  # fmt: skip
    if given.get("chunking_strategy", "auto") != "auto":
        raise Refused(400, "chunking_strategy must be auto", param="chunking_strategy")
    streams = given.get("stream", "false").lower()
    if streams not in ("true", "false", "1", "0"):
        raise Refused(400, f"stream must be true or false, got {streams[:40]!r}", param="stream")
    return _Wanted(
        data,
        name,
        transcribe.spoken(given.get("language")),
        given.get("prompt", ""),
        form,
        Sampling(temperature=_temperature(given.get("temperature", "0"))),
        streams in ("true", "1"),
    )


def _temperature(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise Refused(400, f"temperature must be from 0 to 2, got {given[:40]!r}", param="temperature")
    return value


def _too_large(most_bytes: int) -> Refused:
    return Refused(413, f"the recording is larger than {most_bytes >> 20:,} MiB")
