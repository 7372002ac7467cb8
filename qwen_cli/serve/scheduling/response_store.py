"""Answers of `/v1/responses`, kept for a while for who goes on from them."""

from __future__ import annotations

import threading
from collections import OrderedDict
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
    """The answers of one key by their ids, the longest unused first, and their items by theirs."""

    kept: OrderedDict[str, Stored] = field(default_factory=OrderedDict)
    items: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # with the id of the answer
    size: int = 0

    def add(self, id: str, stored: Stored) -> None:
        self.kept[id] = stored
        self.size += stored.size
        self.items |= {item["id"]: (id, item) for item in stored.items if isinstance(item.get("id"), str)}

    def drop(self, id: str) -> None:
        stored = self.kept.pop(id)
        self.size -= stored.size
        for item in stored.items:
            if self.items.get(item.get("id", ""), ("", {}))[0] == id:
                del self.items[item["id"]]


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
            shelf.add(id, stored)
            while shelf.kept and (len(shelf.kept) > self._most or shelf.size > self._most_bytes):
                shelf.drop(next(iter(shelf.kept)))

    def get(self, key: str, id: str) -> Stored | None:
        with self._lock:
            shelf = self._shelves.get(key)
            return shelf.kept.get(id) if shelf else None

    def delete(self, key: str, id: str) -> bool:
        """Drop an answer. False where there is none."""
        with self._lock:
            shelf = self._shelves.get(key)
            if shelf is None or id not in shelf.kept:
                return False
            shelf.drop(id)
            return True

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
            found = shelf.items.get(id) if shelf else None
            return found[1] if found else None
