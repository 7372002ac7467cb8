"""The learning rate of each step."""

from __future__ import annotations

import math

_LEAST = 0.1  # of the highest, at the end


def learning_rate(step: int, steps: int, highest: float, warmup: float) -> float:
    """Return the rate of `step` (from 0) of `steps`: it rises evenly over the share `warmup` of them, then
    falls along half a cosine to a tenth (https://arxiv.org/abs/1608.03983, without restarts)."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return highest * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return highest * (_LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * done)) / 2)
