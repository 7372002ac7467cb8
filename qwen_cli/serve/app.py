"""The routes: one app for the address, with its guard, and one for the socket, with the engine protocol."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

from qwen_cli._version import __version__
from qwen_cli.serve.api import (
    body,
    boxes,
    chat,
    completions,
    embeddings,
    engine,
    errors,
    infill,
    math,
    messages,
    models,
    native,
    ollama,
    page,
    rerank,
    responses,
    transcriptions,
)
from qwen_cli.serve.api.auth import Guard, Rules
from qwen_cli.serve.scheduling.service import Service

Route: TypeAlias = Callable[[Request, Service], Awaitable[Response]]

_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", "/v1/chat/completions", chat.complete),
    ("POST", "/v1/responses", responses.create),
    ("POST", "/v1/responses/input_tokens", responses.count),
    ("GET", "/v1/responses/{id}", responses.get),
    ("GET", "/v1/responses/{id}/input_items", responses.input_items),
    ("DELETE", "/v1/responses/{id}", responses.delete),
    ("POST", "/v1/messages", messages.create),
    ("POST", "/v1/messages/count_tokens", messages.count),
    ("POST", "/v1/completions", completions.complete),
    ("POST", "/v1/audio/transcriptions", transcriptions.create),
    ("POST", "/v1/embeddings", embeddings.embed),
    ("POST", "/embedding", embeddings.embed_natively),
    ("POST", "/embeddings", embeddings.embed_natively),
    ("POST", "/v1/rerank", rerank.rerank),
    ("POST", "/v1/reranking", rerank.rerank),
    ("POST", "/v1/math", math.solve),
    ("POST", "/v1/boxes", boxes.find),
    ("POST", "/infill", infill.infill),
    ("POST", "/completion", native.complete),
    ("POST", "/completions", native.complete),
    ("POST", "/tokenize", native.tokenize),
    ("POST", "/detokenize", native.detokenize),
    ("POST", "/apply-template", native.apply_template),
    ("POST", "/v1/chat/completions/input_tokens", native.count),
    ("GET", "/props", native.props),
    ("GET", "/slots", native.slots),
    ("POST", "/slots/{id}", native.act),
    ("GET", "/lora-adapters", native.adapters),
    ("GET", "/v1/health", models.health),
    ("GET", "/v1/models", models.models),
    ("GET", "/v1/models/{name:path}", models.model),
    ("GET", "/health", models.health),
    ("GET", "/", ollama.root),
    ("GET", "/api/version", ollama.version),
    ("GET", "/api/tags", ollama.tags),
    ("GET", "/api/ps", ollama.ps),
    ("POST", "/api/show", ollama.show),
    ("POST", "/api/chat", ollama.chat),
    ("POST", "/api/generate", ollama.generate),
    ("POST", "/api/embed", ollama.embed),
    ("POST", "/api/embeddings", ollama.embed),
    ("GET", "/metrics", models.metrics),
)
# What is asked there waits for a model.
_QUEUED: frozenset[Route] = frozenset({
    *(chat.complete, responses.create, messages.create, completions.complete, math.solve),
    *(transcriptions.create, infill.infill, native.complete, ollama.chat, ollama.generate),
})  # fmt: skip
# On loopback alone: elsewhere a browser would have to be given the key before it has the page.
_PAGE_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", "/", page.root),
    ("GET", page.PLACE + "{name:path}", page.file),
)
_ENGINE_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", "/engine/open", engine.open_model),
    ("POST", "/engine/status", engine.status),
    ("POST", "/engine/{id}/chat", engine.stream),
    ("POST", "/engine/{id}/complete", engine.stream),
    ("POST", "/engine/{id}/transcribe", engine.stream),
    ("POST", "/engine/{id}/{what}", engine.ask),
)


def public(service: Service, rules: Rules) -> ASGIApp:
    """Return the app that is served at the address."""
    routes = (*_PAGE_ROUTES, *_ROUTES) if rules.is_local else _ROUTES
    return Guard(_app(service, _with_short_paths(routes)), rules)


def private(service: Service) -> ASGIApp:
    """Return the app that is served on the socket, which only its user opens."""
    return _app(service, _ENGINE_ROUTES)


def _with_short_paths(routes: Sequence[tuple[str, str, Route]]) -> tuple[tuple[str, str, Route], ...]:
    """Return `routes` with those of `/v1` under their paths without it too, as llama.cpp has them; where such
    a path is a route of its own, it stays that."""
    own = {(method, path) for method, path, _ in routes}
    short = [
        (method, path.removeprefix("/v1"), route) for method, path, route in routes if path.startswith("/v1/")
    ]
    return (*routes, *(one for one in short if one[:2] not in own))


def _app(service: Service, routes: Sequence[tuple[str, str, Route]]) -> FastAPI:
    app = FastAPI(title="qwen", version=__version__, openapi_url=None)
    for method, path, route in routes:
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        app.add_api_route(path, _bound(route, service, path), methods=methods, name=route.__name__)
    app.add_exception_handler(HTTPException, _unknown)
    return app


def _bound(route: Route, service: Service, path: str) -> Callable[[Request], Awaitable[Response]]:
    """Wrap `route` as FastAPI calls it; its errors become answers here, and are counted."""

    async def handle(request: Request) -> Response:
        request.path_params.setdefault("what", path.rpartition("/")[2])
        try:
            if route in _QUEUED:
                request.scope[body.ROOM] = service.check_room
            answer = await route(request, service)
        except Exception as fault:
            answer = errors.response(fault, path)
        service.metrics.requests.labels(path, str(answer.status_code)).inc()
        return answer

    return handle


async def _unknown(request: Request, fault: Any) -> Response:
    """Answer that there is no such route or method, and which there is."""
    path = request.url.path
    takes = {
        method: route
        for route in request.app.routes
        if route.matches({**request.scope, "method": ""})[0] is not Match.NONE
        for method in route.methods or ()
    }
    if takes:
        allowed = ", ".join(sorted(takes))
        refused = errors.Refused(405, f"{path[:80]} takes {allowed}, not {request.method}")
        answer = errors.response(refused, path)
        answer.headers["Allow"] = allowed
        return answer
    message = f"there is no {request.method} {path[:80]}"
    own = {path for _, path, _ in (*_ROUTES, *_ENGINE_ROUTES)}  # without the short paths
    if near := _nearest(path, [route.path for route in request.app.routes if route.path in own]):
        message += f": did you mean {near}?"
    return errors.response(errors.Refused(fault.status_code, message), path)


def _nearest(path: str, known: Sequence[str]) -> str | None:
    """Return the route that was meant by `path`: one with a letter wrong, one that it ends with (a base URL
    with too much in it) or that ends with it (one with too little), one that it begins with, or else one that
    looks like it."""
    path = f"/{path.strip('/')}"
    plain = [route for route in known if "{" not in route and f"/v1{route}" not in known]
    ends = [route for route in plain if path.endswith(route) or (path != "/" and route.endswith(path))]
    begins = [route for route in plain if path.startswith(f"{route}/")]
    longest = max([*ends, *begins], key=len, default=None)
    nearly = difflib.get_close_matches(path, plain, 1, 0.9)
    return next(iter(nearly), longest) or next(iter(difflib.get_close_matches(path, plain, 1)), None)
