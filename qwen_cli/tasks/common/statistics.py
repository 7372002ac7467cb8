"""What a share of right answers tells: its interval, samples of one problem, two models on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

_Z = 1.959964  # 97.5 % of the normal distribution


def interval(passed: float, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927). Parts of a point make it wider than it need be."""
    if not total:
        return 0.0, 1.0
    share = passed / total
    centre = share + _Z * _Z / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + _Z * _Z / (4 * total * total))
    scale = 1 + _Z * _Z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(shares: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of several items' shares: samples of one item are no items of
    their own (Miller, 2024, arXiv:2411.00640)."""
    if len(shares) < 2:
        return 0.0, 1.0
    spread = _Z * math.sqrt(variance(shares) / len(shares))
    return max(0.0, fmean(shares) - spread), min(1.0, fmean(shares) + spread)


def pass_at(k: int, samples: int, right: int) -> float:
    """Return the chance that one of `k` samples is right where `right` of `samples` were (Chen et al., 2021,
    arXiv:2107.03374, equation 1)."""
    if k > samples:
        raise ValueError(f"{k} of {samples} samples")
    if samples - right < k:
        return 1.0
    return 1.0 - float(math.prod((samples - right - i) / (samples - i) for i in range(k)))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return how likely a difference at least so large is by chance, where so many items were right in one
    of two runs alone: McNemar's exact test, both sides."""
    differing = only_first + only_second
    if not differing:
        return 1.0
    fewer = min(only_first, only_second)
    tail = sum(math.comb(differing, i) for i in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**differing))
