"""From tokens to text as it streams, in whole characters."""

from __future__ import annotations

import codecs
from functools import cache
from typing import Any

# Control tokens that are part of an answer: Qwen-VL's boxes and references. Others are never shown.
_SHOWN = ("object_ref", "box", "quad")


class TokenTable:
    """The bytes of each token, looked up once: decoding a stream costs the same at every length.

    Qwen's tokenizers are byte-level: each character of an ordinary token stands for one byte.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._size = len(tokenizer)
        self._added = {id: str(token) for id, token in tokenizer.added_tokens_decoder.items()}
        special = set(tokenizer.all_special_ids)
        special |= {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._hidden = {id for id in special if not any(name in self._added.get(id, "") for name in _SHOWN)}
        self._known: dict[int, bytes] = {}

    def name(self, token: int) -> str:
        """Return how a special token is written, "" for an ordinary one."""
        return self._added.get(token, "")

    def __getitem__(self, token: int) -> bytes:
        if (known := self._known.get(token)) is None:
            known = self._known[token] = self._bytes(token)
        return known

    def _bytes(self, token: int) -> bytes:
        if token in self._hidden or token >= self._size:  # the embedding has more rows than there are tokens
            return b""
        if token in self._added:
            return self._added[token].encode()
        table = byte_alphabet()
        return bytes(table[character] for character in self._tokenizer.convert_ids_to_tokens(token))


@cache
def byte_alphabet() -> dict[str, int]:
    """Return the character that stands for each byte in a byte-level vocabulary: printable Latin-1 for
    itself, the rest from U+0100 on (`bytes_to_unicode` of OpenAI's gpt-2, src/encoder.py)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


class TextStream:
    """The text of a stream of tokens. What may be the beginning of a character is held back until it is
    decided."""

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def whole(self) -> bool:
        """Return whether the text so far ends with a whole character."""
        return not self._decoder.getstate()[0]

    def feed(self, token: int) -> str:
        """Return the text that `token` decides."""
        return self._decoder.decode(self._table[token])

    def drop(self) -> None:
        """Drop half a character that no more bytes will follow."""
        self._decoder.reset()
