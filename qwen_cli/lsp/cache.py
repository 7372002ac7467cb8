"""Completions that were made already, found again while the text that they suggest is being typed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

# llama.vim's defaults: 250 completions are kept (`max_cache_keys`), and one made up to 128 characters
# before the cursor is still found.
KEPT = 250
LOOK_BACK = 128


@dataclass(frozen=True)
class _Entry:
    prefix: int  # hash of the text before the cursor
    text: str


class Suggestions:
    """The last completions by place. Texts around the cursor are kept as hashes, so that 250 are small."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._entries: OrderedDict[tuple[str, int, int], _Entry] = OrderedDict()

    def keep(self, uri: str, prefix: str, suffix: str, text: str) -> None:
        """Remember `text` as what belongs between `prefix` and `suffix`.

        That nothing does is not remembered: the server may have been away, the model may see other files
        by then, and who asks again wants another answer.
        """
        if not text:
            return
        key = (uri, len(prefix), hash(suffix))
        self._entries[key] = _Entry(hash(prefix), text)
        self._entries.move_to_end(key)
        while len(self._entries) > self._kept:
            self._entries.popitem(last=False)

    def find(self, uri: str, prefix: str, suffix: str) -> str | None:
        """Return what is left of a completion made here, or made earlier if all that was typed since agrees
        with it. None where there is none.
        """
        after = hash(suffix)
        for typed in range(min(LOOK_BACK, len(prefix)) + 1):
            key = (uri, len(prefix) - typed, after)
            entry = self._entries.get(key)
            if entry is None:
                continue
            before, newly = prefix[: len(prefix) - typed], prefix[len(prefix) - typed :]
            # All of a suggestion typed, or accepted: what follows is a question of its own.
            if typed and len(entry.text) <= typed:
                continue
            if entry.text.startswith(newly) and entry.prefix == hash(before):
                self._entries.move_to_end(key)
                return entry.text[typed:]
        return None
