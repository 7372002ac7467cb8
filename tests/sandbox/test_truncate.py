"""Keeping the ends of a text that may be endless."""

from __future__ import annotations

import pytest

from qwen_cli.sandbox.truncate import Ends, cut


def test_a_short_text_stays() -> None:
    assert cut("abc", 3) == "abc"


@pytest.mark.parametrize("most", [1, 40, 100, 399])
def test_a_long_text_loses_its_middle(most: int) -> None:
    shown = cut("a" * 200 + "b" * 200, most)
    assert f"{400 - most:,} characters left out" in shown
    if most >= 100:
        assert len(shown) == most
        assert shown.startswith("a")
        assert shown.endswith("b")


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_a_stream_gives_the_same_however_it_comes(piece: int) -> None:
    data = ("zwölf Boxkämpfer " * 3000).encode()
    ends = Ends(200)
    for start in range(0, len(data), piece):
        ends.feed(data[start : start + piece])
    whole = Ends(200)
    whole.feed(data)
    assert ends.total == len(data)
    assert ends.text() == whole.text()
    assert ends.text().startswith("zwölf")
    assert len(ends.text()) < 260


def test_a_stream_keeps_little() -> None:
    ends = Ends(100)
    for _ in range(1000):
        ends.feed(bytes(65536))
    assert sum(map(len, (ends._head, ends._tail))) < 200_000
