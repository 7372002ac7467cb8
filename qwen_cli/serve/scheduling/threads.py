"""Engines block, the server must not: their generators run in threads, what they yield comes out here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qwen_cli.serve.scheduling.lanes import Gone

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for a client to take what it was sent, once the buffers between are full. Then it is let go."""

QUIET = 10.0
"""Seconds without anything new after which a client is told that its request is still being worked on:
proxies and clients give up on silence."""

# Who waits in the queue waits in a thread: there is one for each request that may wait or run.
THREADS = ThreadPoolExecutor(512, thread_name_prefix="request")


class Running(Generic[T]):
    """What `work` yields, from a thread. `interrupt` ends it, also when the client goes."""

    def __init__(
        self,
        request: Request,
        work: Callable[[], Iterator[T]],
        interrupt: Callable[[], None],
        pool: Executor | None = None,
    ) -> None:
        self._interrupt = interrupt
        self._loop = asyncio.get_running_loop()
        self._came: deque[tuple[str, Any]] = deque()
        self._arrived = asyncio.Event()
        self._notified = False  # the loop knows that something came, and has not looked yet
        self._since = self._loop.time()  # when something came, or was said to keep coming
        self._quiet = False
        self._timer = self._loop.call_later(QUIET, self._look)
        self._held: list[T] = []
        self.done = False
        self._gone = False
        (pool or THREADS).submit(self._run, work)
        self._watch = asyncio.create_task(self._until_gone(request.receive))

    async def first(self) -> None:
        """Wait until it has begun well, or has been `QUIET` for the first time. Raises what it fails with,
        `Gone` where the client has left."""
        self._held += await self._next()

    async def all(self) -> list[T]:
        return [value async for value in self]

    async def __aiter__(self) -> AsyncIterator[T]:
        async for values in self.batches():
            for value in values:
                yield value

    async def batches(self) -> AsyncIterator[list[T]]:
        """Yield all that has come whenever something has: more than one where the client or this loop is
        slow, none where it was `QUIET`."""
        if self._held:
            held, self._held = self._held, []
            yield held
        while True:
            batch = await self._next()
            if self.done:
                return
            yield batch

    async def _next(self) -> list[T]:
        """Return what has come: none at the end, and where it was `QUIET`."""
        while not (self._came or self.done):
            await self._arrived.wait()
            self._arrived.clear()
            self._notified = False
            if self._quiet and not self._came:
                break
        self._quiet = False
        self._since = self._loop.time()
        values: list[T] = []
        while self._came and self._came[0][0] == "value":
            values.append(self._came.popleft()[1])
        if self._came and not values:
            what, fault = self._came.popleft()
            self.done = True
            self._settle()
            if what == "fault":
                raise fault
        return values

    def end(self) -> None:
        """Interrupt the work: nobody wants more of it."""
        if not self.done:
            self._interrupt()
        self._settle()

    def _settle(self) -> None:
        self._watch.cancel()
        self._timer.cancel()

    def _look(self) -> None:
        """Wake who waits where nothing came for `QUIET` seconds. One timer for all of them: `wait_for` would
        make a task of every token."""
        left = QUIET - (self._loop.time() - self._since)
        if left <= 0:
            left, self._quiet = QUIET, True
            self._arrived.set()
        self._timer = self._loop.call_later(left, self._look)

    def _run(self, work: Callable[[], Iterator[T]]) -> None:
        if self._gone:  # before a thread was free
            return
        try:
            for value in work():
                self._put("value", value)
            self._put("end", None)
        except BaseException as fault:  # carried to who waits for it
            self._put("fault", fault)

    def _put(self, what: str, value: Any) -> None:
        self._came.append((what, value))
        if self._notified:
            return
        self._notified = True
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop is closed: the server was told to end at once
            self._interrupt()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._gone = True
        self._interrupt()
        self._put("fault", Gone())


async def one(
    request: Request, work: Callable[[], T], interrupt: Callable[[], None], pool: Executor | None = None
) -> T:
    """Run `work` in a thread, of `pool` where one is given, and return its result."""
    values = await Running(request, lambda: iter([work()]), interrupt, pool).all()
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
        since: float | None = None  # when the message was sent that is not taken yet
        timer: asyncio.TimerHandle

        def watch() -> None:  # one timer for all: `wait_for` would make a task of every token
            nonlocal late, timer
            waited = 0.0 if since is None else loop.time() - since
            if waited < PATIENCE:
                timer = loop.call_later(PATIENCE - waited, watch)
                return
            late = True
            if me:
                me.cancel()

        async def within(message: Message) -> None:
            nonlocal since
            since = loop.time()
            await send(message)
            since = None

        timer = loop.call_later(PATIENCE, watch)
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
            timer.cancel()
            self._running.end()


def event(data: str, name: str | None = None) -> bytes:
    """Encode one server-sent event."""
    return (f"event: {name}\n" if name else "").encode() + b"data: " + data.encode() + b"\n\n"
