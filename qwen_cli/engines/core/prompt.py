"""A raw prompt that knows which of its text is anybody's, and so no special token whatever it spells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsIndex, TypeAlias

Span: TypeAlias = tuple[int, int]
"""Where something begins and ends, in characters."""


class Prompt(str):
    """Text for `Engine.complete`. In the `plain` spans (in order, apart from each other) no special token is
    parsed, elsewhere each is: a template's marks lie there.

    `+` and slices keep the spans; everything else that strings can do gives an ordinary string, all of which
    is the caller's own. In the content of a message it is the other way round: an ordinary string is plain,
    and of a `Prompt` only the plain spans are.
    """

    plain: tuple[Span, ...]

    def __new__(cls, text: str = "", plain: Iterable[Span] = ()) -> Prompt:
        prompt = super().__new__(cls, text)
        prompt.plain = tuple(plain)
        return prompt

    def __add__(self, more: str) -> Prompt:
        begin = len(self)
        after = [(begin + start, begin + stop) for start, stop in spans(more)]
        if self.plain and after and self.plain[-1][1] == after[0][0]:
            after[0] = (self.plain[-1][0], after[0][1])
            return Prompt(str(self) + str(more), (*self.plain[:-1], *after))
        return Prompt(str(self) + str(more), (*self.plain, *after))

    def __radd__(self, before: str) -> Prompt:
        return Prompt(before) + self

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        if not isinstance(key, slice):
            return str(self)[key]
        start, stop, step = key.indices(len(self))
        if step != 1:
            return str(self)[key]
        kept = ((max(a, start) - start, min(b, stop) - start) for a, b in self.plain)
        return Prompt(str(self)[start:stop], [(a, b) for a, b in kept if a < b])


class Tokens(str):
    """Text for `Engine.complete` that was given as tokens: the model sees `ids`, whatever tokens the text
    would have."""

    ids: tuple[int, ...]

    def __new__(cls, text: str, ids: Iterable[int]) -> Tokens:
        tokens = super().__new__(cls, text)
        tokens.ids = tuple(ids)
        return tokens


def plain(text: str) -> Prompt:
    """Return `text` that somebody wrote as a prompt: none of it is a special token."""
    return Prompt(text, [(0, len(text))] if text else [])


def spans(text: str) -> tuple[Span, ...]:
    """Return the plain spans of a raw prompt: none of an ordinary string."""
    return text.plain if isinstance(text, Prompt) else ()


def joined(parts: Iterable[str]) -> Prompt:
    """Join all `parts` into one prompt."""
    text, plain_spans, length = [], [], 0
    for part in parts:
        text.append(str(part))
        plain_spans += [(length + start, length + stop) for start, stop in spans(part)]
        length += len(part)
    return Prompt("".join(text), plain_spans)


def common_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Return the length of the longest common beginning of tokens or texts."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    return next(i for i in range(length) if a[i] != b[i])
