"""JSON as models write it: read as far as it is clear what was meant, from a text that may go on.

Line breaks within strings, quotes that were not escaped, single quotes, Python's constants, commas before a
closing bracket, and brackets that were left out at the end. All that is JSON is read as JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SPACE = re.compile(r"\s*")
_PLAIN = re.compile(r"[^\"'\\]+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BARE = re.compile(r"[-+.\w]*")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_CONSTANTS = {
    "true": True,
    "false": False,
    "null": None,
    "True": True,
    "False": False,
    "None": None,
    **{word: word for word in ("NaN", "Infinity", "-Infinity")},  # which no JSON can hold
}
_STRICT = json.JSONDecoder(parse_constant=str)
_DEEPEST = 100


class Unfinished(Exception):
    """Says that the text ends before the value does."""


def read(text: str, at: int, *, final: bool = False, ends: tuple[str, ...] = ()) -> tuple[Any, int]:
    """Return the value that begins at `at` in `text`, and where it ends.

    `final`: no more text comes, and brackets that were left out at its end are added; `ends` are what may
    stand there, too, in the place of brackets. Raises `Unfinished`, and `ValueError` where it is none.
    """
    try:
        return _STRICT.raw_decode(text, at)
    except (ValueError, RecursionError):
        return _Reader(text, final, ends).value(at, "", 0)


class _Reader:
    def __init__(self, text: str, final: bool, ends: tuple[str, ...]) -> None:
        self._text = text
        self._final = final
        self._ends = ends

    def value(self, at: int, within: str, depth: int) -> tuple[Any, int]:
        """Return the value at `at` and its end."""
        at = self._space(at)
        first = self._text[at : at + 1]
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if not first:
            raise Unfinished
        if first == "{":
            return self._object(at + 1, depth + 1)
        if first == "[":
            return self._array(at + 1, depth + 1)
        if first in "\"'":
            return self._string(at, within)
        return self._scalar(at)

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        made: dict[str, Any] = {}
        while True:
            if (end := self._closed(at, "}")) is not None:
                return made, end
            at = self._space(at)
            if self._text[at] not in "\"'":  # `_closed` has seen that something is there
                raise ValueError("no name")
            key, at = self._string(at, ":")
            at = self._space(at)
            if at == len(self._text):
                raise Unfinished
            if self._text[at] != ":":
                raise ValueError("no colon")
            made[key], at = self.value(at + 1, "}", depth)
            at = self._comma(at, "}")

    def _array(self, at: int, depth: int) -> tuple[list[Any], int]:
        made: list[Any] = []
        while True:
            if (end := self._closed(at, "]")) is not None:
                return made, end
            item, at = self.value(at, "]", depth)
            made.append(item)
            at = self._comma(at, "]")

    def _closed(self, at: int, bracket: str) -> int | None:
        """Return where a container ends whose next item would be at `at`; `None` where it goes on."""
        at = self._space(at)
        if self._text.startswith(bracket, at):
            return at + 1
        return at if self._is_end(at) else None

    def _is_end(self, at: int) -> bool:
        """Return whether nothing of the value follows at `at`. Raises `Unfinished`."""
        rest = self._text[at : at + 20]
        if any(rest.startswith(end) for end in self._ends):
            return True
        if not rest or any(end.startswith(rest) for end in self._ends):
            if self._final:
                return not rest
            raise Unfinished
        return False

    def _comma(self, at: int, bracket: str) -> int:
        """Return where the next item begins, or the closing `bracket` stands."""
        at = self._space(at)
        if self._text.startswith(",", at):
            return at + 1
        if self._text.startswith(bracket, at) or self._is_end(at):
            return at
        raise ValueError("no comma")

    def _string(self, at: int, within: str) -> tuple[str, int]:
        """Return the string that opens at `at`, and its end; `within` as in `_closes`."""
        quote, text = self._text[at], self._text
        parts: list[str] = []
        at += 1
        while at < len(text):
            if plain := _PLAIN.match(text, at):
                parts.append(plain[0])
                at = plain.end()
            elif text[at] == "\\":
                part, at = self._escape(at)
                parts.append(part)
            elif text[at] == quote and self._closes(at + 1, within):
                return "".join(parts), at + 1
            else:
                parts.append(text[at])
                at += 1
        raise Unfinished

    def _escape(self, at: int) -> tuple[str, int]:
        """Return what an escape stands for; a backslash that begins none (`C:\\Users`, `\\d`) is itself."""
        letter = self._text[at + 1 : at + 2]
        if not letter:
            raise Unfinished
        if letter != "u":
            return (_ESCAPES[letter], at + 2) if letter in _ESCAPES else ("\\", at + 1)
        digits = self._text[at + 2 : at + 6]
        if not re.fullmatch(r"[0-9a-fA-F]*", digits):
            return "\\", at + 1
        if len(digits) < 4:
            raise Unfinished
        pair = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..").match(self._text, at)
        end = pair.end() if pair else at + 6
        try:
            return json.loads(f'"{self._text[at:end]}"'), end
        except ValueError:
            return "\\", at + 1

    def _closes(self, at: int, within: str) -> bool:
        """Return whether a quote before `at` ends its string: only where what follows can follow a string
        `within` a container ("}", "]"), or a name (":"). Raises `Unfinished`."""
        at = self._space(at)
        following = self._text[at : at + 1]
        if not following:
            if not self._final:
                raise Unfinished
            return within != ":"
        if within == ":":
            return following == ":"
        if following == ",":
            return self._goes_on(self._space(at + 1), within)
        return following == within or self._is_end(at)

    def _goes_on(self, at: int, within: str) -> bool:
        """Return whether another item can begin at `at`. Raises `Unfinished`."""
        rest = self._text[at : at + 9]
        if not rest:
            if not self._final:
                raise Unfinished
            return True
        if rest[0] in "\"'" or rest[0] == within:
            return True
        if within == "}":
            return False
        if not self._final and any(word.startswith(rest) for word in _CONSTANTS):
            raise Unfinished
        return rest[0] in "{[-0123456789" or rest.startswith(tuple(_CONSTANTS))

    def _scalar(self, at: int) -> tuple[Any, int]:
        word = _BARE.match(self._text, at)
        assert word  # the pattern takes nothing, too
        if word.end() == len(self._text) and not self._final:
            if not word[0]:
                raise ValueError("no value")
            raise Unfinished
        if word[0] in _CONSTANTS:
            return _CONSTANTS[word[0]], word.end()
        if _NUMBER.fullmatch(word[0]):
            number: Any = float(word[0]) if re.search("[.eE]", word[0]) else _integer(word[0])
            return number, word.end()
        raise ValueError("no value")

    def _space(self, at: int) -> int:
        space = _SPACE.match(self._text, at)
        assert space
        return space.end()


def _integer(text: str) -> int:
    if len(text) > 4_000:  # Python refuses longer ones
        raise ValueError("too long a number")
    return int(text)
