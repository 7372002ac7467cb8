"""Generators that yield what happens and return what came of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

Event = TypeVar("Event")
Result = TypeVar("Result")


def drain(
    running: Generator[Event, None, Result], each: Callable[[Event], Any] = lambda event: None
) -> Result:
    """Run a generator to its end, give every event to `each`, and return what it returns. It is closed."""
    try:
        while True:
            each(next(running))
    except StopIteration as done:
        result: Result = done.value
        return result
    finally:
        running.close()


def drain_until(running: Generator[Any, None, Result], stopped: Callable[[], bool]) -> Result | None:
    """Run a generator to its end and return what it returns, or `None` once `stopped()`. It is closed."""
    try:
        while not stopped():
            next(running)
    except StopIteration as done:
        result: Result = done.value
        return result
    finally:
        running.close()
    return None
