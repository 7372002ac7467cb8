"""Connections within bounds, before anybody has looked at a key and after it was answered: how long the head
of a request may be and how long it may take, what may come unasked, how many wait. uvicorn bounds none of
that with httptools."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qwen_cli.serve.scheduling.threads import PATIENCE

MOST_HEAD = 1 << 16
"""Bytes of a request line and headers: what h11, uvicorn's other reader, takes."""

HEAD_SECONDS = 60.0
"""From the connection, or the first byte of a further request, to the end of its headers; and from an answer
to the end of a body that was answered before it was there."""

MOST_REST = 64 << 20
"""Bytes of such a body: two of the largest requests, so that who is told that his is too large reads that."""

GRACE = 1.0
"""Seconds that a connection has for its request before it may have to make room: in a flood the head of an
honest one comes after others have connected."""

MOST_PIPELINED = 64
"""Requests that were sent before the answer to an earlier one. No client in use sends any."""

_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_MOST_FILES = 4096  # where the system names no limit


class Limited(HttpToolsProtocol):
    """A connection that is closed where the head of a request has no end, or does not come, where a body goes
    on that has been answered, where nobody reads what is answered, and, the one that has waited longest
    first, where there are more of them than the process can have open."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._room: int | None = None  # bytes that may come; `None` where a request is looked at
        self._refusal = b""  # what is answered where more come
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._since = 0.0  # when it began to wait

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > _most_connections():
            self._make_room()
            self.loop.call_later(GRACE, self._make_room)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._room is not None:
            self._room -= len(data)
            if self._room < 0:
                self.transport.write(self._refusal)
                self.transport.close()
        elif not self.waits and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()  # blank lines between requests, or the end of what was answered before

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            raise ValueError("too many requests at once")  # told as one that is invalid

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._end()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = self.loop.time()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._begin(MOST_REST, b"")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(PATIENCE, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # `close` would wait until the last answer is read

    @property
    def waits(self) -> bool:
        """Return whether nothing is computed for it: a request is awaited, or the rest of one."""
        return self._timer is not None or self.timeout_keep_alive_task is not None

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._since = self.loop.time()
        self._begin(MOST_HEAD, _TOO_LONG)

    def _begin(self, room: int, refusal: bytes) -> None:
        self._room, self._refusal = room, refusal
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _end(self) -> None:
        self._room = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_room(self) -> None:
        """Close those that have waited longest, and for `GRACE`, while there are too many."""
        there = [
            one for one in self.connections if isinstance(one, Limited) and not one.transport.is_closing()
        ]
        late = self.loop.time() - GRACE
        waiting = sorted(
            (one for one in there if one.waits and one._since <= late), key=lambda one: one._since
        )
        for one in waiting[: max(0, len(there) - _most_connections())]:
            one.transport.abort()


def _most_connections() -> int:
    """Return how many connections the process can have beside the files that it needs."""
    if sys.platform == "win32":
        return _MOST_FILES
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_FILES if most == resource.RLIM_INFINITY else min(_MOST_FILES, max(16, most // 2))
