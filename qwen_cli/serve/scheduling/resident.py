"""A model in memory, and what was asked for when it was loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.serve.scheduling.lanes import Lanes


@dataclass(frozen=True)
class Wanted:
    """Which weights, and how they are to be loaded. `lasting` is what of `options` makes a
    difference, with the path of the weights; `size` is in bytes."""

    id: str
    label: str
    options: LoadOptions = field(compare=False)
    lasting: frozenset[tuple[str, str]] = frozenset()
    size: int = 0


@dataclass(eq=False)
class Resident:
    """A loaded model. `since` and `used` are times of the clock (seconds since 1970). `keep` is for how many
    idle seconds it stays where a request has said so."""

    wanted: Wanted
    engine: Engine
    lanes: Lanes
    close: Callable[[], None]
    since: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    requests: int = 0
    keep: float | None = None

    def touch(self) -> None:
        """Mark it as used just now."""
        self.used = time.time()

    @property
    def idle_seconds(self) -> float:
        """Return for how long nobody has asked; 0 while something runs or waits."""
        return 0.0 if self.lanes.running or self.lanes.waiting else time.time() - self.used
