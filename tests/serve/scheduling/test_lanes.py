"""Who computes next, and where."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from qwen_cli.serve.scheduling.lanes import Busy, Gone, Lane, Lanes, Stopping, Ticket, common

LONG = "Some text that conversations begin with alike. " * 10


def lanes(n: int, **given: Any) -> Lanes:
    """Lanes whose engines are their numbers: the queue never looks into them."""
    return Lanes(cast("list[Any]", list(range(n))), **{"max_queue": 100, **given})


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.05)
    return thread


def test_clients_take_turns_however_much_one_asks_for() -> None:
    queue, order = lanes(1), []
    held = queue.take(Ticket("first"))

    def ask(client: str, name: str) -> None:
        lane = queue.take(Ticket(client, name))
        order.append(name)
        queue.give_back(lane, "")

    threads = [
        in_thread(lambda c=client, n=name: ask(c, n))  # type: ignore[misc]
        for client, name in (("greedy", "g1"), ("greedy", "g2"), ("greedy", "g3"), ("modest", "m1"))
    ]
    queue.give_back(held, "")
    for thread in threads:
        thread.join(5)

    assert order == ["g1", "m1", "g2", "g3"]


def test_a_full_queue_turns_away_and_says_when_to_come_back() -> None:
    queue = lanes(1, max_queue=0)
    held = queue.take(Ticket("a"))

    with pytest.raises(Busy) as busy:
        queue.take(Ticket("b"))
    assert busy.value.seconds >= 1

    queue.give_back(held, "")
    assert queue.take(Ticket("b"))


def test_a_conversation_is_gone_on_with_where_it_was() -> None:
    queue = lanes(3)
    for text in ("one " * 100, "two " * 100, "three " * 100):
        queue.give_back(queue.take(Ticket("a", text)), "answer")

    lane = queue.take(Ticket("a", "two " * 100 + "answer, and now the next question"))

    assert lane.engine == 1


def test_the_same_prompt_once_more_stays_where_it_was_however_long_its_answer() -> None:
    copied: list[object] = []
    queue = lanes(3, copy=lambda source, target: copied.append(target))
    first = queue.take(Ticket("a", "one question"))
    queue.give_back(first, "a long answer " * 100)

    assert queue.take(Ticket("a", "one question")) is first
    assert not copied


def test_an_unknown_prompt_takes_the_lane_that_was_idle_longest() -> None:
    queue = lanes(2)
    first = queue.take(Ticket("a", "one " * 100))
    queue.give_back(first, "")
    second = queue.take(Ticket("a", "two " * 100))
    queue.give_back(second, "")

    assert first is not second
    assert queue.take(Ticket("a", "three " * 100)) is first


def test_another_conversation_that_begins_alike_gets_a_copy_of_the_beginning() -> None:
    copied: list[tuple[object, object]] = []
    queue = lanes(3, copy=lambda source, target: copied.append((source, target)))
    first = queue.take(Ticket("a", LONG + "one " * 300))
    queue.give_back(first, "")

    second = queue.take(Ticket("b", LONG + "two " * 300))

    assert second is not first
    assert copied == [(first.engine, second.engine)]
    assert first.cached_text.startswith(LONG + "one")  # it is still there


def test_room_is_kept_for_what_runs() -> None:
    queue = lanes(2, room=100)
    held = queue.take(Ticket("a", tokens=80))
    came: list[Lane] = []
    thread = in_thread(lambda: came.append(queue.take(Ticket("b", tokens=30))))

    assert not came
    queue.give_back(held, "")
    thread.join(5)
    assert came


def test_who_leaves_the_queue_is_not_waited_for() -> None:
    queue = lanes(1)
    held = queue.take(Ticket("a"))
    ticket, faults = Ticket("b"), []

    def wait() -> None:
        try:
            queue.take(ticket)
        except Gone as gone:
            faults.append(gone)

    thread = in_thread(wait)
    queue.cancel(ticket)
    thread.join(5)

    assert faults
    assert queue.waiting == 0
    queue.give_back(held, "")


def test_the_lane_of_a_cancelled_request_is_waited_for_by_who_goes_on_with_it() -> None:
    queue = lanes(2)
    ticket = Ticket("a", LONG)
    held = queue.take(ticket)
    queue.cancel(ticket)
    came: list[Lane] = []
    thread = in_thread(lambda: came.append(queue.take(Ticket("a", LONG + "more"))))

    assert not came  # the other lane is free, but holds nothing of it
    queue.give_back(held, "")
    thread.join(5)
    assert came == [held]


def test_stopping_turns_away_who_waits_and_lets_the_rest_end() -> None:
    queue = lanes(1)
    held = queue.take(Ticket("a"))
    faults: list[Exception] = []

    def wait() -> None:
        try:
            queue.take(Ticket("b"))
        except Stopping as stopping:
            faults.append(stopping)

    thread = in_thread(wait)
    queue.stop()
    thread.join(5)

    assert faults
    assert not queue.settle(0.01)
    queue.give_back(held, "")
    assert queue.settle(1)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [("", "abc", 0), ("abc", "abc", 3), ("abcd", "abxd", 2), ("abc", "abcdef", 3), ("x", "y", 0)],
)
def test_what_two_texts_begin_with(one: str, other: str, shared: int) -> None:
    assert common(one, other) == common(other, one) == shared
