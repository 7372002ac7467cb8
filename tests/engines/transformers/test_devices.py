"""What matters on GPUs alone, without one: where scores are, how much is kept and computed at once."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qwen_cli.engines.core.base import Completion, Sampling, Usage
from qwen_cli.engines.transformers import decode, load, prefix_cache, vision
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.engines.transformers.vision import Features, VisionEncoder
from qwen_cli.errors import EngineError


class Spread:
    """A model whose inputs go to one device ("meta" here) and whose output layer is on another."""

    device, dtype, hf_device_map = torch.device("meta"), torch.bfloat16, {"": "meta"}

    def __init__(self) -> None:
        self.model = SimpleNamespace(language_model=self._states)

    def _states(self, **given: Any) -> tuple[torch.Tensor]:
        return (torch.zeros(1, 3, 4),)

    def lm_head(self, states: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 9, dtype=torch.bfloat16)

    def forward(self, past_key_values: Any = None) -> None: ...

    def __call__(self, **given: Any) -> Any:
        return SimpleNamespace(logits=torch.zeros(1, 3, 9, dtype=torch.bfloat16))


def test_scores_are_where_tokens_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Spread()
    monkeypatch.setattr(prefix_cache, "_cache_name", lambda model: "cache")
    for scores in (
        prefix_cache._forward(model, torch.tensor([[1, 2, 3]]), None),
        prefix_cache._see(model, {}, None),
    ):
        assert (scores.device.type, scores.dtype) == ("meta", torch.float32)


def test_what_was_encoded_is_kept_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder: Any = VisionEncoder.__new__(VisionEncoder)
    encoder._kept = OrderedDict()
    encoder._encoded = lambda kind, pixels, grid: Features(torch.zeros(10, 4), (torch.zeros(10, 4),))

    def seen(key: int) -> None:
        encoder.features(SimpleNamespace(key=key, kind="image", slices=lambda: [(None, (1, 1, 1))]))

    monkeypatch.setattr(vision, "_KEPT", 700)  # two of 320 bytes
    for key in (1, 2, 1, 3):
        seen(key)
    assert list(encoder._kept) == [1, 3]
    monkeypatch.setattr(vision, "_KEPT", 100)  # less than one: that of now is kept
    seen(4)
    assert list(encoder._kept) == [4]


class Sampling16:
    """An engine that is asked for several samples, on a device with room for `most` at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, free: int = 1 << 40) -> None:
        self.at_once: list[tuple[int, int | None]] = []
        self.engine: Any = Transformers.__new__(Transformers)
        self.engine.__dict__ |= {
            "device": torch.device("cpu"), "network": None, "prefix_cache": SimpleNamespace(clear=int),
            "vision_encoder": None, "audio_encoder": None, "_kv_bytes": 1_000,
        }  # fmt: skip
        monkeypatch.setattr(Transformers, "_context", 1_000, raising=False)
        monkeypatch.setattr(Transformers, "_prompt", lambda self, text, visuals: ([1] * 100, None))
        monkeypatch.setattr(Transformers, "_answer", lambda self, *given: None)
        monkeypatch.setattr(load, "free_memory", lambda device: free)
        monkeypatch.setattr(load, "no_memory", lambda *given: EngineError("no memory"))

        def together(
            cache: Any, prompt: Any, shown: Any, answers: list[Any], choice: Any, started: float
        ) -> Any:
            self.at_once.append((len(answers), choice._random.initial_seed()))
            if len(answers) > most:
                raise RuntimeError("CUDA out of memory. Tried to allocate 24.00 GiB")
            return [Completion("", "", Usage(), 0.0)] * len(answers)

        monkeypatch.setattr(decode, "together", together)

    def sample(self, n: int) -> int:
        settings = Sampling(temperature=1.0, seed=7, max_tokens=100)
        return len(self.engine._together("x", (), n, settings, False, None))


class TestSamples:
    """Each has a copy of the prompt's keys and values."""

    def test_memory_that_runs_out_halves_how_many_are_computed_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = Sampling16(monkeypatch, most=5)
        assert one.sample(16) == 16
        assert [rows for rows, _ in one.at_once] == [16, 8, 4, 4, 8, 4, 4]
        seeds = [seed for rows, seed in one.at_once if rows == 4]
        assert seeds == [7, 11, 15, 19]  # none is drawn twice

    def test_one_that_does_not_fit_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(EngineError, match="no memory"):
            Sampling16(monkeypatch, most=0).sample(4)

    def test_as_many_as_half_of_what_is_free_holds_begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # 200 tokens of 1,000 bytes, grown by half: 300,000 a sample.
        one = Sampling16(monkeypatch, most=16, free=2 * 7 * 300_000)
        assert one.sample(16) == 16
        assert [rows for rows, _ in one.at_once] == [7, 7, 2]
