"""How likely the tokens of the last rated prompt were: of the next one, that which is alike is known.

Harnesses rate one question with each of its answers, and a reranker one document with "yes" and "no"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from qwen_cli.engines.core.base import TokenLogprob
from qwen_cli.engines.core.prompt import common_length

Rate = Callable[[int], list[TokenLogprob]]
"""Rates the tokens of a prompt from the one with this number on."""


class Ratings:
    """The ratings of the last prompt, for all views of a model; one is rated at a time."""

    def __init__(self) -> None:
        self._rating = threading.Lock()
        self._ids: list[int] = []
        self._known: dict[int, TokenLogprob] = {}  # by the number of the token
        self._likely = 0

    def of(self, ids: Sequence[int], likely: int, begin: int, rate: Rate) -> list[TokenLogprob]:
        """Return how likely each of `ids` from number `begin` on was, with the `likely` likeliest in its
        place: from the first that is not known on, `rate` tells it."""
        with self._rating:
            common = common_length(self._ids, ids)
            known = {} if likely != self._likely else self._known
            known = {number: one for number, one in known.items() if number < common}
            unknown = next((number for number in range(begin, len(ids)) if number not in known), len(ids))
            if unknown < len(ids):
                known |= dict(enumerate(rate(unknown), unknown))
            self._ids, self._known, self._likely = list(ids), known, likely
            return [known[number] for number in range(begin, len(ids))]
