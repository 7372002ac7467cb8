"""`/v1/embeddings`, where the model gives them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.serve import bodies, running
from qwen_cli.serve.faults import Refused
from qwen_cli.serve.service import Service


async def embed(request: Request, service: Service) -> Response:
    """Refused: the models here were trained to write, their states are no embeddings."""
    sent = await bodies.read(request, service.max_body)
    name = sent.get("model")
    wanted = await running.one(request, lambda: service.residents.named(name), lambda: None)
    raise Refused(400, f"{wanted.label} gives no embeddings", param="model", code="model_not_supported")
