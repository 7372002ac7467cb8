"""What large requests took goes back to the system."""

from __future__ import annotations

import pytest

from qwen_cli.serve import memory
from tests.serve.played import Played, serving


@pytest.mark.parametrize(("size", "due"), [(1_000, False), (3_000_000, True)])
def test_once_after_a_large_body(size: int, due: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    memory._last = None
    monkeypatch.setattr(memory, "_SETTLED", 1e9)
    with serving(Played()) as here:
        here.post("/tokenize", {"content": "a" * size})
    assert not memory.give_back()  # it may still be in use
    monkeypatch.setattr(memory, "_SETTLED", 0.0)
    assert memory.give_back() is due
    assert not memory.give_back()
