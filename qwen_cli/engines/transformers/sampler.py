"""The next token from the model's scores, with the semantics and order of transformers' logits processors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import Sampling, TokenLogprob

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.transformers.detokenizer import TokenTable
    from qwen_cli.engines.transformers.grammar import Grammar


class Sampler:
    """Chooses tokens for `rows` samples of one prompt that are decoded together.

    `prompt` (ids of the vocabulary, also where pictures stand) counts for the repetition penalty, as in
    transformers; presence and frequency penalties look at what was generated alone, as in the OpenAI API and
    vLLM.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        *,
        device: Any,
        rows: int = 1,
        grammar: Grammar | None = None,
    ) -> None:
        import torch  # 3 s: loaded with the model
        from transformers.generation.logits_process import (
            MinPLogitsWarper,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        self.grammar = grammar
        self.logprobs = sampling.logprobs
        self._greedy = sampling.temperature == 0 or sampling.top_k == 1
        self._top_k = sampling.top_k or 0
        self._presence = sampling.presence_penalty or 0.0
        self._frequency = sampling.frequency_penalty or 0.0
        self._seen = torch.tensor([prompt] * rows, dtype=torch.long, device=device)
        self._generated = len(prompt)  # where it begins in `_seen`
        self._length = len(prompt)
        biased = (sampling.extras or {}).get("logit_bias") or ()
        self._biased = torch.tensor([token for token, _ in biased], dtype=torch.long, device=device)
        self._bias = torch.tensor([bias for _, bias in biased], dtype=torch.float32, device=device)
        penalty = sampling.repetition_penalty or 1.0
        self._repetition = RepetitionPenaltyLogitsProcessor(float(penalty)) if penalty != 1.0 else None
        self._warpers: list[Any] = []
        if sampling.temperature not in (None, 0, 1):
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature or 1.0)))
        self._cuts: list[Any] = []
        if sampling.top_p is not None and sampling.top_p < 1:
            self._cuts.append(TopPLogitsWarper(float(sampling.top_p)))
        if sampling.min_p:
            self._cuts.append(MinPLogitsWarper(float(sampling.min_p)))
        self._random = torch.Generator(device=device)
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    @property
    def _remembers(self) -> bool:
        return bool(self._repetition or self._presence or self._frequency)

    def sample(self, logits: torch.Tensor, *, constrained: bool = True) -> torch.Tensor:
        """Sample one token for each row of `logits` (rows × vocabulary, float32, not needed afterwards):
        (rows,).

        The grammar, if there is one, holds where `constrained`.
        """
        import torch

        if self._repetition:
            logits = self._repetition(self._seen[:, : self._length], logits)
        if self._presence or self._frequency:
            counts = torch.zeros_like(logits)
            said = self._seen[:, self._generated : self._length]
            counts.scatter_add_(1, said, torch.ones_like(said, dtype=logits.dtype))
            logits = logits - self._presence * (counts > 0) - self._frequency * counts
        if len(self._biased):
            logits = logits.index_add(-1, self._biased, self._bias.expand(logits.shape[0], -1))
        if self.grammar and constrained:
            self.grammar.mask(logits)
        if self._greedy:
            return logits.argmax(-1)
        for warper in self._warpers:
            logits = warper(None, logits)
        tokens = None
        if 0 < self._top_k < logits.shape[-1]:
            # What follows sees the candidates alone: the same distribution for a fraction of the work.
            logits, tokens = torch.topk(logits, self._top_k)
        for cut in self._cuts:
            logits = cut(None, logits)
        drawn = torch.multinomial(logits.softmax(-1), 1, generator=self._random)
        return (drawn if tokens is None else tokens.gather(1, drawn)).squeeze(1)

    def remember(self, tokens: Sequence[int]) -> None:
        """Record that `tokens` (one for each row) come next, chosen or forced."""
        import torch

        if not self._remembers:
            return
        if self._length == self._seen.shape[1]:
            room = self._seen.new_zeros(self._seen.shape[0], max(64, self._length))
            self._seen = torch.cat([self._seen, room], dim=1)
        self._seen[:, self._length] = torch.tensor(tokens, device=self._seen.device)
        self._length += 1

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._seen = self._seen[list(rows)]


def likely(scores: torch.Tensor, token: int, others: int, table: TokenTable) -> TokenLogprob:
    """Look `token` up among the model's `scores` (vocabulary, float32; nothing has been done to them), with
    the likeliest `others`."""
    logprobs = scores.log_softmax(-1)
    values, tokens = logprobs.topk(others) if others else (logprobs[:0], logprobs[:0])
    beside = zip(tokens.tolist(), values.tolist(), strict=True)
    return replace(
        _of(token, float(logprobs[token]), table),
        others=tuple(_of(int(other), value, table) for other, value in beside),
    )


def _of(token: int, logprob: float, table: TokenTable) -> TokenLogprob:
    raw = table[token] or table.name(token).encode()
    return TokenLogprob(raw.decode(errors="replace"), tuple(raw), logprob, id=token)
