"""What an engine can do, and what one does that can do no more than it must."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Engine,
    EngineBase,
    Message,
    Piece,
    Reuse,
    Sampling,
    Stream,
)
from qwen_cli.errors import EngineError


class Least(EngineBase):
    """Has what `EngineBase` leaves to it, and counts how often it is closed."""

    name, model = "least", "none"
    capabilities = Capabilities(context=None)
    closed = 0

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> Stream:
        yield Piece("yes")

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        yield Piece("yes")

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> list[Completion]:
        return []

    def count_tokens(
        self, prompt: str | Sequence[Message], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        return 1

    def close(self) -> None:
        self.closed += 1


def test_it_is_an_engine_whose_rest_does_no_harm(tmp_path: Path) -> None:
    engine: Engine = Least()
    assert engine.defaults == engine.plain_defaults == Sampling()
    assert engine.cached_tokens == 0
    assert not engine.save_state(tmp_path / "kv") and not engine.load_state(tmp_path / "kv")
    assert list(tmp_path.iterdir()) == []
    engine.interrupt()
    engine.prepare([{"role": "user", "content": "Hello"}])


def test_what_it_cannot_is_an_error_with_what_to_do() -> None:
    engine: Engine = Least()
    with pytest.raises(EngineError, match="Use chat"):
        engine.render([])
    with pytest.raises(EngineError, match="Use complete"):
        engine.infill("a", "b")


def test_it_answers_one_request_at_a_time() -> None:
    engine = Least()
    assert engine.lanes(8) == [engine]
    serving = engine.serving_lanes(8)
    assert (serving.engine, list(serving.lanes), serving.room, serving.copy) == (engine, [engine], None, None)
    serving.close()
    assert engine.closed == 1


def test_it_is_closed_at_the_end_of_its_block() -> None:
    engine = Least()
    with engine as entered:
        assert entered is engine
    assert engine.closed == 1


@pytest.mark.parametrize("thinking", [None, "switch", "always"])
@pytest.mark.parametrize("fim", [False, True])
@pytest.mark.parametrize("unverified", [False, True])
def test_what_is_not_known_of_a_server_s_model_may_be_asked_for(
    thinking: Any, fim: bool, unverified: bool
) -> None:
    can = Capabilities(None, thinking=thinking, fim=fim, unverified=unverified)
    assert can.may_think == (unverified or thinking is not None)
    assert can.may_fim == (unverified or fim)
