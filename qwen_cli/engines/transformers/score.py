"""How likely a model finds a text that is given, token by token: one pass over all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import TokenLogprob
from qwen_cli.engines.transformers import sampler

if TYPE_CHECKING:
    from qwen_cli.engines.transformers.detokenizer import TokenTable

_ROWS = 128  # positions whose scores are computed at once: 80 MB for a vocabulary of 151,936 in float32


def of(network: Any, ids: Sequence[int], others: int, table: TokenTable, *, begin: int) -> list[TokenLogprob]:
    """Return the log probabilities of `ids` from the one numbered `begin` on, each after those before it,
    with the likeliest `others` in its place. Nothing is kept in a cache."""
    import torch

    known: list[TokenLogprob] = []
    with torch.inference_mode():
        device = network.get_input_embeddings().weight.device
        tokens = torch.tensor([list(ids)], device=device)
        states = network.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state[0]
        head = network.get_output_embeddings()
        for first in range(begin - 1, len(ids) - 1, _ROWS):
            end = min(first + _ROWS, len(ids) - 1)
            scores = head(states[first:end]).float()
            known += [
                sampler.likely(row, token, others, table)
                for row, token in zip(scores, ids[first + 1 : end + 1], strict=True)
            ]
    return known
