"""How likely a token was, and which others would have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qwen_cli.engines.protocol import Piece, TokenLogprob

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.text_stream import TokenTable


def likely(scores: torch.Tensor, token: int, others: int, table: TokenTable) -> TokenLogprob:
    """`token` among the model's `scores` (vocabulary, float32; nothing has been done to them), and the
    likeliest `others`."""
    logprobs = scores.log_softmax(-1)
    values, tokens = logprobs.topk(others) if others else (logprobs[:0], logprobs[:0])
    beside = zip(tokens.tolist(), values.tolist(), strict=True)
    return replace(
        _of(token, float(logprobs[token]), table),
        others=tuple(_of(int(other), value, table) for other, value in beside),
    )


def told(pieces: list[Piece], known: list[TokenLogprob]) -> Sequence[Piece]:
    """`pieces`, the first of their texts with what is `known` and was not told yet."""
    for index, piece in enumerate(pieces):
        if piece.text:
            pieces[index] = replace(piece, logprobs=tuple(known))
            known.clear()
            break
    return pieces


def _of(token: int, logprob: float, table: TokenTable) -> TokenLogprob:
    raw = table[token] or table.name(token).encode()
    return TokenLogprob(raw.decode(errors="replace"), tuple(raw), logprob)
