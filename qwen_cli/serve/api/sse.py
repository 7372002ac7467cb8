"""An answer as server-sent events, in the form of whichever API was asked."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Protocol

from pydantic import BaseModel

from qwen_cli.engines.core.base import Engine, Piece, Stream, Usage
from qwen_cli.serve.api import errors
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, event


class Writer(Protocol):
    """Writes an answer in the form of an API: piece by piece as server-sent events, or at once."""

    def begin(self) -> Iterator[bytes]:
        """Yield what comes before all pieces."""
        ...

    def events(self, index: int, piece: Piece) -> Iterator[bytes]:
        """Yield what a client gets of a `piece` of choice `index`."""
        ...

    def end(self) -> Iterator[bytes]:
        """Yield what comes after all pieces."""
        ...

    def failed(self, fault: Refused) -> Iterator[bytes]:
        """Yield what tells of a fault on the way: the status has been sent."""
        ...

    def quiet(self) -> bytes:
        """Return what says that the request is still being worked on."""
        ...

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> str:
        """Return the answer of all its pieces, as JSON."""
        ...


def take_all(writer: Writer, pieces: Sequence[tuple[int, Piece]]) -> None:
    """Let `writer` see all pieces and their end, for an answer that is sent at once."""
    for index, piece in pieces:
        for _ in writer.events(index, piece):
            pass
    for _ in writer.end():
        pass


class Answering(Protocol):
    """Puts pieces into the chunks of OpenAI's older routes, as JSON."""

    @property
    def includes_usage(self) -> bool: ...

    def chunks(self, index: int, piece: Piece) -> Iterator[str]: ...

    def usage_chunk(self) -> str: ...

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> BaseModel: ...


COMMENT = b": the answer is being computed\n\n"


class Chunked:
    """Writes what an `Answering` puts together: chunks, what it cost where that is wanted, `[DONE]`. It is
    made by `make` when the first piece has come."""

    def __init__(self, make: Callable[[], Answering]) -> None:
        self._make = make
        self._made: Answering | None = None

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def events(self, index: int, piece: Piece) -> Iterator[bytes]:
        for chunk in self._answering.chunks(index, piece):
            yield event(chunk)

    def end(self) -> Iterator[bytes]:
        if self._answering.includes_usage:
            yield event(self._answering.usage_chunk())
        yield event("[DONE]")

    def failed(self, fault: Refused) -> Iterator[bytes]:
        yield event(json.dumps(errors.body(fault.status, fault.message, param=fault.param, code=fault.code)))

    def quiet(self) -> bytes:
        return COMMENT

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> str:
        return self._answering.whole(pieces).model_dump_json(exclude_unset=True)

    @property
    def _answering(self) -> Answering:
        if self._made is None:
            self._made = self._make()
        return self._made


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
    """Yield the events of all `pieces`, as OpenAI's older routes have them."""
    writer = Chunked(lambda: answering)
    async for made in written(writer, pieces, lambda usage: service.metrics.record_usage(model, usage)):
        yield made


async def told(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks`; a fault on the way is an event too: the status has been sent."""
    try:
        async for chunk in chunks:
            yield chunk
    except Gone:
        raise
    except Exception as fault:
        refused = errors.of(fault)
        said = errors.body(refused.status, refused.message, param=refused.param, code=refused.code)
        yield event(json.dumps(said))


async def written(
    writer: Writer, pieces: Running[tuple[int, Piece]], record: Callable[[Usage], None]
) -> AsyncIterator[bytes]:
    """Yield what `writer` makes of all `pieces`; a fault on the way is an event too. What each choice cost is
    told to `record`."""
    begun = False
    try:
        async for came in pieces.batches():
            if not came:
                yield writer.quiet()
                continue
            made = [] if begun else list(writer.begin())
            begun = True
            for index, piece in came:
                if piece.usage:
                    record(piece.usage)
                made += writer.events(index, piece)
            if made:
                yield b"".join(made)
    except Gone:
        raise
    except Exception as fault:  # the status has been sent; the client is told all the same
        yield b"".join(writer.failed(errors.of(fault)))
        return
    yield b"".join(writer.end())


def only_read(pieces: Stream) -> Stream:
    """Yield the usage of `pieces` and how far the prompt is read: it is wanted in the KV cache, and nothing
    else. One token of an answer is generated for that, and dropped."""
    for piece in pieces:
        if piece.progress and not piece.progress.generated_tokens:
            yield Piece(progress=piece.progress)
        if piece.usage:
            yield Piece(usage=replace(piece.usage, generated_tokens=0, stop_reason="length"))


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
