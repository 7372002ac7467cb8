"""Checkpoints of layers that cannot go back: where they are made, which are kept, what an interrupt leaves.
`test_hybrids.py` has whole conversations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_models
import torch

from qwen_cli.engines.core.base import Message, Sampling, Usage
from qwen_cli.engines.transformers import checkpoints
from qwen_cli.engines.transformers.checkpoints import Checkpoints, parting_points
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.formats import parameters
from qwen_cli.models.hub.resolve import Weights

GREEDY = Sampling(temperature=0, max_tokens=6)
OPENS, SHOWN = 900, 901
ANSWER_BEGINS = 4  # tokens of "<|im_start|>assistant\n" in the small vocabulary


@pytest.fixture(scope="module", params=["linear", "sliding"])
def hybrid(
    request: pytest.FixtureRequest, starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Transformers]:
    folder = tmp_path_factory.mktemp("hybrid") / request.param
    if request.param == "sliding":
        fields: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
        small_models.make_wordy("Qwen2", folder, starter_safetensors, **fields)
    else:
        small_models.make_wordy("Qwen3_5", folder, starter_safetensors)
    weights = Weights("hybrid", folder, "safetensors", None)
    with Transformers(weights, dtype="fp32", context=2048, places=Places({"": "cpu"})) as engine:
        yield engine


def said(engine: Transformers, turns: list[Message]) -> tuple[str, Usage]:
    pieces = list(engine.chat(turns, sampling=GREEDY))
    assert pieces[-1].usage
    return "".join(piece.text for piece in pieces), pieces[-1].usage


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def known_after(usage: Usage) -> int:
    """Return the tokens that are computed when an answer has ended: nobody asked what follows its last."""
    return usage.prompt_tokens + usage.generated_tokens - 1


@pytest.mark.parametrize("where", ["prompt", "answer"])
def test_ctrl_c_between_two_layers_leaves_what_was_there(
    hybrid: Transformers, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [user("What is above?")]
    answer, first = said(hybrid, turns)
    turns += [{"role": "assistant", "content": answer}, user("And below?")]
    stream = hybrid.chat(turns, sampling=GREEDY)
    if where == "answer":
        next(stream)
    layers = getattr(hybrid.network.model, "language_model", hybrid.network.model).layers
    with monkeypatch.context() as patch:
        patch.setattr(layers[-1], "forward", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(stream)
    again, usage = said(hybrid, turns)
    expected = known_after(first) if where == "prompt" else usage.prompt_tokens - ANSWER_BEGINS
    assert usage.cached_tokens == expected
    hybrid.prefix_cache.clear()
    assert said(hybrid, turns)[0] == again


def test_a_closed_answer_is_gone_on_from(hybrid: Transformers) -> None:
    turns = [user("What is above?")]
    stream = hybrid.chat(turns, sampling=GREEDY)
    begun = next(stream).text + next(stream).text
    stream.close()
    computed = len(hybrid.prefix_cache.ids)
    turns += [{"role": "assistant", "content": begun}, user("Go on.")]
    answer, usage = said(hybrid, turns)
    assert usage.cached_tokens == computed
    hybrid.prefix_cache.clear()
    assert said(hybrid, turns)[0] == answer


def test_a_raw_prompt_is_there_when_it_comes_again(hybrid: Transformers) -> None:
    text = "The sun, the moon, the stars"
    hybrid.prefix_cache.clear()
    first = "".join(piece.text for piece in hybrid.complete(text, sampling=GREEDY))
    pieces = list(hybrid.complete(text, sampling=GREEDY))
    assert "".join(piece.text for piece in pieces) == first
    assert pieces[-1].usage and pieces[-1].usage.cached_tokens == pieces[-1].usage.prompt_tokens - 1


def test_prompts_of_a_batch_share_what_they_begin_with(hybrid: Transformers) -> None:
    """From the third on: the second shows where they part."""
    examples = "Two and two are four. Three and three are six. Four and four are eight. "
    hybrid.prefix_cache.clear()
    cached = []
    for question in ("Five and five", "Six and six", "Seven and seven"):
        pieces = list(hybrid.complete(examples + question, sampling=GREEDY))
        assert pieces[-1].usage
        cached.append(pieces[-1].usage.cached_tokens)
    assert cached[:2] == [0, 0] and cached[2] >= hybrid.count_tokens(examples) - 1
    hybrid.prefix_cache.clear()
    assert "".join(p.text for p in hybrid.complete(examples + question, sampling=GREEDY)) == "".join(
        piece.text for piece in pieces
    )


def test_a_long_text_has_checkpoints_on_the_way(
    hybrid: Transformers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "STRIDE", 64)
    monkeypatch.setattr(hybrid.prefix_cache, "_chunk", 32)
    words = [f"word {number}" for number in range(100)]
    hybrid.prefix_cache.clear()
    said(hybrid, [user(" ".join(words))])
    words[80] = "another"
    answer, usage = said(hybrid, [user(" ".join(words))])
    assert 0 < usage.prompt_tokens * 0.8 - usage.cached_tokens < 2 * 64
    hybrid.prefix_cache.clear()
    assert said(hybrid, [user(" ".join(words))])[0] == answer


def test_a_sliding_window_is_not_saved(hybrid: Transformers, tmp_path: Path) -> None:
    said(hybrid, [user("What is above?")])
    slides = "sliding_attention" in (hybrid.network.config.get_text_config().layer_types or ())
    assert hybrid.capabilities.state is not slides
    assert hybrid.save_state(tmp_path / "state.kv") is not slides


class TestPartingPoints:
    def points(self, *prompt: int, start: int = 0) -> list[int]:
        return parting_points(prompt, start, OPENS, SHOWN)

    def test_the_last_two_messages(self) -> None:
        prompt = [OPENS, *[1] * 9, OPENS, *[2] * 9, OPENS, 3]
        assert self.points(*prompt) == [10, 20]

    def test_behind_the_system_prompt(self) -> None:
        turn = [OPENS, *[2] * 9]
        assert self.points(OPENS, *[1] * 11, *turn, *turn, *turn, OPENS, 3) == [12, 32, 42]

    def test_one_that_begins_where_the_cache_ends_is_there_already(self) -> None:
        prompt = [OPENS, *[1] * 9, OPENS, *[2] * 9, OPENS, 3]
        assert self.points(*prompt, start=8) == [20]

    def test_behind_the_last_picture(self) -> None:
        prompt = [OPENS, *[1] * 9, OPENS, 1, SHOWN, 2, SHOWN, 3, OPENS, 4]
        assert self.points(*prompt) == [10, 15, 16]

    def test_the_whole_of_a_raw_text(self) -> None:
        assert self.points(1, 2, 3, 4) == [3]
        assert self.points(OPENS, 1, 2, 3, start=2) == [3]

    def test_none_where_nothing_is_computed_before_them(self) -> None:
        assert self.points(OPENS, 1, 2) == []
        assert self.points(1) == []

    def test_where_it_parted_from_the_one_before(self) -> None:
        prompt = [OPENS, *[1] * 40, OPENS, 2]
        assert parting_points(prompt, 4, OPENS, SHOWN, 30) == [30, 41]
        assert parting_points(prompt, 25, OPENS, SHOWN, 30) == [41]  # a few tokens more are as quick

    def test_without_such_tokens(self) -> None:
        assert parting_points([1, 2, 3], 0, None, None) == [2]


class TestBudget:
    def state(self, size: int) -> list[Any]:
        """One layer that cannot go back, with a state of so many bytes."""
        return [SimpleNamespace(state={0: torch.zeros(size, dtype=torch.uint8)})]

    def test_large_states_are_few_and_small_ones_not_endless(self) -> None:
        assert parameters.checkpoints(157_000_000) == 6
        assert parameters.checkpoints(50 * 2**20) == 10
        assert parameters.checkpoints(1_000) == 32
        assert parameters.checkpoints(0) == 0

    def test_the_first_and_the_latest_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parameters, "_CHECKPOINT_BYTES", 7_000)
        kept = Checkpoints()
        for length in range(20, 1_020, 20):
            kept.take(length, self.state(1_000))
        lengths = [one.length for one in kept.kept]
        assert len(lengths) == 7
        assert lengths[0] == 20 and lengths[-2:] == [980, 1_000]
        assert sum(one.size for one in kept.kept) <= 7_000
        # Further back they are further apart.
        gaps = [after - before for before, after in pairwise(lengths)]
        assert gaps == sorted(gaps, reverse=True)

    def test_a_checkpoint_is_a_copy(self) -> None:
        layers = self.state(4)
        kept = Checkpoints()
        kept.take(10, layers)
        layers[0].state[0].fill_(7)
        assert kept.restore(12, layers, ["cpu"]) == 10
        assert not layers[0].state[0].any()
        with torch.inference_mode():
            layers[0].state[0].fill_(8)
        assert kept.restore(10, layers, ["cpu"]) == 10
        assert not layers[0].state[0].any()
        assert kept.restore(9, layers, ["cpu"]) == 0
