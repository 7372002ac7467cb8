"""What the fields of a request are taken for, and what is refused."""

from __future__ import annotations

import pytest

from qwen_cli.serve.api import params
from qwen_cli.serve.api.errors import Refused


@pytest.mark.parametrize(
    ("given", "taken"),
    [(None, ()), ("end", ("end",)), (["a", "b"], ("a", "b")), ([str(n) for n in range(256)], None)],
)
def test_stop_strings_are_one_or_several(given: object, taken: tuple[str, ...] | None) -> None:
    assert params.stops(given) == (tuple(map(str, range(256))) if taken is None else taken)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([""], "a stop string is empty or no text"),
        ([1], "a stop string is empty or no text"),
        ([f"s{n}" for n in range(50_000)], "50,000 stop strings are more than 256"),
        (["a" * 60_000, "b" * 6_000], "stop strings of 66,000 characters are longer than 65,536 together"),
    ],
)
def test_too_many_and_too_long_ones_are_refused(given: object, said: str) -> None:
    with pytest.raises(Refused, match=said):
        params.stops(given)
