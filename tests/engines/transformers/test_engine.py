"""What the transformers engine promises beyond the contract: the tokens of `generate`, for less work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import small_models

from qwen_cli.engines.core.base import Piece, Sampling, Usage
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.engines.transformers.prefix_cache import PrefixCache
from qwen_cli.errors import EngineError, QwenError, UsageError
from qwen_cli.models.hub.resolve import Weights

QUESTION = [{"role": "user", "content": "What is the capital of France, and what is it known for?"}]
PROMPTS = [
    "What is the capital of France, and what is it known for?",
    "Write a Python function that reverses a linked list.",
    "用一句话解释什么是递归。",
]

Small = Callable[..., Transformers]


ON_CPU = Places({"": "cpu"})


def text(pieces: Iterable[Piece], kind: str = "answer") -> str:
    return "".join(piece.text for piece in pieces if piece.kind == kind)


def usage(pieces: list[Piece]) -> Usage:
    assert pieces[-1].usage
    return pieces[-1].usage


def weights(folder: Path) -> Weights:
    return Weights(label=folder.name, path=folder, format="safetensors", model=None)


@pytest.fixture(scope="module")
def small(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """An engine on a small random model: `small("Qwen3", template)`; made once for each."""
    made: dict[tuple[str, str | None], Transformers] = {}

    def load(architecture: str, template: str | None = None) -> Transformers:
        if (architecture, template) not in made:
            folder = tmp_path_factory.mktemp("small") / architecture
            small_models.make(architecture, folder, starter_safetensors, template)
            made[architecture, template] = Transformers(weights(folder), places=ON_CPU)
        return made[architecture, template]

    return load


def generated(engine: Transformers, prompt: str, tokens: int, **settings: Any) -> str:
    """What the script on a model card gives for one user turn."""
    import torch

    tokenizer, model = engine.tokenizer, engine.network
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **settings)
    answer = str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return answer.rstrip("�")  # the beginning of a character, which ours holds back


class TestGreedyIsGenerate:
    @pytest.mark.parametrize("prompt", PROMPTS)
    def test_of_the_starter(self, transformers_engine: Transformers, prompt: str) -> None:
        turns = [{"role": "user", "content": prompt}]
        pieces = list(transformers_engine.chat(turns, sampling=Sampling(temperature=0, max_tokens=16)))
        assert text(pieces) == generated(transformers_engine, prompt, 16, repetition_penalty=1.0)

    def test_with_the_penalty_of_its_generation_config(self, transformers_engine: Transformers) -> None:
        turns = [{"role": "user", "content": PROMPTS[1]}]
        penalty = transformers_engine.defaults.repetition_penalty
        assert penalty == 1.1
        greedy = Sampling(temperature=0, repetition_penalty=penalty, max_tokens=16)
        assert text(transformers_engine.chat(turns, sampling=greedy)) == generated(
            transformers_engine, PROMPTS[1], 16
        )

    @pytest.mark.parametrize("architecture", ["Qwen3", "Qwen3Next"])
    def test_a_reused_prefix_changes_nothing(self, small: Small, architecture: str) -> None:
        """Also where layers keep a running state and cannot go back."""
        engine = small(architecture)
        greedy = Sampling(temperature=0, max_tokens=8)
        first = text(engine.chat(QUESTION, sampling=greedy))
        turns = [
            *QUESTION,
            {"role": "assistant", "content": first},
            {"role": "user", "content": "And Spain?"},
        ]
        list(engine.chat(turns[:1], sampling=greedy))
        warm = list(engine.chat(turns, sampling=greedy))
        engine.prefix_cache.clear()
        cold = list(engine.chat(turns, sampling=greedy))
        assert text(warm) == text(cold)
        assert usage(warm).cached_tokens > 40
        assert usage(cold).cached_tokens == 0

        edited = [{"role": "user", "content": "Name a river."}]
        warm = list(engine.chat(edited, sampling=greedy))
        assert text(warm) == generated(engine, "Name a river.", 8)
        assert usage(warm).cached_tokens > 10

    def test_a_prompt_longer_than_a_chunk(self, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = small("Qwen3")
        monkeypatch.setattr(engine.prefix_cache, "_chunk", 7)
        engine.prefix_cache.clear()
        assert text(engine.chat(QUESTION, sampling=Sampling(temperature=0, max_tokens=8))) == generated(
            engine, str(QUESTION[0]["content"]), 8
        )


class TestCache:
    def test_an_interrupt_between_two_layers_leaves_the_cache_whole(
        self, small: Small, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = small("Qwen3")
        greedy = Sampling(temperature=0, max_tokens=8)
        expected = text(engine.chat(QUESTION, sampling=greedy))
        stream = engine.chat(QUESTION, sampling=greedy)
        next(stream)
        layer = engine.network.model.layers[1]
        with monkeypatch.context() as patch:
            patch.setattr(layer, "forward", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                next(stream)
        lengths = {part.get_seq_length() for part in engine.prefix_cache.layers}
        assert lengths == {len(engine.prefix_cache.ids)}
        assert text(engine.chat(QUESTION, sampling=greedy)) == expected

    def test_state_survives_a_restart(self, small: Small, starter_safetensors: Path, tmp_path: Path) -> None:
        folder = small_models.make("Qwen3", tmp_path / "model", starter_safetensors)
        greedy = Sampling(temperature=0, max_tokens=8)
        state = tmp_path / "deep" / "session.kv"
        with Transformers(weights(folder), places=ON_CPU) as before:
            assert before.capabilities.state
            assert not before.save_state(state)  # there is nothing yet
            said = text(before.chat(QUESTION, sampling=greedy))
            assert before.save_state(state)
        with Transformers(weights(folder), places=ON_CPU) as after:
            assert after.load_state(state)
            pieces = list(after.chat(QUESTION, sampling=greedy))
        assert text(pieces) == said
        assert usage(pieces).cached_tokens == usage(pieces).prompt_tokens - 1

        other = small("Qwen2")
        assert not other.load_state(state)
        assert not other.load_state(tmp_path / "missing.kv")
        cut = tmp_path / "cut.kv"
        cut.write_bytes(state.read_bytes()[:-100])
        with Transformers(weights(folder), places=ON_CPU, dtype="float32") as another:
            assert not another.load_state(state)
            assert not another.load_state(cut)


class TestThinking:
    CUT = (
        "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking"
        " directly now.\n"
    )

    def test_a_budget_ends_it_and_the_answer_follows(self, small: Small) -> None:
        engine = small("Qwen3", small_models.ALWAYS)
        assert engine.capabilities.thinking == "always"
        cut = len(engine.tokenizer(f"{self.CUT}</think>\n\n")["input_ids"])
        sampling = Sampling(temperature=0, max_tokens=5 + cut + 6)
        pieces = list(engine.chat(QUESTION, thinking=5, sampling=sampling))
        assert text(pieces, "thinking").endswith(self.CUT)
        assert text(pieces)
        assert "</think>" not in text(pieces)
        assert usage(pieces).generated_tokens == 5 + cut + 6
        (sample,) = engine.sample(QUESTION, 1, thinking=5, sampling=sampling)
        assert (sample.text, sample.thinking) == (text(pieces), text(pieces, "thinking"))

    def test_the_answer_follows_the_tokens_that_were_computed(
        self, small: Small, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the model thought and what ended it, in the tokens that they came in, are what the answer is
        computed after, and what penalties count. Text of the same thought may have other tokens."""
        folder = Path(small("Qwen3", small_models.ALWAYS).network.name_or_path)
        with Transformers(weights(folder), places=ON_CPU, dtype="fp32") as engine:
            said = self.follows(engine, 7, 7, f"{self.CUT}</think>\n\n", frequency=0.7)
            self.follows(engine, 1, 1, f"{self.CUT}</think>\n\n", frequency=-2.0)  # says "the" again
            monkeypatch.setattr(engine._loaded, "ends", frozenset({said[5]}))
            assert self.follows(engine, True, 5, "\n</think>\n\n", frequency=0.7)[:5] == said[:5]

    @staticmethod
    def follows(
        engine: Transformers, thinking: bool | int, own: int, end: str, *, frequency: float
    ) -> list[int]:
        """Check an answer after `own` tokens of thinking and its `end` against one pass over all: the tokens
        after the prompt."""
        import torch
        from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

        presence, repetition = 0.8, 1.2
        greedy = Sampling(
            temperature=0,
            max_tokens=48,
            logprobs=0,
            repetition_penalty=repetition,
            presence_penalty=presence,
            frequency_penalty=frequency,
        )
        pieces = list(engine.chat(QUESTION, thinking=thinking, sampling=greedy))
        start, ids = usage(pieces).prompt_tokens, torch.tensor(engine.prefix_cache.ids)
        said, forced = ids[start:], engine.tokenizer(end)["input_ids"]
        answer = own + len(forced)
        assert said[own:answer].tolist() == forced
        assert len(said) == usage(pieces).generated_tokens - 1 > answer  # nothing is computed after the last

        once = PrefixCache(engine.network)
        scores = once.step(ids.tolist(), rows=len(said) + 1)[:-1]
        close = partial(torch.testing.assert_close, atol=1e-3, rtol=0)
        for layer, expected in zip(engine.prefix_cache.layers, once.layers, strict=True):
            close(layer.keys, expected.keys)
            close(layer.values, expected.values)
        told = torch.tensor([one.logprob for piece in pieces for one in piece.logprobs][: len(said)])
        close(told, scores.log_softmax(-1).gather(1, said[:, None])[:, 0])

        punish = RepetitionPenaltyLogitsProcessor(repetition)
        for at in (*range(own), *range(answer, len(said))):
            counts = said[:at].bincount(minlength=scores.shape[-1])
            punished = punish(ids[None, : start + at], scores[at : at + 1].clone())[0]
            punished -= presence * (counts > 0) + frequency * counts
            if at == answer:  # it may not end here
                punished[sorted(engine._loaded.ends)] = -torch.inf
            assert punished.argmax() == said[at]
        return said.tolist()

    def test_the_switch_reaches_the_template(self, small: Small) -> None:
        engine = small("Qwen3", small_models.SWITCH)
        assert engine.capabilities.thinking == "switch"
        limit = Sampling(temperature=0, max_tokens=2)
        plain = usage(list(engine.chat(QUESTION, sampling=limit))).prompt_tokens
        for off in (False, 0):
            pieces = list(engine.chat(QUESTION, thinking=off, sampling=limit))
            assert usage(pieces).prompt_tokens > plain
            assert not text(pieces, "thinking")
        assert usage(list(engine.chat(QUESTION, thinking=True, sampling=limit))).prompt_tokens == plain

    def test_a_schema_holds_after_thinking(self, small: Small) -> None:
        schema = {
            "type": "object",
            "properties": {"sure": {"type": "boolean"}, "colour": {"enum": ["red", "green"]}},
            "required": ["sure", "colour"],
            "additionalProperties": False,
        }
        for template in (small_models.SWITCH, small_models.ALWAYS):
            engine = small("Qwen3", template)
            pieces = list(
                engine.chat(
                    QUESTION, schema=schema, thinking=4, sampling=Sampling(temperature=0, max_tokens=100)
                )
            )
            assert len(text(pieces, "thinking")) > len(self.CUT)
            jsonschema.validate(json.loads(text(pieces)), schema)
            assert usage(pieces).stop_reason == "stop"


class TestSample:
    def test_rows_of_different_length(self, small: Small) -> None:
        """Each row is what it would be alone: they end apart, and the rest goes on."""
        engine = small("Qwen3")
        alone = text(engine.chat(QUESTION, sampling=Sampling(temperature=0, max_tokens=12)))
        rows = engine.sample(QUESTION, 3, sampling=Sampling(temperature=0, max_tokens=12))
        assert [row.text for row in rows] == [alone] * 3
        hot = Sampling(temperature=2.0, top_k=0, top_p=1.0, seed=5, max_tokens=4, stop=("g",))
        first, again = engine.sample(QUESTION, 8, sampling=hot), engine.sample(QUESTION, 8, sampling=hot)
        assert [row.text for row in first] == [row.text for row in again]
        assert len({row.usage.generated_tokens for row in first}) > 1
        assert {row.usage.stop_reason for row in first} == {"stop", "length"}
        assert again[0].usage.cached_tokens == again[0].usage.prompt_tokens - 1


class TestTokenChoice:
    def test_the_distribution_is_that_of_the_librarys_processors(self) -> None:
        import torch
        from transformers.generation.logits_process import (
            LogitsProcessorList,
            MinPLogitsWarper,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        from qwen_cli.engines.transformers.sampler import Sampler

        torch.manual_seed(0)
        logits, prompt, rows = torch.randn(1, 60) * 2, [3, 7, 7, 50], 20_000
        processors = LogitsProcessorList(
            [
                RepetitionPenaltyLogitsProcessor(1.3),
                TemperatureLogitsWarper(0.8),
                TopKLogitsWarper(15),
                TopPLogitsWarper(0.9),
                MinPLogitsWarper(0.02),
            ]
        )
        expected = processors(torch.tensor([prompt]), logits.clone()).softmax(-1)[0]
        settings = Sampling(temperature=0.8, top_k=15, top_p=0.9, min_p=0.02, repetition_penalty=1.3, seed=1)
        drawn = Sampler(settings, prompt, device="cpu", rows=rows).sample(logits.repeat(rows, 1))
        share = torch.bincount(drawn, minlength=60) / rows
        assert set(drawn.tolist()) == set(expected.nonzero().flatten().tolist())
        assert float((share - expected).abs().sum()) < 0.05

    def test_presence_and_frequency_count_what_was_generated(self) -> None:
        import torch

        from qwen_cli.engines.transformers.sampler import Sampler

        logits = torch.tensor([[1.0, 0.9, 0.0, 0.5]])
        choice = Sampler(Sampling(temperature=0, presence_penalty=0.3), [0, 0], device="cpu")
        assert choice.sample(logits).item() == 0  # in the prompt alone
        choice.remember([0])
        assert choice.sample(logits).item() == 1
        choice = Sampler(Sampling(temperature=0, frequency_penalty=0.06), [], device="cpu")
        picked = []
        for _ in range(4):
            picked.append(int(choice.sample(logits)))
            choice.remember(picked[-1:])
        assert picked == [0, 0, 1, 0]


class TestAdapter:
    def make(self, base: Path, folder: Path, rows: int | None = None) -> Path:
        """A LoRA with random weights, as peft saves it."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
        torch.manual_seed(1)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, 0, 0.3)
        adapted.save_pretrained(folder)
        return folder

    def test_changes_the_answer(self, small: Small, tmp_path: Path) -> None:
        engine = small("Qwen3")
        base = Path(engine.network.name_or_path)
        adapter = self.make(base, tmp_path / "lora")
        greedy = Sampling(temperature=0, max_tokens=12)
        with Transformers(weights(base), places=ON_CPU, adapters=[adapter]) as adapted:
            changed = text(adapted.chat(QUESTION, sampling=greedy))
            assert changed == generated(adapted, str(QUESTION[0]["content"]), 12)
        assert changed != text(engine.chat(QUESTION, sampling=greedy))

    def test_what_is_none_is_refused(self, small: Small, tmp_path: Path) -> None:
        base = Path(small("Qwen3").network.name_or_path)
        with pytest.raises(UsageError, match="is not a LoRA adapter"):
            Transformers(weights(base), adapters=[tmp_path])
        adapter = self.make(Path(small("Qwen2").network.name_or_path), tmp_path / "lora")
        with pytest.raises(EngineError, match="does not fit this model"):
            Transformers(weights(base), places=ON_CPU, adapters=[adapter])
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(UsageError, match=r"no adapter_model\.safetensors"):
            Transformers(weights(base), adapters=[adapter])


class TestBadInput:
    @pytest.fixture
    def folder(self, starter_safetensors: Path, tmp_path: Path) -> Path:
        return small_models.make("Qwen3", tmp_path / "model", starter_safetensors)

    def test_missing_tensors(self, folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "model.safetensors"
        tensors = load_file(file)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(EngineError, match=r"lacks 1 tensors, .*up_proj"):
            Transformers(weights(folder), places=ON_CPU)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model_type": "qwen99"}, "qwen99"),
            ({"model_type": "qwen99", "auto_map": {"AutoConfig": "code.Config"}}, "contains custom code"),
        ],
    )
    def test_unknown_architecture(self, folder: Path, change: dict[str, Any], message: str) -> None:
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | change))
        (folder / "code.py").write_text("raise SystemExit('this code must not run')")
        with pytest.raises(QwenError, match=message) as refusal:
            Transformers(weights(folder), places=ON_CPU)
        assert "\n" not in str(refusal.value)

    def test_broken_tokenizer(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{")
        with pytest.raises(EngineError, match="tokenizer"):
            Transformers(weights(folder), places=ON_CPU)

    def test_context_and_dtype_out_of_range(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="trained for 2,048 tokens"):
            Transformers(weights(folder), places=ON_CPU, context=100_000)
        with pytest.raises(UsageError, match="`dtype` must be auto, bf16, fp16 or fp32, got 'int3'"):
            Transformers(weights(folder), places=ON_CPU, dtype="int3")

    def test_bad_schema_and_pictures(self, small: Small) -> None:
        engine = small("Qwen3")
        with pytest.raises(UsageError, match="schema"):
            list(engine.chat(QUESTION, schema={"type": "strong"}))
        picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
        with pytest.raises(UsageError, match="sees no pictures"):
            list(engine.chat(picture))

    def test_loading_says_nothing(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with Transformers(weights(folder), places=ON_CPU) as engine:
            list(engine.chat(QUESTION, sampling=Sampling(temperature=0, max_tokens=2)))
        assert capfd.readouterr() == ("", "")

    def test_no_template(self, folder: Path) -> None:
        settings = folder / "tokenizer_config.json"
        kept = {k: v for k, v in json.loads(settings.read_text()).items() if k != "chat_template"}
        settings.write_text(json.dumps(kept))
        with Transformers(weights(folder), places=ON_CPU) as engine:
            with pytest.raises(EngineError, match="no chat template"):
                list(engine.chat(QUESTION))
            assert text(engine.complete("Once", sampling=Sampling(temperature=0, max_tokens=3)))
        shutil.rmtree(folder)
