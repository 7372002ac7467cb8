"""How many requests an engine computes at the same time, and through which views of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from qwen_cli.engines.core.base import Engine
from qwen_cli.serve.scheduling.lanes import Lanes
from qwen_cli.serve.scheduling.resident import Resident, Wanted

if TYPE_CHECKING:
    from qwen_cli.engines.llamacpp.engine import LlamaCpp
    from qwen_cli.engines.transformers.engine import Transformers


def resident(wanted: Wanted, engine: Engine, parallel: int, max_queue: int) -> Resident:
    """Return `engine` with as many lanes as it can have, at most `parallel`."""
    if engine.name == "llamacpp":
        return _llamacpp(wanted, cast("LlamaCpp", engine), parallel, max_queue)
    from qwen_cli.engines.transformers.batching import batch

    shared = batch(cast("Transformers", engine), parallel) if parallel > 1 else None
    if shared is None:  # an architecture that cannot be batched: one request at a time
        return Resident(wanted, engine, Lanes([engine], max_queue=max_queue), engine.close)

    def close() -> None:
        shared.close()
        engine.close()

    lanes = Lanes(shared.lanes(parallel), max_queue=max_queue, room=shared.room)
    return Resident(wanted, shared.lanes(1)[0], lanes, close)


def _llamacpp(wanted: Wanted, engine: LlamaCpp, parallel: int, max_queue: int) -> Resident:
    through_a_file = threading.Lock()

    def copy(source: Engine, target: Engine) -> None:
        with through_a_file:
            cast("LlamaCpp", target).copy_state(cast("LlamaCpp", source))

    views = engine.lanes(parallel)

    def close() -> None:
        for view in views:  # each holds the model
            view.close()
        engine.close()

    # The slots share one KV cache, which the engine shares out to them.
    lanes = Lanes(views, max_queue=max_queue, copy=copy)
    return Resident(wanted, engine, lanes, close, state=through_a_file)
