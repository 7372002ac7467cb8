"""One run of a bench: every item as often as the protocol says, several in flight, kept as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import ContextFull, EngineError
from qwen_cli.tasks.common import parallel
from qwen_cli.tasks.eval.item import Item
from qwen_cli.tasks.eval.protocol import Protocol

Row = dict[str, Any]


@dataclass(frozen=True)
class _Ask:
    item: Item
    number: int


def run(
    engine: Engine,
    items: Sequence[Item],
    protocol: Protocol,
    done: Mapping[tuple[str, int], Row],
    *,
    at_once: int,
) -> Iterator[Row]:
    """Yield a row for each item and sample that is not in `done`, as it comes. One that the engine fails on
    has `error`: it is no answer. Raises `SandboxError` where programs cannot be contained."""

    def one(lane: Engine, ask: _Ask, stopped: parallel.Stopped) -> Row:
        row: Row = {
            "id": ask.item.id,
            "subject": ask.item.subject,
            "sample": ask.number,
            "expected": ask.item.expected,
        }
        try:
            attempt = ask.item.attempt(lane, protocol, ask.number, stopped)
        except (ContextFull, EngineError) as fault:
            return {**row, "error": str(fault)}
        return {**row, "error": "stopped"} if attempt is None else {**row, **attempt.row()}

    left = [
        _Ask(item, number)
        for item in items
        for number in range(protocol.samples)
        if "error" in done.get((item.id, number), {"error": ""})
    ]
    yield from parallel.map_unordered(engine.lanes(at_once) if at_once > 1 else [engine], left, one)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file of items, by which results of another are told apart."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def known(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    """Return the rows of a journal by item and sample; a later one stands for an earlier."""
    return {(str(row.get("id")), int(row.get("sample", 0))): row for row in rows}
