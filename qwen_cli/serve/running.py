"""Engines block, the server must not: their generators run in threads, what they yield comes out here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qwen_cli.serve.lanes import Gone

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for a client to take what it was sent, once the buffers between are full. Then it is let go."""

# Who waits in the queue waits in a thread: there is one for each request that may wait or run.
THREADS = ThreadPoolExecutor(512, thread_name_prefix="request")


class Running(Generic[T]):
    """What `work` yields, from a thread. `interrupt` ends it, also when the client goes."""

    def __init__(
        self, request: Request, work: Callable[[], Iterator[T]], interrupt: Callable[[], None]
    ) -> None:
        self._interrupt = interrupt
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._held: list[T] = []
        self.done = False
        THREADS.submit(self._run, work)
        self._watch = asyncio.create_task(self._until_gone(request.receive))

    async def first(self) -> None:
        """Wait until it has begun well. Raises what it fails with, `Gone` where the client has left."""
        self._held += await self._next()

    async def all(self) -> list[T]:
        return [value async for value in self]

    async def __aiter__(self) -> AsyncIterator[T]:
        while found := (self._held or await self._next()):
            self._held = []
            yield found[0]

    async def _next(self) -> list[T]:
        """The next value, or none at the end."""
        if self.done:
            return []
        what, value = await self._came.get()
        if what == "value":
            return [value]
        self.done = True
        self._watch.cancel()
        if what == "fault":
            raise value
        return []

    def end(self) -> None:
        """Nobody wants more of it."""
        if not self.done:
            self._interrupt()
        self._watch.cancel()

    def _run(self, work: Callable[[], Iterator[T]]) -> None:
        try:
            for value in work():
                self._put("value", value)
            self._put("end", None)
        except BaseException as fault:  # carried to who waits for it
            self._put("fault", fault)

    def _put(self, what: str, value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._came.put_nowait, (what, value))
        except RuntimeError:  # the loop is closed: the server was told to end at once
            self._interrupt()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._interrupt()
        self._came.put_nowait(("fault", Gone()))


async def one(request: Request, work: Callable[[], T], interrupt: Callable[[], None]) -> T:
    """What `work` returns, from a thread."""
    values = await Running(request, lambda: iter([work()]), interrupt).all()
    return values[0]


class Streamed(Response):
    """An answer that is sent as it comes. A client that does not read is let go, and `running` ended."""

    def __init__(self, chunks: AsyncIterator[bytes], running: Running[Any], media_type: str) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._chunks = chunks
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop, me, late = asyncio.get_running_loop(), asyncio.current_task(), False

        def give_up() -> None:
            nonlocal late
            late = True
            if me:
                me.cancel()

        async def within(message: Message) -> None:
            # `wait_for` would make a task of every token.
            timer = loop.call_later(PATIENCE, give_up)
            try:
                await send(message)
            finally:
                timer.cancel()

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in self._chunks:
                await within({"type": "http.response.body", "body": chunk, "more_body": True})
            await within({"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, Gone):
            return  # it has left
        except asyncio.CancelledError:
            if not late:
                raise
            return  # it never reads: without an end to its body the connection is closed
        finally:
            self._running.end()


def event(data: str, name: str | None = None) -> bytes:
    """One server-sent event."""
    return (f"event: {name}\n" if name else "").encode() + b"data: " + data.encode() + b"\n\n"
