"""An answer as the events that OpenAI's clients read: chunks, what it cost where that is wanted, `[DONE]`."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue
from typing import Protocol

from qwen_cli.engines.core.base import Engine, Piece, Stream
from qwen_cli.serve.api import errors
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, event


class Answering(Protocol):
    """Puts pieces into chunks, as JSON."""

    @property
    def includes_usage(self) -> bool: ...

    def chunks(self, index: int, piece: Piece) -> Iterator[str]: ...

    def usage_chunk(self) -> str: ...


HOLE = "\x00"
"""Stands for the text in what a `Stencil` is made of."""


class Stencil:
    """A chunk that was written once, by OpenAI's types, for a text to be put in: they take a tenth of a
    millisecond, while the next step of the model waits for the processor."""

    def __init__(self, written: str) -> None:
        self._before, self._after = written.split(json.dumps(HOLE))

    def around(self, text: str) -> str:
        return self._before + json.dumps(text, ensure_ascii=False) + self._after


async def events(
    answering: Answering, pieces: Running[tuple[int, Piece]], service: Service, model: str
) -> AsyncIterator[bytes]:
    """Yield the events of all `pieces`; a fault on the way is one too."""
    try:
        async for came in pieces.batches():
            made: list[bytes] = []
            for index, piece in came:
                if piece.usage:
                    service.metrics.record_usage(model, piece.usage)
                made += [event(chunk) for chunk in answering.chunks(index, piece)]
            if made:
                yield b"".join(made)
    except Gone:
        raise
    except Exception as fault:  # the status has been sent; the client is told all the same
        refused = errors.of(fault)
        said = errors.body(refused.status, refused.message, param=refused.param, code=refused.code)
        yield event(json.dumps(said))
        return
    if answering.includes_usage:
        yield event(answering.usage_chunk())
    yield event("[DONE]")


def each(engine: QueuedEngine, n: int, ask: Callable[[Engine, int], Stream]) -> Iterator[tuple[int, Piece]]:
    """Yield the pieces of `n` answers, with the index of each. `ask` begins one on a view of the engine,
    which computes as many of them at a time as it can."""
    if n == 1:
        for only in ask(engine, 0):
            yield 0, only
        return
    came: SimpleQueue[tuple[int, Piece | BaseException | None]] = SimpleQueue()
    todo = deque(range(n))

    def work(view: QueuedEngine) -> None:
        while todo:
            try:
                index = todo.popleft()
            except IndexError:  # another was faster
                return
            try:
                for piece in ask(view, index):
                    came.put((index, piece))
            except BaseException as fault:  # carried to who waits
                came.put((index, fault))
            came.put((index, None))

    # Threads of their own: in a pool that they share with requests, those wait for one and hold all of them.
    workers = [
        threading.Thread(target=work, args=(view,), name="choice", daemon=True)
        for view in engine.views(min(n, engine.width))
    ]
    for worker in workers:
        worker.start()
    left = n
    try:
        while left:
            index, piece = came.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                left -= 1
            else:
                yield index, piece
    finally:
        if left:
            todo.clear()
            engine.interrupt()
        for worker in workers:
            worker.join()
