"""The one thread that owns the engine. The newest question wins; what is prepared for later gives way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

Cancelled: TypeAlias = Callable[[], bool]
"""Asked by the work between two tokens: true once nobody waits for the result."""
Work: TypeAlias = Callable[[Cancelled], Any]

_CLOSE_SECONDS = 5.0


class _Job:
    def __init__(self, work: Work, background: bool) -> None:
        self.work = work
        self.background = background
        self.future: Future[Any] = Future()
        self.cancelled = threading.Event()


class Worker:
    """Runs one piece of work at a time, questions before preparations.

    `interrupt` makes the engine end what it computes, from another thread, where waiting for the next token
    would take long (a prompt being read).
    """

    def __init__(self, interrupt: Callable[[], None] | None = None) -> None:
        self._interrupt = interrupt
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="completions", daemon=True)
        self._thread.start()

    def ask(self, work: Work) -> Future[Any]:
        """Run `work` now: what runs is cancelled, what waits is dropped."""
        with self._changed:
            self._drop()
            return self._add(work, background=False)

    def prepare(self, work: Work) -> Future[Any]:
        """Run `work` when nothing else is to be done."""
        with self._changed:
            return self._add(work, background=True)

    def stop(self) -> None:
        """Cancel what runs and drop what waits: the text has changed."""
        with self._changed:
            self._drop()

    @property
    def idle(self) -> bool:
        with self._changed:
            return self._running is None and not self._waiting

    def close(self) -> None:
        """Cancel everything and wait for the thread's end, five seconds at most."""
        with self._changed:
            self._closed = True
            self._drop()
            self._changed.notify_all()
        self._thread.join(_CLOSE_SECONDS)

    def _add(self, work: Work, background: bool) -> Future[Any]:
        job = _Job(work, background)
        if self._closed:
            job.future.cancel()
        else:
            self._waiting.append(job)
            self._changed.notify_all()
        return job.future

    def _drop(self) -> None:
        for job in self._waiting:
            job.future.cancel()
        self._waiting.clear()
        if self._running is not None and not self._running.cancelled.is_set():
            self._running.cancelled.set()
            if self._interrupt is not None:
                self._interrupt()

    def _loop(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.future.set_result(job.work(job.cancelled.is_set))
            except Exception as error:  # carried to who waits for the result
                job.future.set_exception(error)
            with self._changed:
                self._running = None

    def _next(self) -> _Job | None:
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return None
                job = self._waiting.popleft()
                if job.future.set_running_or_notify_cancel():
                    self._running = job
                    return job
