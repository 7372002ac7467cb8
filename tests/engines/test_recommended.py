"""What a `None` in a request stands for: the files' settings, the card's where they say nothing, and those
without thinking where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.core.base import Sampling, recommended, usual
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.parsing.think_tags import is_left_out
from qwen_cli.engines.transformers import engine as engine_module
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub.resolve import Weights
from tests.engines.llamacpp.test_engine import THINKING_TEMPLATE

HELLO = [{"role": "user", "content": "hello"}]
ONE = Sampling(max_tokens=1)
# (thinking, whether it is off)
WAYS = [(None, False), (True, False), (512, False), (False, True), (0, True)]
# github.com/QwenLM/Qwen3, "Best Practices" of the model cards.
THINKING, PLAIN = (0.6, 0.95), (0.7, 0.8)


CARD = {"temperature": 0.7, "top_p": 0.8, "presence_penalty": 1.5}


class TestSources:
    def test_the_cards_presence_penalty_survives_files_that_lack_it(self) -> None:
        file = {"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.0}
        assert recommended(CARD, file, {"min_p": 0.5}) == Sampling(
            temperature=0.6, top_p=0.8, top_k=20, repetition_penalty=1.0, presence_penalty=1.5
        )

    def test_a_file_that_names_one_has_it(self) -> None:
        assert recommended(CARD, {"presence_penalty": 0.0}, {}).presence_penalty == 0.0

    def test_the_unknown_are_for_models_of_which_nothing_is_known(self) -> None:
        assert recommended(None, {}, {"temperature": 0.8}) == Sampling(temperature=0.8)
        assert recommended(None, {"top_k": 3}, {"temperature": 0.8}) == Sampling(top_k=3)

    def test_of_a_folder_with_its_card(self, starter_safetensors: Path, tmp_path: Path) -> None:
        folder = small_models.make_seeing("Qwen3VL", tmp_path / "vl", starter_safetensors)
        known = lookup.find("qwen3-vl:2b-instruct")
        with Transformers(Weights("vl", folder, "safetensors", known), dtype="fp32") as engine:
            assert engine.defaults.presence_penalty == 1.5
            assert engine.plain_defaults == engine.defaults


@pytest.mark.parametrize(
    ("prompt", "off"),
    [
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", True),
        ("<|im_start|>assistant\n<think></think>\n\nSo far the answer", True),
        ("<|im_start|>assistant\n", False),
        ("<|im_start|>assistant\n<think>\n", False),
        ("<|im_start|>assistant\n<think>\nIt is 4.\n</think>\n\nFour", False),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n4<|im_end|>\n<|im_start|>assistant\n", False),
        ("<think>\n\n</think>\n\n", False),
        ("def f(x):", False),
    ],
)
def test_a_prompt_tells_whether_thinking_is_left_out(prompt: str, off: bool) -> None:
    assert is_left_out(prompt) is off


@pytest.fixture(scope="module")
def switching(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transformers]:
    folder = tmp_path_factory.mktemp("switch") / "model"
    small_models.make("Qwen3", folder, starter_safetensors, small_models.SWITCH)
    with Transformers(
        Weights("Qwen3", folder, "safetensors", lookup.find("qwen3:8b")), context=256
    ) as engine:
        yield engine


class TestTransformers:
    @pytest.fixture
    def chosen(self, monkeypatch: pytest.MonkeyPatch) -> list[Sampling]:
        """What the tokens are chosen by."""
        from qwen_cli.engines.transformers import batching

        seen: list[Sampling] = []

        class Watched(engine_module.Sampler):
            def __init__(self, sampling: Sampling, *rest: Any, **more: Any) -> None:
                seen.append(sampling)
                super().__init__(sampling, *rest, **more)

        monkeypatch.setattr(engine_module, "Sampler", Watched)
        monkeypatch.setattr(batching, "Sampler", Watched)
        return seen

    @pytest.mark.parametrize(("thinking", "off"), WAYS)
    def test_every_way_to_ask(
        self, switching: Transformers, chosen: list[Sampling], thinking: bool | int | None, off: bool
    ) -> None:
        from qwen_cli.engines.transformers.batching import batch

        list(switching.chat(HELLO, sampling=ONE, thinking=thinking))
        switching.sample(HELLO, 2, sampling=ONE, thinking=thinking)
        prompt = switching.render(HELLO, thinking=thinking)
        list(switching.complete(prompt, sampling=ONE))
        list(switching.complete(f"{prompt}So", sampling=ONE))
        shared = batch(switching._loaded, 2)
        assert shared
        try:
            (lane, _) = shared.lanes(2)
            list(lane.chat(HELLO, sampling=ONE, thinking=thinking))
            lane.sample(HELLO, 1, sampling=ONE, thinking=thinking)
        finally:
            shared.close()
        assert len(chosen) == 6
        assert {(s.temperature, s.top_p) for s in chosen} == {PLAIN if off else THINKING}
        assert usual(switching, thinking).temperature == chosen[0].temperature

    def test_what_is_given_counts_most(self, switching: Transformers, chosen: list[Sampling]) -> None:
        list(switching.chat(HELLO, sampling=Sampling(top_p=0.5, max_tokens=1), thinking=False))
        assert (chosen[0].temperature, chosen[0].top_p) == (0.7, 0.5)
        list(switching.chat(HELLO, sampling=Sampling(temperature=0, max_tokens=1), thinking=False))
        assert chosen[1] == Sampling(temperature=0, max_tokens=1)


@pytest.fixture(scope="module")
def thinker(starter_gguf: Path) -> Iterator[LlamaCpp]:
    weights = Weights("Qwen3", starter_gguf, "gguf", lookup.find("qwen3:8b"))
    with LlamaCpp(weights, context=512, chat_template=THINKING_TEMPLATE) as engine:
        yield engine


class TestLlamaCpp:
    @pytest.fixture
    def asked(self, thinker: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """What llama.cpp is asked."""
        seen: list[dict[str, Any]] = []
        stream = type(thinker.slot).stream

        def watched(slot: Any, handler: str, request: Any) -> Any:
            seen.append(request)
            return stream(slot, handler, request)

        monkeypatch.setattr(type(thinker.slot), "stream", watched)
        return seen

    @pytest.mark.parametrize(("thinking", "off"), WAYS)
    def test_every_way_to_ask(
        self, thinker: LlamaCpp, asked: list[dict[str, Any]], thinking: bool | int | None, off: bool
    ) -> None:
        expected = thinker.plain_defaults if off else thinker.defaults
        assert thinker.plain_defaults.temperature == 0.7
        list(thinker.chat(HELLO, sampling=ONE, thinking=thinking))
        thinker.sample(HELLO, 2, sampling=ONE, thinking=thinking)
        prompt = thinker.render(HELLO, thinking=thinking)
        list(thinker.complete(prompt, sampling=ONE))
        thinker.sample(f"{prompt}So", 1, sampling=ONE)
        list(thinker.lanes(2)[1].chat(HELLO, sampling=ONE, thinking=thinking))
        one_by_one = thinking == 512  # the starter has no token for the tag that llama.cpp looks for
        assert len(asked) == 5 + one_by_one
        assert {(r["temperature"], r["top_p"]) for r in asked} == {(expected.temperature, expected.top_p)}

    def test_a_model_that_does_not_think_by_itself(self, starter_gguf: Path) -> None:
        """Nothing said is no thinking there, and so is what is drawn by."""
        silent = THINKING_TEMPLATE.replace("enable_thinking is defined and enable_thinking is false", "true")
        assert silent != THINKING_TEMPLATE
        weights = Weights("Qwen3", starter_gguf, "gguf", lookup.find("qwen3:8b"))
        template = silent + "{#- enable_thinking #}"
        with LlamaCpp(weights, context=512, chat_template=template) as engine:
            assert engine._chat_request(HELLO, None, None, ONE, None, {})["temperature"] == 0.7
