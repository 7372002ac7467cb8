"""What all routes share: the models, the counters, and what the server was started with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from qwen_cli.models.catalog import answers
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.lanes import Busy
from qwen_cli.serve.scheduling.metrics import Metrics
from qwen_cli.serve.scheduling.pool import ModelPool
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.resident import Wanted
from qwen_cli.serve.scheduling.response_store import ResponseStore

MAX_BODY = 32 << 20
"""Bytes of a request: some twenty photographs as they come from a telephone, in base64."""


@dataclass
class Service:
    """`allow_local_urls`: pictures may come from private addresses. `address` is what clients are told."""

    pool: ModelPool
    metrics: Metrics
    max_body: int = MAX_BODY
    allow_local_urls: bool = False
    address: str = ""
    since: float = field(default_factory=time.time)
    responses: ResponseStore = field(default_factory=ResponseStore)

    def check_room(self) -> None:
        """Raise `Busy` where each loaded model has all its places taken: whoever asks is turned away before
        his request is read, whichever model it names."""
        full: Busy | None = None
        for resident in self.pool.all():
            try:
                resident.lanes.check_room()
            except Busy as busy:
                full = busy
            else:
                return
        if full:
            raise full

    async def engine(
        self, request: Request, sent: Mapping[str, Any], *, scores: bool = False
    ) -> QueuedEngine:
        """Return the model that a request names, loaded; with `scores` it may be one that does nothing else.
        Raises what loading raises, `UsageError` for a model that answers nobody."""
        return await threads.one(request, lambda: self.load(request, sent, scores=scores), lambda: None)

    def load(self, request: Request, sent: Mapping[str, Any], *, scores: bool = False) -> QueuedEngine:
        """Return what `engine` does. Blocks while it loads."""
        model = sent.get("model")
        wanted = self.pool.named(str(model) if model else None)
        if wanted.options.model:
            answers.check(wanted.options.model, vectors=scores, hears=True)
        return self.queued_engine(wanted, client=client(request, sent))

    def queued_engine(self, wanted: Wanted, *, client: str, session: str = "") -> QueuedEngine:
        """Return `wanted` for one request of `client`. Blocks while it loads."""
        return QueuedEngine(self.pool.get(wanted), client=client, session=session)


def client(request: Request, sent: Mapping[str, Any]) -> str:
    """Identify who asks: those who share a machine and a key are told apart by what they say of
    themselves."""
    who = sent.get("safety_identifier") or sent.get("user") or request.headers.get("user-agent", "")
    host = request.client.host if request.client else ""
    given = request.headers.get("authorization") or request.headers.get("x-api-key", "")
    key = hashlib.sha256(given.encode()).hexdigest()[:8]
    return f"{host} {key} {who}"
