"""A server in this process whose model says what a test has written down: the real routes, guard, queue and
socket, without weights. For what the starter cannot be made to do on demand, and for what must not reach a
model at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import openai
import uvicorn

from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    EngineBase,
    Message,
    Piece,
    Reuse,
    Sampling,
    Stream,
    Token,
    TokenLogprob,
    Usage,
)
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.errors import UsageError
from qwen_cli.serve import app
from qwen_cli.serve.api.auth import Rules
from qwen_cli.serve.connection import Limited
from qwen_cli.serve.scheduling.lanes import Lanes
from qwen_cli.serve.scheduling.metrics import Metrics
from qwen_cli.serve.scheduling.pool import ModelPool
from qwen_cli.serve.scheduling.resident import Resident, Wanted
from qwen_cli.serve.scheduling.service import Service

DEFAULTS = Sampling()
OPEN = Rules()
EXTRAS = (
    *("grammar", "json_schema", "logit_bias", "ignore_eos", "mirostat", "return_tokens"),
    *("return_progress", "timings_per_token", "post_sampling_probs"),
)


@dataclass(frozen=True)
class Asked:
    """What the model was asked by one `chat` or `complete`."""

    messages: list[dict[str, Any]]
    tools: Any = None
    schema: Any = None
    sampling: Sampling = DEFAULTS
    thinking: bool | int | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class Played(EngineBase):
    """An engine: `answer` gives the pieces of each request; a text is an answer of one piece. `seen` is what
    was asked, in all lanes."""

    answer: Callable[[Asked], str | list[Piece] | Iterator[Piece]] = lambda asked: "yes"
    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(
            4096, tools=True, logprobs=True, constrained=True, tokens=True, render=True, extras=EXTRAS
        )
    )
    seen: list[Asked] = field(default_factory=list)
    name: str = "played"
    model: str = "played"
    defaults: Sampling = DEFAULTS
    plain_defaults: Sampling = DEFAULTS

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = DEFAULTS,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> Stream:
        return self._say(
            Asked([dict(m) for m in messages], tools, schema, sampling, thinking, dict(template_kwargs or {}))
        )

    def complete(self, prompt: str, *, sampling: Sampling = DEFAULTS, reuse: Reuse = "prefix") -> Stream:
        return self._say(Asked([{"role": "prompt", "content": prompt}], sampling=sampling))

    def sample(self, prompt: Any, n: int, *, sampling: Sampling = DEFAULTS, **rest: Any) -> list[Completion]:
        messages = [{"role": "prompt", "content": prompt}] if isinstance(prompt, str) else prompt
        done = []
        for _ in range(n):
            pieces = list(self._say(Asked([dict(m) for m in messages], sampling=sampling)))
            done.append(Completion("".join(piece.text for piece in pieces), "", end().usage or Usage()))
        return done

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        """Each character is a token, its number that of Unicode."""
        return [(ord(one), one.encode()) for one in text]

    def detokenize(self, ids: Sequence[int]) -> str:
        if any(not 0 <= id < 1000 for id in ids):
            raise UsageError("there is no such token")
        return "".join(map(chr, ids))

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        """The second character has -1, the third -2 …"""
        return [
            TokenLogprob(
                one, tuple(one.encode()), -float(at), (TokenLogprob("x", (120,), -0.5),) * likely, ord(one)
            )
            for at, one in enumerate(prompt[begin:], begin)
        ]

    def render(self, messages: Sequence[Message], *, tools: Any = None, **rest: Any) -> str:
        words = "".join(f"<{m['role']}>{m['content']}" for m in messages)
        return f"{len(tools)} tools{words}" if tools else words

    def count_tokens(self, prompt: Any, **rest: Any) -> int:
        return 10

    def _say(self, asked: Asked) -> Stream:
        self.seen.append(asked)
        said = self.answer(asked)
        if isinstance(said, str):
            said = [Piece(said), end()]
        yield from said


def end(reason: Any = "stop") -> Piece:
    """The last piece of an answer."""
    return Piece(usage=Usage(prompt_tokens=10, generated_tokens=3, stop_reason=reason))


@dataclass(frozen=True)
class Here:
    """A running server: its address, the model's lanes, and when it was asked to be loaded."""

    url: str
    lanes: Lanes
    loads: list[float]

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def post(self, path: str, body: Any, timeout: float = 60) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=timeout)


class Brisk:
    """asyncio, as uvicorn's server has it here: it looks ten times a second whether it is to end, and rests a
    tenth of a second before it does, in each of hundreds of servers that live for one request."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


uvicorn.server.asyncio = Brisk()  # type: ignore[assignment]


@contextmanager
def serving(
    engine: Played,
    *,
    parallel: int = 2,
    max_queue: int = 4,
    rules: Rules = OPEN,
    embedder: Any = None,
    **settings: Any,
) -> Iterator[Here]:
    """A server of `engine`, ready; `settings` are those of `Service`."""
    lanes = Lanes([cast("Any", engine)] * parallel, max_queue=max_queue)
    loads: list[float] = []
    wanted = Wanted("1", engine.model, LoadOptions())
    resident = Resident(wanted, cast("Any", engine), lanes, engine.close)

    class Only:
        """The one model there is."""

        first = wanted

        def named(self, name: str | None) -> Wanted:
            return wanted

        def get(self, wanted: Wanted) -> Resident:
            loads.append(time.time())
            return resident

        def keep_of(self, resident: Resident) -> float:
            return 1800.0 if resident.keep is None else resident.keep

        def ranks(self, name: str | None) -> None:
            return None

        def embedder(self, wanted: Wanted) -> Any:
            return embedder

        def listed(self) -> list[Any]:
            return []

        def names(self) -> list[str]:
            return [engine.model]

        def all(self) -> list[Resident]:
            return [resident]

    pool = cast("ModelPool", Only())
    service = Service(pool, Metrics(pool), **settings)
    config = uvicorn.Config(
        app.public(service, rules),
        port=0,
        http=Limited,
        log_config=None,
        lifespan="off",
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Here(f"http://127.0.0.1:{port}", lanes, loads)
    finally:
        lanes.stop()
        server.should_exit = True
        thread.join(10)
