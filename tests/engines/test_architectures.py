"""Every Qwen architecture: small random models from the library's own config classes, saved, loaded by the
engine, and compared with the library's `generate`, which computes each turn from the beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.device_map import Places
from qwen_cli.engines.protocol import Sampling
from qwen_cli.engines.transformers import Transformers
from qwen_cli.models.reference import Weights

TURNS = ["Name three rivers.", "And three mountains?"]
TOKENS = 12


def generated(folder: Path, messages: list[dict[str, str]]) -> str:
    """What the script on a model card gives."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    seeing = hasattr(config, "vision_config")
    kind = transformers.AutoModelForImageTextToText if seeing else transformers.AutoModelForCausalLM
    model = kind.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    found = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return tokenizer.decode(found[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("architecture", [*small_models.ARCHITECTURES, "Qwen1.5"])
def test_two_turns_are_those_of_generate(
    architecture: str, starter_safetensors: Path, tmp_path: Path
) -> None:
    template = small_models.QWEN15 if architecture == "Qwen1.5" else None
    kind = "Qwen2" if architecture == "Qwen1.5" else architecture
    folder = small_models.make(kind, tmp_path / architecture, starter_safetensors, template)
    weights = Weights(architecture, folder, "safetensors", None)
    messages: list[dict[str, Any]] = []
    with Transformers(weights, places=Places({"": "cpu"}), dtype="float32") as engine:
        for turn in TURNS:
            messages.append({"role": "user", "content": turn})
            sampling = Sampling(temperature=0, max_tokens=TOKENS)
            said = "".join(piece.text for piece in engine.chat(messages, sampling=sampling))
            assert said == generated(folder, messages)
            messages.append({"role": "assistant", "content": said})


def test_a_small_model_answers_through_the_command(qwen, starter_safetensors: Path, tmp_path: Path) -> None:
    folder = small_models.make("Qwen3Moe", tmp_path / "mixture", starter_safetensors)
    done = qwen(
        "chat", "-m", str(folder), "--device-map", "cpu", "--dtype", "fp32", "-t", "0", "--max-tokens",
        str(TOKENS), TURNS[0],
    )  # fmt: skip
    assert done.stdout.strip() == generated(folder, [{"role": "user", "content": TURNS[0]}]).strip()
    assert done.returncode == 0
