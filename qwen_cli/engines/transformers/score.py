"""How likely a model finds a text that is given, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import TokenLogprob
from qwen_cli.engines.core.prompt import common_length
from qwen_cli.engines.core.ratings import Ratings
from qwen_cli.engines.transformers import sampler

if TYPE_CHECKING:
    from qwen_cli.engines.transformers.detokenizer import TokenTable
    from qwen_cli.engines.transformers.prefix_cache import PrefixCache

_ROWS = 128  # positions whose scores are computed at once: 80 MB for a vocabulary of 151,936 in float32
_READ = 512  # tokens that are computed at once where none is rated
_KEPT = 2_048  # tokens whose keys and values are kept for the next prompt; those of a longer one are freed


class Scorer:
    """Rates prompts with `network`, with a KV cache of its own: that of a conversation stays as it is."""

    def __init__(self, network: Any, table: TokenTable) -> None:
        self._network, self._table = network, table
        self._cache: PrefixCache | None = None
        self._ratings = Ratings()

    def rate(self, ids: Sequence[int], likely: int, begin: int) -> list[TokenLogprob]:
        """Return the log probabilities of `ids` from the one numbered `begin` on, each after those before it,
        with the likeliest `likely` in its place. What the last prompt began with is not computed again."""
        return self._ratings.of(ids, likely, begin, lambda number: self._computed(ids, likely, number))

    def _computed(self, ids: Sequence[int], likely: int, begin: int) -> list[TokenLogprob]:
        import torch

        from qwen_cli.engines.transformers.prefix_cache import PrefixCache

        cache = self._cache = self._cache or PrefixCache(self._network)
        found: list[TokenLogprob] = []
        first = begin - 1  # what is computed here tells how likely the next is
        with torch.inference_mode():
            common = min(common_length(cache.ids, ids), first)
            if common < len(cache.ids):
                cache.crop(common)
            while (at := len(cache.ids)) < len(ids) - 1:
                end = min(at + _READ, first) if at < first else min(at + _ROWS, len(ids) - 1)
                scores = cache.step(list(ids[at:end]), rows=end - at if at >= first else 1)
                if at >= first:
                    rated = zip(scores, ids[at + 1 : end + 1], strict=True)
                    found += [sampler.likely(row, token, likely, self._table) for row, token in rated]
        if len(cache.ids) > _KEPT:
            cache.clear()
        return found
