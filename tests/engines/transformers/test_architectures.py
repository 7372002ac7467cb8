"""Every Qwen architecture: small random models from the library's own config classes, saved, loaded by the
engine, and compared with the library's `generate`, which computes each turn from the beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.hub.resolve import Weights

TURNS = ["Name three rivers.", "还有三座山。"]
TOKENS = 12


class Card:
    """The script on a model card."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        config = transformers.AutoConfig.from_pretrained(folder)
        seeing = hasattr(config, "vision_config")
        kind = transformers.AutoModelForImageTextToText if seeing else transformers.AutoModelForCausalLM
        self.model = kind.from_pretrained(folder, dtype=torch.float32)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def says(self, messages: list[dict[str, str]]) -> str:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)
        found = self.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        said = self.tokenizer.decode(found[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        return str(said).rstrip("�")  # the beginning of a character, which ours holds back


@pytest.mark.parametrize("architecture", [*small_models.ARCHITECTURES, "Qwen1.5"])
def test_two_turns_are_those_of_generate(
    architecture: str, starter_safetensors: Path, tmp_path: Path
) -> None:
    template = small_models.QWEN15 if architecture == "Qwen1.5" else None
    kind = "Qwen2" if architecture == "Qwen1.5" else architecture
    folder = small_models.make(kind, tmp_path / architecture, starter_safetensors, template)
    weights = Weights(architecture, folder, "safetensors", None)
    messages: list[dict[str, Any]] = []
    card = Card(folder)
    with Transformers(weights, places=Places({"": "cpu"}), dtype="float32") as engine:
        for turn in TURNS:
            messages.append({"role": "user", "content": turn})
            sampling = Sampling(temperature=0, max_tokens=TOKENS)
            said = "".join(piece.text for piece in engine.chat(messages, sampling=sampling))
            assert said == card.says(messages)
            assert len(set(said)) > 5
            messages.append({"role": "assistant", "content": said})


def test_a_small_model_answers_through_the_command(qwen, starter_safetensors: Path, tmp_path: Path) -> None:
    folder = small_models.make("Qwen3Moe", tmp_path / "mixture", starter_safetensors)
    done = qwen(
        "chat", "-m", str(folder), "--device-map", "cpu", "--dtype", "fp32", "-t", "0", "--max-tokens",
        str(TOKENS), TURNS[0],
    )  # fmt: skip
    assert done.stdout.strip() == Card(folder).says([{"role": "user", "content": TURNS[0]}]).strip()
    assert done.returncode == 0
