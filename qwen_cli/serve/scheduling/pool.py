"""Models in memory: loaded when somebody asks for them, dropped when nobody has for a while."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.errors import EngineError, ModelError, UsageError
from qwen_cli.models.catalog import answers
from qwen_cli.serve.scheduling.lanes import Busy, Lanes
from qwen_cli.serve.scheduling.resident import Resident, Wanted

if TYPE_CHECKING:
    from qwen_cli.engines.core.embedder import Embedder
    from qwen_cli.models.hub.resolve import Weights

_CLOSE_SECONDS = 30.0
_LOAD_SECONDS = 30  # after which to try again, for a model that is being loaded
_SETTLED = 5.0  # idle seconds after which nobody is just about to ask
_HEADROOM = 1.3  # of the weights: a KV cache and what is computed with comes to them


class ModelPool:
    """The models of a server. `first` is the one it was started for; `parallel` requests of each are computed
    at the same time, `max_queue` wait; after `keep` idle seconds a model is dropped (0: never)."""

    def __init__(
        self,
        first: LoadOptions,
        *,
        parallel: int,
        max_queue: int,
        keep: float,
        notice: Callable[[str], None],
    ) -> None:
        self._parallel, self._max_queue, self._keep = parallel, max_queue, keep
        self._notice = notice
        self._loaded: dict[str, Resident] = {}
        self._embedders: dict[str, tuple[Embedder, float]] = {}  # with the time of their last use
        self._known: dict[str, Wanted] = {}
        self._lock = threading.RLock()  # of the two above
        self._loading = threading.Lock()  # one model loads at a time: two might not fit
        self._in_line_now = 0
        self._stopping = False
        self._listing = threading.Lock()  # not the one above: the event loop waits for that
        self._listed: tuple[float, list[Weights]] = (float("-inf"), [])
        self.first = self.resolve(first)

    def resolve(self, options: LoadOptions, notice: Callable[[str], None] | None = None) -> Wanted:
        """Return what `options` ask for. Raises `UsageError`, `ModelError`, `DownloadError`."""
        from qwen_cli.engines import load

        if options.model:
            answers.check(options.model, vectors=True, hears=True)
        back_end, weights = load.find(options, Hooks(notice or self._notice))
        if weights is None:
            raise UsageError(f"`engine={back_end.name}` keeps its models elsewhere", "choose another engine")
        lasting = load.identity(back_end, weights, options)
        mark = hashlib.sha256(repr(sorted(lasting)).encode()).hexdigest()[:16]
        options = replace(options, model=options.model or weights.label)
        wanted = Wanted(mark, weights.label, options, lasting, weights.size)
        with self._lock:
            return self._known.setdefault(mark, wanted)

    def like(self, wanted: Wanted) -> Wanted:
        """Return a loaded model that will do as well: the same but for a context that was left open."""
        if wanted.options.context is not None:
            return wanted
        bare = {pair for pair in wanted.lasting if pair[0] != "context"}
        with self._lock:
            for resident in self._loaded.values():
                if bare == {pair for pair in resident.wanted.lasting if pair[0] != "context"}:
                    return resident.wanted
        first = {pair for pair in self.first.lasting if pair[0] != "context"}
        return self.first if bare == first else wanted

    def opened(self, id: str) -> Wanted:
        """Return what was asked for under this id. Raises `ModelError`."""
        with self._lock:
            if id not in self._known:
                raise ModelError(f"no model was opened as {id!r}", "open it first")
            return self._known[id]

    def named(self, name: str | None) -> Wanted:
        """Return the model that a request calls `name`: the first model, or one that is on this machine.
        Nothing is fetched because a request says so. Raises `ModelError`."""
        if not name or name in (self.first.label, "default"):
            return self.first
        with self._lock:
            for resident in self._loaded.values():
                if name == resident.wanted.label:
                    return resident.wanted
        if name not in self.names():
            raise ModelError(f"there is no model {name!r} here", f"there are {', '.join(self.names())}")
        return self.resolve(LoadOptions(model=name))

    def names(self) -> list[str]:
        """Return the names that can be asked for, the first model first."""
        return list(dict.fromkeys([self.first.label, *(weights.label for weights in self.listed())]))

    def listed(self) -> list[Weights]:
        """Return the models of this machine."""
        from qwen_cli.models.hub import resolve

        with self._listing:
            when, listed = self._listed
            if time.monotonic() - when > 10:
                listed = resolve.local()
                self._listed = time.monotonic(), listed
        return listed

    def keep_of(self, resident: Resident) -> float:
        """Return for how many idle seconds a model stays loaded."""
        if resident.keep is not None:
            return resident.keep
        return self._keep or math.inf

    def get(self, wanted: Wanted, notice: Callable[[str], None] | None = None) -> Resident:
        """Return the model, loaded if it is not. Raises `EngineError` and what loading raises."""
        with self._lock:
            if resident := self._loaded.get(wanted.id):
                resident.used = time.time()
                return resident
        with self._in_line(), self._loading:
            with self._lock:
                if resident := self._loaded.get(wanted.id):
                    resident.used = time.time()
                    return resident
                if self._stopping:
                    raise EngineError("the server is stopping", "start it again")
            loaded = self._load(wanted, notice or self._notice)
            with self._lock:
                self._loaded[wanted.id] = loaded
            return loaded

    def begin(self) -> None:
        """Load the first model."""
        if self._embeds(self.first):
            self.embedder(self.first)
        else:
            self.get(self.first)

    def embedder(self, wanted: Wanted) -> Embedder:
        """Return the embedding model, loaded if it is not. Raises `UsageError` for one that was trained to
        write."""
        from qwen_cli.engines import load

        with self._lock:
            if loaded := self._embedders.get(wanted.id):
                self._embedders[wanted.id] = loaded[0], time.time()
                return loaded[0]
        with self._in_line(), self._loading:
            embedder, _ = self._embedders.get(wanted.id, (None, 0.0))
            if embedder is None:
                weights = load.find(wanted.options, Hooks(self._notice))[1]
                assert weights is not None  # `wanted` has seen them
                if self._embeds(wanted):
                    self._make_room(wanted)
                embedder = load.embedder(weights, dtype=wanted.options.dtype)
            self._embedders[wanted.id] = embedder, time.time()
            return embedder

    def ranks(self, name: str | None) -> Embedder | None:
        """Return the model called `name` if it is a reranker with a head of its own, loaded."""
        from qwen_cli.engines import load

        wanted = self.named(name)
        return self.embedder(wanted) if load.ranks(_path(wanted)) else None

    def all(self) -> list[Resident]:
        with self._lock:
            return list(self._loaded.values())

    def drop_idle(self) -> None:
        """Drop what nobody has asked for since `keep`."""
        for resident in self.all():
            self._drop_after(resident, self.keep_of(resident))
        if not self._keep:
            return
        for id, (_, used) in list(self._embedders.items()):
            if time.time() - used > self._keep:
                self._embedders.pop(id)[0].close()

    def stop(self) -> None:
        """Turn away who waits; what runs goes on."""
        with self._lock:
            self._stopping = True
        for resident in self.all():
            resident.lanes.stop()

    def close(self) -> None:
        """Free everything."""
        self.stop()
        for resident in self.all():
            resident.lanes.settle(_CLOSE_SECONDS)
            self._drop(resident)
        while self._embedders:
            self._embedders.popitem()[1][0].close()

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        """Wait for a model that loads, or that has to first, in a line that is no longer than the queue of
        one: who waits has a thread, and those who ask for models that are loaded need some. Raises
        `Busy`."""
        with self._lock:
            if self._in_line_now >= self._parallel + self._max_queue:
                raise Busy(self._in_line_now, _LOAD_SECONDS)
            self._in_line_now += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_line_now -= 1

    def _drop_after(self, resident: Resident, seconds: float) -> bool:
        """Drop a model that has been idle for so long. Who asks for it at this moment gets it: `get` says so
        under the same lock."""
        with self._lock:
            if resident.idle_seconds <= seconds:
                return False
            self._loaded.pop(resident.wanted.id, None)
        self._drop(resident)
        return True

    def _drop(self, resident: Resident) -> None:
        with self._lock:
            self._loaded.pop(resident.wanted.id, None)
        resident.lanes.stop()
        resident.close()

    def _load(self, wanted: Wanted, notice: Callable[[str], None]) -> Resident:
        from qwen_cli.engines.load import open_engine

        if self._embeds(wanted):
            from qwen_cli.engines import load

            raise answers.silent(wanted.label, "reranking" if load.ranks(_path(wanted)) else "embedding")
        self._make_room(wanted)
        options = replace(wanted.options, parallel=self._parallel)
        engine = open_engine(options, Hooks(notice), scores=True)
        serving = engine.serving_lanes(self._parallel)
        lanes = Lanes(serving.lanes, max_queue=self._max_queue, room=serving.room, copy=serving.copy)
        return Resident(wanted, serving.engine, lanes, serving.close)

    def _embeds(self, wanted: Wanted) -> bool:
        from qwen_cli.engines import load

        return load.gives_vectors(_path(wanted))

    def _make_room(self, wanted: Wanted) -> None:
        """Drop idle models, the longest idle first, until the weights have room."""
        for resident in sorted(self.all(), key=lambda one: one.used):
            if _free_bytes(dict(wanted.lasting).get("engine", "")) > wanted.size * _HEADROOM:
                return
            if self._drop_after(resident, _SETTLED):
                self._notice(f"dropped {resident.wanted.label} to make room for {wanted.label}")


def _free_bytes(engine: str) -> int:
    """Return the memory that is free where `engine` puts weights: that of the GPUs that it computes on. A
    GPU that shares the machine's memory has none of its own."""
    from qwen_cli.models.planning import hardware

    found = hardware.found_gpus(hardware.memory())
    if found.gpus and engine in found.engines and not found.unified:
        return sum(gpu.free for gpu in found.gpus)
    return hardware.free_memory()


def _path(wanted: Wanted) -> Path:
    return Path(dict(wanted.lasting)["path"])
