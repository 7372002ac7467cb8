"""One thread, the newest question first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

from qwen_cli.lsp.worker import Cancelled, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


class Long:
    """Work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.started = threading.Event()

    def __call__(self, cancelled: Cancelled) -> str:
        self.started.set()
        for _ in range(1_000):
            if cancelled():
                return "cancelled"
            threading.Event().wait(0.01)
        return "ran on"


def test_results_and_errors_reach_who_asked(worker: Worker) -> None:
    assert worker.ask(lambda cancelled: 3).result(5) == 3

    def fail(cancelled: Cancelled) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.ask(fail).result(5)
    assert worker.ask(lambda cancelled: 4).result(5) == 4


def test_a_new_question_cancels_the_running_one_and_drops_preparations(worker: Worker) -> None:
    long = Long()
    first = worker.ask(long)
    prepared = worker.prepare(lambda cancelled: "prepared")
    long.started.wait(5)
    assert worker.ask(lambda cancelled: "new").result(5) == "new"
    assert first.result(5) == "cancelled"
    with pytest.raises(CancelledError):
        prepared.result(5)


def test_preparations_wait_for_their_turn(worker: Worker) -> None:
    order: list[Any] = []
    gate = threading.Event()
    worker.ask(lambda cancelled: gate.wait(5))
    first = worker.prepare(lambda cancelled: order.append(1))
    second = worker.prepare(lambda cancelled: order.append(2))
    assert not worker.idle
    gate.set()
    first.result(5)
    second.result(5)
    assert order == [1, 2]


def test_a_computation_that_does_not_look_is_interrupted() -> None:
    halted = threading.Event()
    worker = Worker(interrupt=halted.set)
    started = threading.Event()

    def work(cancelled: Cancelled) -> bool:
        started.set()
        return halted.wait(5)

    running = worker.ask(work)
    started.wait(5)
    worker.stop()
    assert running.result(5) is True
    worker.close()


def test_closing_ends_the_thread_and_what_comes_after_is_cancelled() -> None:
    worker, long = Worker(), Long()
    worker.ask(long)
    long.started.wait(5)
    worker.close()
    assert not any(t.name == "completions" and t.is_alive() for t in threading.enumerate())
    assert worker.ask(lambda cancelled: 1).cancelled()
