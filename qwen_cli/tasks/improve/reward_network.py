"""A model with a head that says how good a solution is: scores, the loss over pairs, its gradients.

Imports torch at the top: only `reward` may import this, late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qwen_cli.tasks.train.batches import Layout
from qwen_cli.tasks.train.compute import Network
from qwen_cli.tasks.train.sequences import Tokens


@dataclass(frozen=True)
class Group:
    """The solutions of one problem as `sequences`, the problem before each; `right` (n; bool) says which of
    them are."""

    sequences: tuple[Tokens, ...]
    right: np.ndarray

    @property
    def pairs(self) -> int:
        """Return how many pairs of a right and a wrong solution there are."""
        right = int(self.right.sum())
        return right * (len(self.right) - right)

    @property
    def tokens(self) -> int:
        """Return the tokens of all sequences."""
        return sum(map(len, self.sequences))


def head(hidden: int) -> torch.nn.Sequential:
    """Return the head of Qwen2.5-Math-RM: two linear layers with ReLU between them. The last begins with
    zeros: at first every solution is as good as another."""
    made = torch.nn.Sequential(torch.nn.Linear(hidden, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1))
    torch.nn.init.zeros_(made[2].weight)
    torch.nn.init.zeros_(made[2].bias)
    return made


def listwise(scores: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the loss of one problem: −1/(k(n−k)) Σ log σ(r⁺ − r⁻) over all pairs of one of its k right
    solutions and one of the n−k others (arXiv:2409.12122, equation 1). `scores` and `right` have n."""
    return -torch.nn.functional.logsigmoid(scores[right][:, None] - scores[~right][None]).mean()


def ordered(scores: torch.Tensor, right: torch.Tensor) -> float:
    """Return the share of a problem's pairs in which the right solution has the higher score; equal scores
    count half."""
    apart = scores[right][:, None] - scores[~right][None]
    return float((apart > 0).double().mean() + (apart == 0).double().mean() / 2)


class RewardNetwork:
    """The `network`, whose adapter learns, with a head (on its device, float32) on the hidden state of a
    sequence's last token. The head learns too."""

    def __init__(self, network: Network, head: torch.nn.Sequential) -> None:
        self.network, self.head = network, head.to(network.device).float()
        self.parameters = network.parameters | {
            f"score.{name}": parameter for name, parameter in self.head.named_parameters()
        }

    def scores(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        """Return the score (n; float32, on the processor) of each sequence."""
        self.network.adapted.eval()
        with torch.no_grad():
            return self._gathered([(one, self._scored(one)) for one in self._layouts(sequences)])

    def gradients(self, groups: Sequence[Group]) -> float:
        """Add the gradients of the mean loss over `groups`, and return that loss.

        The loss of a problem needs all of its scores. Where they are not computed together, each is computed
        twice: once for the loss and its slope, once for the gradient with that slope."""
        self.network.adapted.train()
        layouts = self._layouts([one for group in groups for one in group.sequences])
        together = len(layouts) == 1
        with torch.set_grad_enabled(together):
            parts = [(layout, self._scored(layout)) for layout in layouts]
        scores = self._gathered(parts).requires_grad_()
        loss = self._mean(scores, groups)
        loss.backward()
        slopes = scores.grad
        assert slopes is not None, "every group has a pair"
        for layout, scored in parts:
            again = scored if together else self._scored(layout)
            again.backward(slopes[torch.from_numpy(layout.targets)].to(again.device))
        return float(loss.detach())

    def _mean(self, scores: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
        parts = scores.split([len(group.right) for group in groups])
        losses = [
            listwise(part, torch.from_numpy(group.right)) for part, group in zip(parts, groups, strict=True)
        ]
        return torch.stack(losses).mean()

    def _layouts(self, sequences: Sequence[Tokens]) -> list[Layout]:
        """Return how `sequences` are computed: each has one more token, its number, which is what counts, so
        that the predictors of a layout are the last tokens and its targets tell whose they are."""
        return self.network.layouts([_numbered(one, number) for number, one in enumerate(sequences)])

    def _scored(self, layout: Layout) -> torch.Tensor:
        scored: torch.Tensor = self.head(self.network.hidden(layout).to(self.network.device).float())
        return scored[:, 0]

    def _gathered(self, parts: Sequence[tuple[Layout, torch.Tensor]]) -> torch.Tensor:
        """Return the scores of all layouts in the order of their sequences, without what led to them."""
        scores = torch.empty(sum(len(layout.targets) for layout, _ in parts))
        for layout, scored in parts:
            scores[torch.from_numpy(layout.targets)] = scored.detach().float().cpu()
        return scores


def _numbered(one: Tokens, number: int) -> Tokens:
    counts = np.zeros(len(one) + 1, bool)
    counts[-1] = True
    return Tokens(np.append(one.ids, np.int32(number)), counts, number)
