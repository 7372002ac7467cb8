"""Damaged files: a whole one, with bytes changed, cut out, doubled, or numbers made extreme."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

# What lengths, counts and offsets break at: nothing, ends of signed and unsigned numbers of each size.
EXTREMES = tuple(
    number.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for number in (0, 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, (1 << 8 * width) - 1)
    for order in ("little", "big")
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds`, damaged in some places; most often near its begin, where headers are."""
    data = bytearray(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(1, 6))):
        reach = draw(st.sampled_from([16, 64, 512, max(1, len(data))]))
        at = draw(st.integers(0, min(reach, len(data))))
        kind = draw(st.sampled_from(["extreme", "byte", "insert", "cut", "double", "end"]))
        if kind == "extreme":
            value = draw(st.sampled_from(EXTREMES))
            data[at : at + len(value)] = value
        elif kind == "byte" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=12))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 200))]
        elif kind == "end":
            del data[at:]
    return bytes(data)
