"""How many tokens a second weights can be read, or multiplied, at.

One token of text needs every active weight once. Where memory is slower than the processor that is the whole
story; on a CPU most formats are slower than memory. How fast the cores get through them is told by what one
core multiplies (`measured.multiplying`), which is measured on the machine, and by what an engine needs of
that for a byte of weights. `benchmarks/plan.py` compares what follows with what is measured, on one core and
on several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_cli.models.formats import weight_formats

if TYPE_CHECKING:
    from qwen_cli.models.formats.parameters import Counted
    from qwen_cli.models.planning.describe import Described
    from qwen_cli.models.planning.hardware import Machine


@dataclass(frozen=True)
class Rate:
    """What an engine does in the time of one multiply-add of `measured.multiplying`: `weights` are the bytes
    of weights that a core gets through, `cache` its multiply-adds of attention. Beside that `layer` are the
    seconds that a layer takes on one core (Python's part, and what is no matrix), `token` those of a token
    whatever the model. `alone` says that one core does it whatever the number. `prompt` is the share of
    `measured.multiplying` at which many tokens are read together, whose weights are read once; None where
    that is not known."""

    weights: float
    cache: float
    layer: float = 0.0
    token: float = 0.0
    alone: bool = False
    prompt: float | None = None


# Of safetensors fitted to the starter model (494 million weights a token, 24 layers) with 16 to 4,000 tokens
# of cache on one and on two Zen 4 cores (AVX-512, 46.5e9 multiply-adds a second each): torch 2.14,
# transformers 5.24, bitsandbytes 0.50. fp16, and `weights` of 8bit and 4bit, are from single products in the
# shapes of the starter and of 4096 × 4096 and 12288 × 4096: in the starter the latter hide behind what Python
# does. torch's MKL multiplies a float32 matrix with a vector on one core, whatever their number.
# `prompt`: 1,228 tokens of the starter at once, in the time of the processor on a machine that was busy.
_RATES = {
    "bf16": Rate(0.435, 0.26, layer=0.6e-3, prompt=0.4),
    "fp16": Rate(0.43, 0.09, layer=0.6e-3),
    "fp32": Rate(0.325, 0.26, layer=0.6e-3, alone=True, prompt=0.6),
    "8bit": Rate(0.37, 0.26, layer=2.8e-3),
    "4bit": Rate(0.345, 0.26, layer=0.85e-3),
}
# bfloat16 beside integers is multiplied by oneDNN (engines/one_token.py).
_BF16_BESIDE_8BIT = Rate(0.20, 0.26)
# Of llama.cpp (xllamacpp 2026.10.11549, made for AVX2), fitted to random weights in the shapes of a 0.5B and
# a 1.5B as Q4_K_M, Q6_K and Q8_0 on one Zen 4 core (44e9 multiply-adds a second), in its time: prompts of 256
# and 128 tokens and what follows (`benchmarks/plan.py` with a shape). `cache` lies between 0.10, the
# starter's with up to 4,000 tokens, and 0.06, behind 8,192 on a machine whose memory others read too. Blocks
# of 256 are repacked and multiplied as integers, which beats float32; those of 32 with five bits are slowest.
_OF_256, _OF_8_BITS, _OF_32 = (
    Rate(0.46, 0.085, token=11e-3, prompt=1.1),
    Rate(0.44, 0.085, token=11e-3, prompt=0.8),
    Rate(0.36, 0.085, token=11e-3, prompt=0.67),
)


# Prompts by a llama-server that was built for AVX-512, against that wheel: 1.37 to 1.52 times with a 0.5B and
# a 1.5B (docs/engines.md). What is written is held up by memory.
_WIDE = 1.4


def _rate(form: str, counted: Counted) -> Rate:
    """Return what the engine of a form does. K quantizations of rows that are no multiple of 256 are packed
    in blocks of 32 (`gguf_quants`), those of six bits in eight."""
    if form in weight_formats.FOR_TRANSFORMERS:
        return _RATES[form]
    name, whole = form.upper(), counted.hidden % 256 == 0
    if "Q8_0" in name or ("Q6_K" in name and not whole):
        return _OF_8_BITS
    return _OF_256 if "_K" in name and whole else _OF_32


def of_prompt(machine: Machine, described: Described, form: str, *, tokens: int) -> float | None:
    """Return the tokens a second at which a processor reads a prompt of so many; None where that is not
    known. Each token is multiplied with every weight that takes part in it, and with those before it."""
    counted = described.counted
    rate = _rate(form, counted)
    if rate.prompt is None:
        return None
    cache = counted.cache
    attention = cache.full * counted.query_heads * cache.head_dim * tokens  # keys and values of half of them
    text = sum(tensor.active for tensor in counted.tensors if tensor.name != "token_embd")
    wider = _WIDE if machine.wide and form not in weight_formats.FOR_TRANSFORMERS else 1
    return wider * rate.prompt * machine.cores * machine.multiplying / (text + attention)


def on_processor(
    machine: Machine, described: Described, form: str, *, read: int, kept: int, rest: str
) -> float:
    """Return the tokens a second. `read` are the bytes of weights for a token, `kept` those of the cache;
    what bitsandbytes leaves alone is in `rest`."""
    counted, known = described.counted, form in weight_formats.FOR_TRANSFORMERS
    rate = _rate(form, counted)
    value = weight_formats.PLAIN.get(form, weight_formats.PLAIN[rest]) if known else 2
    parts = [(read, rate)]
    if form in weight_formats.BITSANDBYTES:
        left = weight_formats.left_alone(counted, rest)
        beside = _BF16_BESIDE_8BIT if (form, rest) == ("8bit", "bf16") else _RATES[rest]
        parts = [(read - left, rate), (left, beside)]
    weights = sum(count / each.weights / (1 if each.alone else machine.cores) for count, each in parts)
    # Each value of the cache is multiplied once for every head that shares it.
    attention = kept / value * counted.query_heads / max(1, counted.cache.kv_heads)
    computing = (weights + attention / rate.cache / machine.cores) / machine.multiplying
    reading = (read + kept) / machine.bandwidth
    return 1 / (max(reading, computing) + rate.layer * counted.layers + rate.token)
