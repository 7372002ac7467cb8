"""The engine protocol itself, for commands of the same user (`engines.warm`). Served on the socket alone:
what comes from there may name files and load weights, as its user may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.engines.core.base import Reuse, Stream
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.daemon import wire
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.serve.api import body, errors, models
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed

_MOST_BODY = 4 << 30  # bytes: the pictures of one's own command
_LINES = "application/x-ndjson"


async def open_model(request: Request, service: Service) -> Response:
    """Load what is asked for; remarks come while it loads, then what a command needs to know of it."""
    sent = await body.read_as_sent(request, _MOST_BODY, own=True)

    def work() -> Iterator[dict[str, Any]]:
        if sent.get("version") != wire.VERSION:
            raise UsageError("the server is of another version", "restart it")
        options = LoadOptions.from_wire(sent.get("options"))
        pool = service.pool
        notices: list[str] = []
        # Who asks for nothing in particular gets what the server was started for.
        wanted = pool.first
        if options.given():
            wanted = pool.like(pool.resolve(options, notices.append))
        resident = pool.get(wanted, notices.append)
        yield from ({"notice": remark} for remark in notices)
        engine = resident.engine
        opened = {
            "id": wanted.id,
            "name": engine.name,
            "model": engine.model,
            "capabilities": asdict(engine.capabilities),
            "defaults": asdict(engine.defaults),
            "plain_defaults": asdict(engine.plain_defaults),
            "lanes": len(resident.lanes),
        }
        yield {"opened": opened}

    return await _streamed(request, work, lambda: None)


async def stream(request: Request, service: Service) -> Response:
    """Stream the pieces of a turn (`chat`), of what follows a raw prompt (`complete`), or of what is said in
    a sound (`transcribe`)."""
    sent = await body.read_as_sent(request, _MOST_BODY, own=True)
    engine = await _engine(request, service, sent)
    sampling = wire.sampling_in(sent["sampling"])

    def pieces() -> Stream:
        if request.path_params["what"] == "transcribe":
            return engine.transcribe(
                wire.samples_in(sent["samples"]),
                language=sent.get("language"),
                context=sent.get("context", ""),
                sampling=sampling,
            )
        if request.path_params["what"] == "complete":
            reuse: Reuse = "shift" if sent.get("reuse") == "shift" else "prefix"
            return engine.complete(wire.prompt_in(sent["prompt"]), sampling=sampling, reuse=reuse)
        return engine.chat(
            wire.prompt_in(sent["prompt"]),
            tools=sent.get("tools"),
            schema=sent.get("schema"),
            sampling=sampling,
            **_ways(sent),
        )

    def work() -> Iterator[dict[str, Any]]:
        for piece in pieces():
            if piece.usage:
                service.metrics.record_usage(engine.model, piece.usage)
            yield wire.piece_out(piece)

    return await _streamed(request, work, engine.interrupt)


async def ask(request: Request, service: Service) -> Response:
    """Answer everything else that an engine is asked."""
    sent = await body.read_as_sent(request, _MOST_BODY, own=True)
    engine = await _engine(request, service, sent)
    prompt = sent.get("prompt")
    calls: dict[str, Callable[[], Any]] = {
        "render": lambda: {
            "text": wire.text_out(
                engine.render(wire.prompt_in(prompt), tools=sent.get("tools"), **_ways(sent))
            )
        },
        "count_tokens": lambda: {
            "tokens": engine.count_tokens(
                wire.prompt_in(prompt),
                tools=sent.get("tools"),
                template_kwargs=sent.get("template_kwargs"),
            )
        },
        "sample": lambda: {"done": [wire.completion_out(done) for done in _sampled(engine, sent)]},
        "save_state": lambda: {"done": engine.save_state(Path(sent["path"]))},
        "load_state": lambda: {"done": engine.load_state(Path(sent["path"]))},
    }
    what = request.path_params["what"]
    if what not in calls:
        raise errors.Refused(404, f"an engine has no {what!r}")
    return await _streamed(request, lambda: iter([calls[what]()]), engine.interrupt)


async def status(request: Request, service: Service) -> Response:
    """Answer with what `qwen ps` shows."""
    import os

    said = {
        "pid": os.getpid(),
        "address": service.address,
        "since": service.since,
        "models": [models.resident(one) for one in service.pool.all()],
    }
    return Response(wire.line(said), media_type=_LINES)


async def _engine(request: Request, service: Service, sent: Mapping[str, Any]) -> QueuedEngine:
    """Return the model that was opened, loaded again if it was dropped. Each command is a client of its
    own."""
    session = str(sent.get("session", ""))

    def load() -> QueuedEngine:
        wanted = service.pool.opened(request.path_params["id"])
        return service.queued_engine(wanted, client=f"command {session}", session=session)

    return await threads.one(request, load, lambda: None)


def _sampled(engine: QueuedEngine, sent: Mapping[str, Any]) -> list[Any]:
    prompt, sampling = wire.prompt_in(sent["prompt"]), wire.sampling_in(sent["sampling"])
    return engine.sample(prompt, sent["n"], sampling=sampling, **_ways(sent))


def _ways(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of the template's variables."""
    return {name: sent.get(name) for name in ("thinking", "template_kwargs")}


async def _streamed(
    request: Request, work: Callable[[], Iterator[dict[str, Any]]], interrupt: Callable[[], None]
) -> Response:
    """Stream what `work` yields, a line each; an error is a line too: the command raises it again."""
    values = Running(request, work, interrupt)

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for value in values:
                yield wire.line(value)
        except Gone:
            raise
        except QwenError as fault:
            yield wire.line(wire.fault_out(fault))
        except Exception as fault:  # not foreseen: the log has it
            yield wire.line(wire.fault_out(UsageError(errors.of(fault).message)))

    return Streamed(lines(), values, _LINES)
