"""Answers of `/v1/responses`, kept for a while for who goes on from them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MOST = 1_000
"""Answers that are kept of one API key."""

MOST_BYTES = 64 << 20
"""Bytes that they take as JSON together, with what was asked: two of the largest requests that a server
takes by default."""


@dataclass(frozen=True)
class Stored:
    """An answer as it was sent, the items that were asked with it, and the answer that it goes on from.
    `size` is in bytes of JSON."""

    body: dict[str, Any]
    input: list[dict[str, Any]]
    previous: str | None
    size: int

    @property
    def items(self) -> list[dict[str, Any]]:
        """Return what was said, from the input on."""
        output: list[dict[str, Any]] = self.body["output"]
        return [*self.input, *output]


@dataclass
class _Shelf:
    """The answers of one key by their ids, the longest unused first."""

    kept: OrderedDict[str, Stored] = field(default_factory=OrderedDict)
    size: int = 0


class ResponseStore:
    """Keeps the newest answers of each API key, within bounds; no key sees those of another."""

    def __init__(self, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Lock()

    def put(self, key: str, id: str, stored: Stored) -> None:
        """Keep an answer; those that nobody has asked for the longest make room."""
        with self._lock:
            shelf = self._shelves.setdefault(key, _Shelf())
            shelf.kept[id] = stored
            shelf.size += stored.size
            while shelf.kept and (len(shelf.kept) > self._most or shelf.size > self._most_bytes):
                shelf.size -= shelf.kept.popitem(last=False)[1].size

    def get(self, key: str, id: str) -> Stored | None:
        with self._lock:
            shelf = self._shelves.get(key)
            return shelf.kept.get(id) if shelf else None

    def delete(self, key: str, id: str) -> bool:
        """Drop an answer. False where there is none."""
        with self._lock:
            shelf = self._shelves.get(key)
            stored = shelf.kept.pop(id, None) if shelf else None
            if shelf and stored:
                shelf.size -= stored.size
            return stored is not None

    def conversation(self, key: str, id: str) -> list[dict[str, Any]] | None:
        """Return all items of the conversation that ends with answer `id`, or `None` where a part of it is no
        longer kept. What it is made of counts as used, its beginning last: that is dropped last."""
        with self._lock:
            shelf = self._shelves.get(key)
            turns: list[list[dict[str, Any]]] = []
            wanted: str | None = id
            while wanted is not None:
                if shelf is None or (stored := shelf.kept.get(wanted)) is None:
                    return None
                shelf.kept.move_to_end(wanted)
                turns.append(stored.items)
                wanted = stored.previous
            return [item for turn in reversed(turns) for item in turn]

    def item(self, key: str, id: str) -> dict[str, Any] | None:
        """Return the item of an answer that has this id."""
        with self._lock:
            shelf = self._shelves.get(key)
            found = self._items(shelf) if shelf else iter(())
            return next((item for item in found if item.get("id") == id), None)

    def _items(self, shelf: _Shelf) -> Iterator[dict[str, Any]]:
        for stored in reversed(shelf.kept.values()):
            yield from stored.items
