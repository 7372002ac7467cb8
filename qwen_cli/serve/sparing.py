"""What goes to the log: of faults that clients can cause, each kind once a minute."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

_A_MINUTE = 60.0
_MOST_KINDS = 1_000


class Sparing:
    """Remembers when a kind of fault was told last."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_due(self, kind: str) -> bool:
        """Return whether `kind` is to be told now, which counts as told."""
        now = time.monotonic()
        with self._lock:
            if now - self._told.get(kind, -_A_MINUTE) < _A_MINUTE:
                return False
            if len(self._told) >= _MOST_KINDS:
                self._told.clear()
            self._told[kind] = now
            return True


class LoopLog:
    """Tells of faults of an event loop in one line: at the limit of open files there are a hundred a
    second."""

    def __init__(self) -> None:
        self._sparing = Sparing()

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        kind, fault = str(context.get("message")), context.get("exception")
        if self._sparing.is_due(kind):
            print(f"{kind}: {fault}" if fault else kind, file=sys.stderr, flush=True)


class SparingFilter(logging.Filter):
    """Lets a message of a logger pass once a minute: uvicorn's tell of every request that is no HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self._sparing = Sparing()

    def filter(self, record: logging.LogRecord) -> bool:
        return self._sparing.is_due(str(record.msg))


_faults = Sparing()


def print_fault(fault: BaseException) -> None:
    """Print the traceback of a fault that was not foreseen, one of each place a minute."""
    last = traceback.extract_tb(fault.__traceback__)[-1:]
    place = f"{last[0].filename}:{last[0].lineno}" if last else ""
    if _faults.is_due(f"{type(fault).__name__} {place}"):
        traceback.print_exception(fault, file=sys.stderr)
