"""What the server tells of itself: its models, that it is up, and what it has counted."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from openai.types import Model
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.resident import Resident
from qwen_cli.serve.scheduling.service import Service

_OWNER = "qwen"


async def models(request: Request, service: Service) -> Response:
    """List what can be asked for: the model that the server was started for, and those on this machine."""
    names = await threads.one(request, service.pool.names, lambda: None)
    data = [_model(name, service, request) for name in names]
    ends = {"has_more": False, "first_id": names[0], "last_id": names[-1]} if _is_anthropic(request) else {}
    return JSONResponse({"object": "list", "data": data, **ends})


async def model(request: Request, service: Service) -> Response:
    """Describe one of them."""
    name = request.path_params["name"]
    wanted = await threads.one(request, lambda: service.pool.named(name), lambda: None)
    return JSONResponse(_model(wanted.label, service, request))


async def health(request: Request, service: Service) -> Response:
    """Answer that the server is up; a monitor needs no key for that."""
    return JSONResponse({"status": "ok"})


async def metrics(request: Request, service: Service) -> Response:
    """Answer with the counters, as Prometheus reads them."""
    since = {"Process-Start-Time-Unix": str(int(service.since or 0))}  # llama.cpp's
    text = await threads.one(request, service.metrics.text, lambda: None)
    return Response(text, 200, since, CONTENT_TYPE_LATEST)


def resident(one: Resident) -> dict[str, Any]:
    """Describe a loaded model, for `qwen ps`."""
    return {
        "model": one.wanted.label,
        "engine": one.engine.name,
        "context": one.engine.capabilities.context,
        "bytes": one.wanted.size,
        "since": one.since,
        "idle_seconds": one.idle_seconds,
        "requests": one.requests,
        "running": one.lanes.running,
        "waiting": one.lanes.waiting,
        "lanes": len(one.lanes),
    }


def _is_anthropic(request: Request) -> bool:
    """Return whether Anthropic's client asks: it reads other fields of the same list."""
    return "anthropic-version" in request.headers


def _model(name: str, service: Service, request: Request) -> dict[str, Any]:
    more: dict[str, Any] = {"loaded": False}
    if _is_anthropic(request):
        since = datetime.fromtimestamp(int(service.since), tz=timezone.utc)
        more |= {"type": "model", "display_name": name, "created_at": since.isoformat()}
    for one in service.pool.all():
        if one.wanted.label == name:
            context = one.engine.capabilities.context
            more |= {"loaded": True, "capabilities": {"vision": one.engine.capabilities.vision}}
            more |= {"running": one.lanes.running, "waiting": one.lanes.waiting}
            if context is not None:
                more |= {"max_model_len": context, "meta": {"n_ctx": context}}
    return Model.model_construct(
        id=name, object="model", created=int(service.since or time.time()), owned_by=_OWNER, **more
    ).model_dump(exclude_unset=True)
