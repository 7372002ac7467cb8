"""What was asked once, and what came of it, in the log that `qwen log` reads."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from qwen_cli import paths
from qwen_cli.commands.shared.output import relay
from qwen_cli.engines.core.base import Engine, Piece, Usage
from qwen_cli.errors import LogError
from qwen_cli.tasks.common import log
from qwen_cli.tasks.common.log import Entry
from qwen_cli.tasks.common.stream_journal import StreamJournal

EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")


class Recorder:
    """Takes what comes of a question. What is not told is taken from the events."""

    def __init__(self, entry: Entry, journal: StreamJournal | None) -> None:
        self.entry = entry
        self._journal = journal
        self._texts: dict[str, list[str]] = {"answer": [], "thinking": []}
        self._usage: Usage | None = None
        self._told, self._ended = False, False

    def follow(self, events: Generator[EventT, None, ResultT]) -> Generator[EventT, None, ResultT]:
        """Yield `events`, and return their result."""
        try:
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    result: ResultT = end.value
                    return result
                if isinstance(event, Piece):
                    self._take(event)
                yield event
        finally:
            events.close()

    def tell(self, answer: str, usage: Usage | None, *, thinking: str | None = None, **more: Any) -> None:
        """Say what came of it, in all; `more` are other fields of the entry."""
        self._told = True
        if usage is not None:
            self._usage, self._ended = usage, True
        thought = "".join(self._texts["thinking"]) if thinking is None else thinking
        self.entry = replace(self.entry, answer=answer, thinking=thought, **more)

    def done(self, seconds: float) -> Entry:
        """Return the entry as it is logged."""
        entry, usage = self.entry, self._usage
        if not self._told:
            answer, thinking = ("".join(self._texts[kind]) for kind in ("answer", "thinking"))
            entry = replace(entry, answer=answer, thinking=thinking)
        if usage is not None:
            entry = replace(
                entry,
                stop_reason=usage.stop_reason if self._ended else "cancelled",
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                generated_tokens=usage.generated_tokens,
            )
        return replace(entry, seconds=round(seconds, 2))

    def _take(self, piece: Piece) -> None:
        if piece.text and piece.kind in self._texts:
            self._texts[piece.kind].append(piece.text)
        self._ended = piece.usage is not None
        if piece.usage is not None:
            self._usage = piece.usage if self._usage is None else self._usage + piece.usage
        if self._journal is not None:
            self._journal.feed(piece)


@contextmanager
def recording(
    command: str, question: str, engine: Engine, settings: Mapping[str, Any], *, no_log: bool, **more: Any
) -> Iterator[Recorder]:
    """Log what comes of `question`, however it ends, unless the person wants no log: a fault of the log is a
    line beside the answer. `more` are further fields of the entry."""
    entry = Entry(command, question, model=engine.model, engine=engine.name, **more)
    if no_log or settings.get("log") == "off":
        yield Recorder(entry, None)
        return
    journal = StreamJournal(paths.data_folder(), {"kind": log.KIND, **vars(entry)})
    recorder, begun = Recorder(entry, journal), time.monotonic()
    try:
        yield recorder
    finally:
        most = settings.get("log_max")
        try:
            log.add(recorder.done(time.monotonic() - begun), log.MOST_BYTES if most is None else most * 1e9)
        except LogError as fault:
            relay(str(fault))
        journal.close()
