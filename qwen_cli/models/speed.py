"""How many tokens a second weights can be read, or multiplied, at.

One token of text needs every active weight once. Where memory is slower than the processor that is the whole
story; on a CPU some formats are slower than memory: `benchmarks/plan.py` compares what follows from their
rates with what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_cli.models import weight_formats

if TYPE_CHECKING:
    from qwen_cli.models.described import Described
    from qwen_cli.models.hardware import Machine


@dataclass(frozen=True)
class Rate:
    """Bytes of weights that one core gets through in a second, and the seconds that a layer takes beside that
    (Python's part, and what is no matrix)."""

    weights: float
    layer: float = 0.0


# With the starter model (494 million weights a token, 24 layers) on Zen 4 cores (AVX-512, 2.6 GHz): xllamacpp
# 2026.10.11549; torch 2.14, transformers 5.24, bitsandbytes 0.50. llamacpp and bf16 are set by measured
# decoding; the others are estimates from the processor time of one core.
_RATES = {
    "llamacpp": Rate(9.6e9),
    "bf16": Rate(11.0e9, 0.5e-3),
    "fp16": Rate(2.0e9, 0.5e-3),
    "fp32": Rate(23.0e9, 0.5e-3),
    "8bit": Rate(2.5e9, 0.5e-3),
    "4bit": Rate(8.0e9, 0.5e-3),
}


def on_processor(
    machine: Machine, described: Described, form: str, *, read: int, kept: int, rest: str
) -> float:
    """Tokens a second. `read` are the bytes of weights for a token, `kept` those of the cache; what
    bitsandbytes leaves alone is in `rest`."""
    rate = _RATES[form] if form in weight_formats.FOR_TRANSFORMERS else _RATES["llamacpp"]
    parts = [(read, rate)]
    if form in weight_formats.BITSANDBYTES:
        left = weight_formats.left_alone(described.counted, rest)
        parts = [(read - left, rate), (left, _RATES[rest])]
    computing = sum(count / (each.weights * machine.cores) for count, each in parts)
    reading = (read + kept) / machine.bandwidth
    return 1 / (max(reading, computing) + rate.layer * described.counted.layers)
