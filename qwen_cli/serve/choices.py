"""One request, several answers: their pieces as they come, whichever choice they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue

from qwen_cli.engines.protocol import Engine, Piece, Stream
from qwen_cli.serve.queued import Queued
from qwen_cli.serve.running import THREADS


def each(engine: Queued, n: int, ask: Callable[[Engine, int], Stream]) -> Iterator[tuple[int, Piece]]:
    """The pieces of `n` answers, with the index of each. `ask` begins one on a view of the engine."""
    if n == 1:
        for only in ask(engine, 0):
            yield 0, only
        return
    came: SimpleQueue[tuple[int, Piece | BaseException | None]] = SimpleQueue()

    def work(view: Queued, index: int) -> None:
        try:
            for piece in ask(view, index):
                came.put((index, piece))
        except BaseException as fault:  # carried to who waits
            came.put((index, fault))
        came.put((index, None))

    for index, view in enumerate(engine.views(n)):
        THREADS.submit(work, view, index)
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
            engine.interrupt()
