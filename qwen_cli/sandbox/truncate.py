"""Keeping the two ends of a text that may be endless."""

from __future__ import annotations


def cut(text: str, most: int) -> str:
    """Return `text`, or its two ends with the number of characters between them said, `most` characters in
    all."""
    if len(text) <= most:
        return text
    gap = f"\n... {len(text) - most:,} characters left out ...\n"
    keep = max(most - len(gap), 0)
    return text[: keep - keep // 2] + gap + (text[-(keep // 2) :] if keep > 1 else "")


class Ends:
    """The first and the last bytes of a stream: at most twelve for each of `most` characters."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._each = 4 * most  # UTF-8 takes at most four bytes a character
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece of the stream."""
        self.total += len(data)
        room = self._each - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * self._each:
            del self._tail[: -self._each]

    def text(self) -> str:
        """Return what is kept, as `cut` shows it."""
        lost = self.total - len(self._head) - len(self._tail)
        if lost <= 0:
            return cut((self._head + self._tail).decode(errors="replace"), self._most)
        head, tail = self._head.decode(errors="replace"), self._tail.decode(errors="replace")
        half = self._most // 2
        left_out = self.total - len(head[:half].encode()) - len(tail[-half:].encode())
        return f"{head[:half]}\n... {left_out:,} bytes left out ...\n{tail[-half:]}"
