"""Several pieces of work at once on the views of one engine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

from qwen_cli.engines.core.base import Engine

Item = TypeVar("Item")
Result = TypeVar("Result")
Stopped: TypeAlias = Callable[[], bool]


def map_unordered(
    lanes: Sequence[Engine], items: Sequence[Item], work: Callable[[Engine, Item, Stopped], Result]
) -> Generator[Result, None, None]:
    """Yield `work(lane, item, stopped)` for every item, as many at once as there are lanes; results as they
    come.

    None waits while a lane is free. Closing the iterator makes `stopped()` true and waits for what runs.
    """
    free: SimpleQueue[Engine] = SimpleQueue()
    for lane in lanes:
        free.put(lane)
    stopping = False

    def one(item: Item) -> Result:
        lane = free.get()
        try:
            return work(lane, item, lambda: stopping)
        finally:
            free.put(lane)

    waiting = iter(items)
    with ThreadPoolExecutor(len(lanes)) as workers:
        running: set[Future[Result]] = set()
        try:
            while True:
                room = len(lanes) - len(running)
                running |= {workers.submit(one, item) for item in islice(waiting, room)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            stopping = True
