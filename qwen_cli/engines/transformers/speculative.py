"""Speculative decoding: guess the next tokens, let the model check them in one pass (Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192).

A guess is one token without a probability, so checking it is simple: at each place the model's own choice is
made as ever, greedy or drawn, and the guess stands as long as it is the same. The choices, and what they are
distributed like, are those of decoding without; only the rounding of a pass over several tokens may differ
from that of a pass over one. Decisions depend on the text alone, never on the clock: the same seed makes the
same text on a busy machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.transformers.prefix_cache import PrefixCache
    from qwen_cli.models.hub.resolve import Weights


from typing import TYPE_CHECKING

from qwen_cli.engines.core.draft import CONFIDENCE, Draft
from qwen_cli.engines.transformers import load as transformers_load
from qwen_cli.engines.transformers.device_map import Places, main_device
from qwen_cli.engines.transformers.prefix_cache import PrefixCache
from qwen_cli.errors import EngineError, UsageError

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

NGRAM = 3  # tokens in a row that must have come before; two are too often a coincidence in code
REACH = 32  # how far back places are compared to find the one most like this one
PLACES = 16  # as many of them, the latest
NEARBY = 8
FIRST, LEAST, MOST = 4, 2, 24  # tokens of a draft: to begin with, and the bounds
PAUSE, LONGEST_PAUSE = 16, 256  # tokens without drafts after some that did not pay; doubled while they do not
# What checking one token more takes, in steps of plain decoding. A step waits for the weights to be read;
# more tokens are nearly free where that takes longest (accelerators), less so on a CPU. Measured with the
# starter on one and on two Zen 4 cores, 8 guesses: 0.20 and 0.17 in bfloat16, 0.18 and 0.14 in float32
# (4 guesses: 0.21 to 0.34, 24: 0.07 to 0.13). That of GPUs is assumed.
CPU_COST, GPU_COST = 0.2, 0.02
_MEMORY = 0.75  # of the counts that acceptance is judged by is kept at each draft: about the last four count


class Drafter(Protocol):
    """What drafts tokens. `cost` is that of drafting and checking one token, in steps of plain decoding."""

    cost: float

    def draft(self, text: Sequence[int], limit: int) -> list[int]:
        """Draft at most `limit` tokens that may follow `text`: the whole of it, which only grows."""
        ...


class Lookup:
    """Guesses from the text itself: where its last tokens have come before, what followed them there
    (prompt lookup decoding, https://github.com/apoorvumang/prompt-lookup-decoding).

    A text that is copied with changes is followed across them: a few tokens replaced, left out or put in.
    """

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self._known = 0  # tokens of the text that were looked at
        self._ends: dict[tuple[int, ...], list[int]] = {}  # n-gram → where it ended
        self._source: int | None = None  # the token that is copied next
        self._strange = 0  # tokens since the last that was a copy

    def draft(self, text: Sequence[int], limit: int) -> list[int]:
        follows = self._follow(text)
        self._learn(text)
        if (place := self._longest(text)) is not None:
            self._source, follows = place, True
        source = self._source
        return list(text[source : source + limit]) if source is not None and follows else []

    def _follow(self, text: Sequence[int]) -> bool:
        """Move the source by what was added to `text`: whether the last token was a copy."""
        for token in text[self._known :]:
            if self._source is None:
                return False
            nearby = list(text[self._source : min(self._source + NEARBY, self._known)])
            if token in nearby:
                self._source, self._strange = self._source + nearby.index(token) + 1, 0
            elif (strange := self._strange + 1) > NEARBY:
                self._source, self._strange = None, 0
            else:
                self._strange = strange
        return self._source is not None and not self._strange

    def _learn(self, text: Sequence[int]) -> None:
        for end in range(max(self._known, NGRAM), len(text)):
            self._ends.setdefault(tuple(text[end - NGRAM : end]), []).append(end)
        self._known = len(text)

    def _longest(self, text: Sequence[int]) -> int | None:
        """Return the latest of the places that have most in common with the end of `text`."""
        ends = self._ends.get(tuple(text[-NGRAM:]), ())[-PLACES:]
        return max(ends, key=lambda end: (_alike(text, end), end), default=None)


class DraftModel:
    """Guesses of a smaller model of the family, greedy, as far as it is sure."""

    def __init__(self, cache: PrefixCache, vocabulary: int, cost: float) -> None:
        self.cost = cost
        self._cache, self._vocabulary = cache, vocabulary

    def draft(self, text: Sequence[int], limit: int) -> list[int]:
        if max(text[len(self._cache.ids) :], default=0) >= self._vocabulary:
            return []  # a token that the smaller one does not have
        logits, _ = self._cache.prefill(text)
        drafted: list[int] = []
        while True:
            probability, token = logits.softmax(-1).max(-1)
            if float(probability) < CONFIDENCE:
                return drafted
            drafted.append(int(token))
            if len(drafted) == limit:
                return drafted
            logits = self._cache.step(drafted[-1:])


class Pace:
    """How much to draft: more where all was right, less where it was not, nothing for a while where the share
    that is accepted does not pay for what drafting costs."""

    def __init__(self, cost: float) -> None:
        self._cost = cost
        self._length, self._rest, self._pause = FIRST, 0, PAUSE
        self._drafted = self._accepted = 0.0

    def next(self) -> int:
        """Return the number of tokens to draft now."""
        if self._rest:
            self._rest -= 1
            return 0
        return self._length

    def judge(self, drafted: int, accepted: int) -> None:
        """Adapt to a step in which `accepted` of `drafted` tokens were right."""
        self._length = max(LEAST, min(MOST, 2 * drafted if accepted == drafted else accepted + 1))
        self._drafted = _MEMORY * self._drafted + drafted
        self._accepted = _MEMORY * self._accepted + accepted
        if self._accepted >= self._cost * self._drafted:
            self._pause = PAUSE
            return
        self._rest, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._length, self._drafted, self._accepted = FIRST, 0.0, 0.0


class Steps:
    """The logits after each token, as `PrefixCache.step` gives them, several computed at once where there is
    a guess. `limit` is the length at which the text will end at the latest."""

    def __init__(self, cache: PrefixCache, drafter: Drafter | None, limit: int, vocabulary: int) -> None:
        self._cache, self._drafter = cache, drafter
        self._limit, self._vocabulary = limit, vocabulary
        self._pace = Pace(drafter.cost) if drafter else None
        self._guess: list[int] = []
        self._right = 0  # of the guess
        self._rows: Any = None
        self.drafted = self.accepted = 0

    def after(self, token: int) -> torch.Tensor:
        """Return the logits after `token`, which follows the text (1 × vocabulary, float32)."""
        if self._right < len(self._guess) and token == self._guess[self._right]:
            self._right += 1
            self.accepted += 1
        else:
            self.settle()
            self._guess = self._drafted(token)
            self.drafted += len(self._guess)
            self._rows = self._cache.step([token, *self._guess], rows=1 + len(self._guess))
        return self._rows[self._right : self._right + 1]

    def settle(self) -> None:
        """Take back what was guessed wrong."""
        if self._guess:
            wrong = len(self._guess) - self._right
            if wrong:
                self._cache.crop(len(self._cache.ids) - wrong)
            if self._pace:
                self._pace.judge(len(self._guess), self._right)
        self._guess, self._right = [], 0

    def _drafted(self, token: int) -> list[int]:
        if not self._drafter or not self._pace:
            return []
        text = [*self._cache.ids, token]
        if not (limit := min(self._pace.next(), self._limit - len(text) - 1)) > 0:
            return []
        guess = self._drafter.draft(text, limit)
        known = next((i for i, t in enumerate(guess) if not 0 <= t < self._vocabulary), len(guess))
        return guess[:known]  # pictures have numbers of their own


def _alike(text: Sequence[int], end: int) -> int:
    """Return how many tokens before `end` are those at the end of `text`."""
    last = len(text)
    return next((n for n in range(min(REACH, end)) if text[end - 1 - n] != text[last - 1 - n]), REACH)


def chosen(
    draft: Draft, cache: PrefixCache, model: Any, tokenizer: Any, *, label: str, dtype: str
) -> DraftModel | Literal["ngram"] | None:
    """Return what drafts for `model`, whose `cache` it is. Raises `UsageError` where nothing can."""
    if draft is None or (draft == "auto" and not cache.croppable):
        return None
    if not cache.croppable:
        raise UsageError(
            f"{label} takes no drafts: its linear attention cannot undo a rejected token",
            "leave `draft` out",
        )
    if draft == "auto" or draft == "ngram":
        return "ngram"
    if draft == "mtp":
        raise UsageError("`draft=mtp`: transformers does not run the block that drafts", "leave `draft` out")
    return load(draft, model, tokenizer, label=label, dtype=dtype)


def load(weights: Weights, target: Any, tokenizer: Any, *, label: str, dtype: str) -> DraftModel:
    """Load the model of `weights`, to draft for `target` with its `tokenizer`, which errors call `label`.

    Raises `EngineError` where the two do not write text in the same tokens, or where the smaller one cannot
    take back what was wrong.
    """
    own = transformers_load.tokenizer(weights.path, trust_remote_code=False)
    if strange := _different(own, tokenizer):
        raise EngineError(
            f"{weights.label} cannot draft for {label}: their tokens differ ({strange!r} is not the same)",
            "Take a smaller model of the same generation",
        )
    place = main_device(target)
    model = transformers_load.model(
        weights, dtype=dtype, places=Places({"": place.index if place.index is not None else place.type})
    )
    cache = PrefixCache(model)
    if not cache.croppable:
        raise EngineError(
            f"{weights.label} cannot draft: its linear attention cannot undo a rejected token",
            "Take a model of Qwen2.5 or Qwen3, or `draft=ngram`",
        )
    share = _size(model) / _size(target)
    return DraftModel(
        cache,
        model.get_input_embeddings().weight.shape[0],
        (CPU_COST if place.type == "cpu" else GPU_COST) + share,
    )


def _different(own: Any, tokenizer: Any) -> str | None:
    """Return an ordinary token that only one of the two has, or that has another number. Control tokens may
    differ from one generation to the next: a wrong one is a wrong guess and no more."""
    ours, theirs = own.get_vocab(), tokenizer.get_vocab()
    added = {str(t) for each in (own, tokenizer) for t in each.added_tokens_decoder.values()}
    return min((t for t, _ in ours.items() ^ theirs.items() if t not in added), default=None)


def _size(model: Any) -> int:
    """Return the bytes of the weights, which is what decoding waits for."""
    return sum(p.numel() * p.element_size() for p in model.parameters())
