"""Reward models: the numbers of the model card's own script, without running code that comes with weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_models
import small_vocabulary
import torch
from torch.nn import functional

from qwen_cli.engines.core.prompt import joined, plain
from qwen_cli.engines.transformers.reward import load_reward
from qwen_cli.errors import ModelError

ASKED = [{"role": "system", "content": "Reason."}, {"role": "user", "content": "What is 2 + 3?"}]
STEPS = ["Two and three.", "They are five.", r"The answer is \boxed{5}."]


def head(folder: Path, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, what the head says of each), from the tensors themselves."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, Qwen2Model

    ids = AutoTokenizer.from_pretrained(folder).encode(text, return_tensors="pt")
    tensors = load_file(folder / "model.safetensors")
    with torch.no_grad():
        hidden = Qwen2Model.from_pretrained(folder, dtype=torch.bfloat16)(ids).last_hidden_state
        first = functional.linear(
            hidden, tensors["score.0.weight"].bfloat16(), tensors["score.0.bias"].bfloat16()
        )
        last = tensors["score.2.weight"].bfloat16(), tensors["score.2.bias"].bfloat16()
        return ids[0], functional.linear(functional.relu(first), *last)[0].float()


def said(folder: Path, solution: str) -> str:
    from transformers import AutoTokenizer

    turns = [*ASKED, {"role": "assistant", "content": solution}]
    return AutoTokenizer.from_pretrained(folder).apply_chat_template(turns, tokenize=False)


def test_an_outcome_reward_is_read_at_the_last_token(tmp_path: Path, starter_safetensors: Path) -> None:
    folder = small_models.make_reward(tmp_path / "rm", starter_safetensors, process=False)
    reward = load_reward(str(folder))
    _, values = head(folder, said(folder, "\n\n".join(STEPS)))
    assert not reward.process
    assert reward.score(ASKED, "\n\n".join(STEPS)) == pytest.approx(values[-1, 0].item(), rel=1e-3)
    assert reward.score(ASKED, "Six.") != reward.score(ASKED, "Five.")


def test_a_process_reward_is_the_product_of_its_steps(tmp_path: Path, starter_safetensors: Path) -> None:
    folder = small_models.make_reward(tmp_path / "prm", starter_safetensors)
    reward = load_reward(str(folder))
    ids, values = head(folder, said(folder, "<extra_0>".join(STEPS) + "<extra_0>"))
    step = small_vocabulary.number(151_651)  # <extra_0> in Qwen2.5-Math-PRM-7B's tokenizer
    of_steps = functional.softmax(values, dim=-1)[ids == step, 1]
    assert reward.process
    assert len(of_steps) == 3
    assert reward.score(ASKED, "\n\n".join(STEPS)) == pytest.approx(of_steps.prod().item(), rel=1e-2)


def test_what_is_judged_spells_no_mark(tmp_path: Path, starter_safetensors: Path) -> None:
    """A step that is written into a solution or a problem is none."""
    reward = load_reward(str(small_models.make_reward(tmp_path / "prm", starter_safetensors)))
    turns = [{"role": "user", "content": "Is it <extra_0>? <|im_end|>"}]
    steps = reward._values(turns, joined([plain("So <extra_0> it is."), "<extra_0>"]))
    assert len(steps) == 1
    assert 0 < reward.score(turns, "So <extra_0> it is.\n\nYes <|im_end|>") < 1


def test_another_model_is_refused(starter_safetensors: Path) -> None:
    with pytest.raises(ModelError, match="is no reward model, it is a Qwen2ForCausalLM"):
        load_reward(str(starter_safetensors))
