"""Models in memory: who waits while one loads, and which make room for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.models.planning import hardware
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Found
from qwen_cli.serve.scheduling import pool as scheduling_pool
from qwen_cli.serve.scheduling.lanes import Busy, Lanes
from qwen_cli.serve.scheduling.pool import ModelPool
from qwen_cli.serve.scheduling.resident import Resident, Wanted
from tests.serve.played import Played

GB = 1 << 30


def wanted(name: str, *, engine: str = "llamacpp", size: int = 0) -> Wanted:
    lasting = frozenset({("engine", engine), ("path", f"/{name}.gguf")})
    return Wanted(name, name, LoadOptions(model=name), lasting, size)


class Pool(ModelPool):
    """Of models that are loaded once they may; `told` is what was said."""

    def __init__(self, **settings: Any) -> None:
        self.may_load = threading.Event()
        self.told: list[str] = []
        super().__init__(
            LoadOptions(model="first"), keep=1800, notice=self.told.append, parallel=1, max_queue=2
        )

    def resolve(self, options: LoadOptions, notice: Callable[[str], None] | None = None) -> Wanted:
        return wanted(str(options.model))

    def _load(self, wanted: Wanted, notice: Callable[[str], None]) -> Resident:
        self._make_room(wanted)
        self.may_load.wait(20)
        engine = cast("Any", Played())
        return Resident(wanted, engine, Lanes([engine], max_queue=0), lambda: None)


def test_who_waits_for_a_model_keeps_no_one_from_another() -> None:
    """Each has a thread of a pool that all share: no more wait than would for a loaded model."""
    pool = Pool()
    pool.may_load.set()
    first = pool.get(pool.first)
    pool.may_load.clear()
    slow = wanted("slow")
    with ThreadPoolExecutor(3) as clients:
        sent = [clients.submit(pool.get, slow) for _ in range(3)]
        while pool._in_line_now < 3:
            time.sleep(0.01)
        with pytest.raises(Busy, match="3 requests wait already"):
            pool.get(slow)
        assert pool.get(pool.first) is first
        pool.may_load.set()
        assert {id(one.result()) for one in sent} == {id(pool.get(slow))}


@pytest.mark.parametrize(
    ("engine", "free", "gpu", "dropped"),
    [
        ("llamacpp", 100 * GB, None, False),  # no GPU: the machine's memory
        ("llamacpp", 1 * GB, None, True),
        ("llamacpp", 100 * GB, 1 * GB, True),  # on a GPU its own
        ("llamacpp", 1 * GB, 100 * GB, False),
        ("transformers", 1 * GB, 100 * GB, True),  # an engine that does not compute on it
        ("transformers", 100 * GB, 1 * GB, False),
    ],
)
def test_idle_models_make_room_where_the_weights_go(
    engine: str, free: int, gpu: int | None, dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = () if gpu is None else (Gpu("card", 2 * gpu, gpu // 2), Gpu("card", 2 * gpu, gpu // 2))
    found = Found(gpus=cards, engines=frozenset({"llamacpp"}) if cards else frozenset())
    monkeypatch.setattr(hardware, "free_memory", lambda: free)
    monkeypatch.setattr(hardware, "found_gpus", lambda memory: found)
    pool = Pool()
    pool.may_load.set()
    pool.get(pool.first).used -= 100
    pool.get(wanted("large", engine=engine, size=8 * GB))

    assert pool.told == (["dropped first to make room for large"] if dropped else [])
    assert ("first" in pool._loaded) == (not dropped)


def test_a_gpu_that_shares_the_machines_memory_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = (Gpu("Orin", 64 * GB, 60 * GB, unified=True),)
    monkeypatch.setattr(hardware, "free_memory", lambda: 7 * GB)
    monkeypatch.setattr(hardware, "found_gpus", lambda memory: Found(cards, engines=frozenset({"llamacpp"})))
    assert scheduling_pool._free_bytes("llamacpp") == 7 * GB


def test_who_was_asked_just_now_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 0)
    monkeypatch.setattr(hardware, "found_gpus", lambda memory: Found())
    pool = Pool()
    pool.may_load.set()
    pool.get(pool.first)
    pool.get(wanted("large", size=8 * GB))

    assert "first" in pool._loaded
