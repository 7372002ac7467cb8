"""An answer as the events that OpenAI's clients read: chunks, what it cost where that is wanted, `[DONE]`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from qwen_cli.engines.protocol import Piece
from qwen_cli.serve import faults
from qwen_cli.serve.lanes import Gone
from qwen_cli.serve.running import Running, event
from qwen_cli.serve.service import Service


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
    """The events of all `pieces`; a fault on the way is one too."""
    try:
        async for came in pieces.batches():
            made: list[bytes] = []
            for index, piece in came:
                if piece.usage:
                    service.metrics.spent(model, piece.usage)
                made += [event(chunk) for chunk in answering.chunks(index, piece)]
            if made:
                yield b"".join(made)
    except Gone:
        raise
    except Exception as fault:  # the status has been sent; the client is told all the same
        refused = faults.of(fault)
        yield event(json.dumps(faults.body(refused.status, refused.message, code=refused.code)))
        return
    if answering.includes_usage:
        yield event(answering.usage_chunk())
    yield event("[DONE]")
