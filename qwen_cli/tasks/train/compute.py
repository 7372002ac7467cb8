"""A model with an adapter that learns: losses and gradients.

Imports torch at the top: only `run` may import this, late.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from qwen_cli.tasks.train.batches import Layout, can_share, layouts
from qwen_cli.tasks.train.sequences import Tokens

# Bytes that the words' probabilities may take at once, in float32, and the least positions together: fewer
# would read the output layer, a quarter of a small model, too often.
_LOGITS = {"cpu": 96 << 20, "cuda": 512 << 20}
_LEAST_ROWS = 64


def _logit_rows(words: int, device: str) -> int:
    """Return for how many positions the probabilities of so many `words` are computed at once."""
    return max(_LEAST_ROWS, _LOGITS.get(device, 96 << 20) // (4 * words))


def logit_bytes(words: int, device: str) -> int:
    """Return the bytes of the probabilities that are computed at once, in float32."""
    return _logit_rows(words, device) * words * 4


class _SummedLoss(torch.autograd.Function):
    """The loss summed over positions, `rows` of them at a time; the gradient is computed with it, so that no
    probabilities are kept, and the output layer, which does not learn, gets none."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, rows: int
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64 if hidden.device.type != "mps" else torch.float32)
        total = total.to(hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for begin in range(0, len(hidden), rows):
            part, wanted = hidden[begin : begin + rows], targets[begin : begin + rows, None]
            logits = (part @ weight.T).float()
            logits -= logits.amax(1, keepdim=True)
            picked = logits.gather(1, wanted)
            sums = logits.exp_().sum(1, keepdim=True)
            total += (sums.log() - picked).sum()
            if gradient is not None:
                logits /= sums
                logits.scatter_add_(1, wanted, torch.full_like(picked, -1.0))
                gradient[begin : begin + rows] = logits.to(hidden.dtype) @ weight
        ctx.save_for_backward(gradient)
        return total.float()

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0].to(gradient.dtype), None, None, None


class Network:
    """A causal language model with an adapter (`adapted`, peft's), whose matrices alone learn.

    Weights in 16 bits are computed with in 16 bits, the adapter's too, which are kept in float32. `at_once`
    is the most tokens in one pass; `recompute` computes activations again for the gradient instead of keeping
    them.
    """

    def __init__(self, adapted: Any, *, at_once: int, recompute: bool) -> None:
        self.adapted = adapted
        self._whole = adapted.get_base_model()
        self._whole.config.use_cache = False
        self._at_once = at_once
        config = self._whole.config
        self._share = can_share(config.to_dict()) and config._attn_implementation == "sdpa"  # takes any mask
        if recompute:
            self._whole.activation_checkpointing_enable(
                activation_checkpointing_kwargs={"use_reentrant": False}
            )
        self._head = self._whole.get_output_embeddings().weight
        self.device = self._whole.get_input_embeddings().weight.device
        self._rows = _logit_rows(len(self._head), self.device.type)
        self.parameters = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
        self._mixed = self._head.dtype != torch.float32
        if self._mixed:  # autocast does it, without copies of what comes in
            for module in adapted.modules():
                if isinstance(module, BaseTunerLayer):
                    module.cast_input_dtype_enabled = False

    def gradients(self, sequences: Sequence[Tokens]) -> float:
        """Add the gradients of the mean loss over the counted tokens of `sequences`, and return that loss."""
        self.adapted.train()
        counted = _counted(sequences)
        total = 0.0
        for layout in self.layouts(sequences):
            loss = self._summed(layout)
            (loss / counted).backward()
            total += float(loss.detach())
        return total / counted

    def loss(self, sequences: Sequence[Tokens]) -> float:
        """Return the mean loss over the counted tokens of `sequences`, in nats."""
        self.adapted.eval()
        with torch.no_grad():
            total = sum(float(self._summed(layout)) for layout in self.layouts(sequences))
        return total / _counted(sequences)

    def layouts(self, sequences: Sequence[Tokens]) -> list[Layout]:
        """Return in which passes `sequences` are computed."""
        return layouts(sequences, self._at_once, share=self._share)

    def hidden(self, layout: Layout) -> torch.Tensor:
        """Return the last hidden states (n, hidden size) of the predictors of a layout."""
        placed: dict[str, torch.Tensor] = {}
        if layout.positions is not None and layout.sees is not None:
            placed["position_ids"] = torch.from_numpy(layout.positions)[None].to(self.device)
            placed["attention_mask"] = torch.from_numpy(layout.sees)[None, None].to(self.device)
        ids = torch.from_numpy(layout.ids).to(self.device)
        with self._numbers():
            hidden = self._whole.model(input_ids=ids, use_cache=False, **placed).last_hidden_state
        return hidden.flatten(0, 1)[torch.from_numpy(layout.predictors).to(hidden.device)]

    def _summed(self, layout: Layout) -> torch.Tensor:
        """Return the loss of one layout, summed over its counted tokens."""
        chosen = self.hidden(layout)
        targets = torch.from_numpy(layout.targets).to(chosen.device)
        with self._numbers():
            return _SummedLoss.apply(chosen.to(self._head.dtype), self._head, targets, self._rows)

    def _numbers(self) -> contextlib.AbstractContextManager[None]:
        if not self._mixed:
            return contextlib.nullcontext()
        mixed: contextlib.AbstractContextManager[None] = torch.autocast(
            self.device.type, dtype=self._head.dtype
        )
        return mixed


def _counted(sequences: Iterable[Tokens]) -> int:
    return sum(int(one.counts.sum()) for one in sequences)
