"""Generators are run to their end, and closed whatever happens."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from qwen_cli.tasks.common.drain import drain, drain_until


class Counting:
    """A generator of 0, 1, 2 that returns "done" and remembers that it was closed."""

    closed = False

    def run(self) -> Generator[int, None, str]:
        try:
            yield from range(3)
            return "done"
        finally:
            self.closed = True


def test_what_it_yields_is_seen_and_what_it_returns_is_returned() -> None:
    seen: list[int] = []
    assert drain(Counting().run(), seen.append) == "done"
    assert seen == [0, 1, 2]


def test_a_fault_of_who_looks_closes_it() -> None:
    counting = Counting()

    def look(number: int) -> None:
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        drain(counting.run(), look)
    assert counting.closed


def test_it_ends_early_when_it_is_stopped() -> None:
    counting, answers = Counting(), iter([False, False, True])
    assert drain_until(counting.run(), lambda: next(answers)) is None
    assert counting.closed
    assert drain_until(Counting().run(), lambda: False) == "done"
