"""How a bench is asked follows from the kind of model, and can be said."""

from __future__ import annotations

import pytest
from examined import Examined

from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import UsageError
from qwen_cli.tasks.eval import protocol
from qwen_cli.tasks.eval.protocol import Protocol

USUAL = {True: 5, False: 0}


def chosen(model: str, wanted: str = "auto", **rest: object) -> Protocol:
    can = rest.pop("can", {})
    settings = {"shots": None, "samples": 1, "sampling": Sampling(), **rest}
    return protocol.choose(
        Examined(model=model, **can),  # type: ignore[arg-type]
        wanted=wanted, usual_shots=USUAL, **settings,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "can", "form", "shots"),
    [
        ("qwen3:8b-base", {}, "base", 5),
        ("Qwen3-8B-Base", {}, "base", 5),
        ("qwen2.5:7b", {}, "chat", 0),
        ("qwen3:8b", {"thinking": "switch"}, "thinking", 0),
        ("qwen3:4b-thinking", {"thinking": "always"}, "thinking", 0),
        ("qwen3.5:0.8b", {"thinking": "switch", "thinks_by_default": False}, "chat", 0),
        ("somebody's", {}, "chat", 0),
    ],
)
def test_it_follows_from_the_kind_of_model(model: str, can: dict[str, object], form: str, shots: int) -> None:
    how = chosen(model, can=can)
    assert (how.form, how.shots) == (form, shots)


def test_thinking_is_drawn_as_the_model_recommends_with_room_for_it() -> None:
    how = chosen("qwen3:8b", can={"thinking": "switch"})
    assert (how.sampling.temperature, how.sampling.max_tokens, how.thinking) == (None, 32_768, True)


def test_one_answer_is_greedy_and_several_are_drawn() -> None:
    assert chosen("qwen2.5:7b").sampling.temperature == 0.0
    drawn = chosen("qwen2.5:7b", samples=8).sampling
    assert (drawn.temperature, drawn.top_p) == (0.7, 0.8)
    assert chosen("qwen2.5:7b", samples=8, sampling=Sampling(temperature=1.0)).sampling.temperature == 1.0


def test_chat_with_a_model_that_can_think_is_without() -> None:
    assert chosen("qwen3:8b", "chat", can={"thinking": "switch"}).thinking is False


@pytest.mark.parametrize(
    ("wanted", "can", "told"),
    [
        ("thinking", {}, "does not think"),
        ("chat", {"thinking": "always"}, "always thinks"),
        ("nonsense", {}, "must be auto, base, lm-eval, chat, thinking, got 'nonsense'"),
    ],
)
def test_what_a_model_cannot_is_refused(wanted: str, can: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        chosen("qwen2.5:7b", wanted, can=can)


def test_it_is_told_in_words() -> None:
    assert chosen("qwen3:8b-base").words(True) == "5-shot · completion · log-probability"
    assert chosen("qwen2.5:7b").words(False) == "0-shot · chat · greedy"
    assert chosen("qwen2.5:7b", samples=4).words(False) == "0-shot · chat · sampled · 4 samples"
