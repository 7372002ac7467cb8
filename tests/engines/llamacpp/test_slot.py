"""A slot that is opened, cancelled and closed by several threads at once, over a server that is written
down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwen_cli.engines.llamacpp import slot as slots
from qwen_cli.engines.llamacpp.pool import Pool
from qwen_cli.engines.llamacpp.slot import Slot
from qwen_cli.errors import EngineError

REQUEST = {"prompt": [1, 2, 3], "max_tokens": 8}


class Endless:
    """Writes until it is told to stop."""

    def handle_completions(self, request: Any, on_chunk: Callable[[dict[str, Any]], bool]) -> None:
        while not on_chunk({"choices": [{"finish_reason": None, "text": "a"}]}):
            continue


def made(folder: Path) -> Slot:
    return Slot(Endless(), "key", 0, folder, Pool(64, 1, drafted=0))


class Late(threading.Thread):
    """A thread whose start takes until another thread has had its say."""

    reached, allowed = threading.Event(), threading.Event()

    def start(self) -> None:
        self.reached.set()
        self.allowed.wait(0.3)
        super().start()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> type[Late]:
    Late.reached, Late.allowed = threading.Event(), threading.Event()
    own = SimpleNamespace(Thread=Late, Lock=threading.Lock, Event=threading.Event)
    monkeypatch.setattr(slots, "threading", own)  # no other thread is late
    return Late


def test_who_waits_while_a_stream_begins_waits_for_its_end(tmp_path: Path, late: type[Late]) -> None:
    slot = made(tmp_path)
    with ThreadPoolExecutor(2) as threads:
        opening = threads.submit(list, slot.stream("handle_completions", REQUEST))
        assert late.reached.wait(5)
        slot.cancel()
        waiting = threads.submit(slot.wait, 5)
        late.allowed.set()
        waiting.result(5)
        opening.result(5)
    assert not slot.busy


def test_a_slot_that_is_shut_while_a_stream_begins_has_none_after_it(
    tmp_path: Path, late: type[Late]
) -> None:
    slot = made(tmp_path)
    with ThreadPoolExecutor(2) as threads:
        opening = threads.submit(list, slot.stream("handle_completions", REQUEST))
        assert late.reached.wait(5)
        shutting = threads.submit(slot.shut)
        late.allowed.set()
        shutting.result(5)
        slot.wait(5)
        assert not slot.busy
        opening.result(5)


def test_a_slot_that_is_shut_begins_nothing_and_takes_no_room(tmp_path: Path) -> None:
    slot = made(tmp_path)
    slot.shut()
    for _ in range(3):
        with pytest.raises(EngineError, match=r"the engine is closed. Load the model again"):
            list(slot.stream("handle_completions", REQUEST))
    slot.server = None
    with pytest.raises(EngineError, match="the engine is closed"):
        slot.http("GET", "/props")


def test_any_order_of_opening_cancelling_and_closing_ends(tmp_path: Path) -> None:
    for _ in range(50):
        slot = made(tmp_path)
        with ThreadPoolExecutor(3) as threads:
            opening = threads.submit(begun, slot)
            cancelling = threads.submit(slot.cancel)
            closing = threads.submit(ended, slot)
            for done in (cancelling, closing, opening):
                done.result(5)
        assert not slot.busy


def begun(slot: Slot) -> None:
    with suppress(EngineError):
        list(slot.stream("handle_completions", REQUEST))


def ended(slot: Slot) -> None:
    slot.shut()
    slot.wait(5)
