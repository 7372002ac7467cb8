"""The loss in chunks and the gradients of an adapter: those that peft and transformers compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch

from qwen_cli.engines.transformers import load
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.train import compute
from qwen_cli.tasks.train.sequences import Tokens


@pytest.fixture(scope="module")
def folder(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.make("Qwen3", tmp_path_factory.mktemp("model"), starter_safetensors)


def adapted(folder: Path, dtype: str = "fp32", **given: Any) -> Any:
    import peft

    model = load.model(resolve.resolve(str(folder), prefer="safetensors"), dtype=dtype)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **given)
    made = peft.get_peft_model(model, config)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:  # which begin as zeros, and would leave A without gradients
            torch.nn.init.normal_(parameter, 0, 0.1)
    return made


@pytest.fixture(scope="module")
def sequences() -> list[Tokens]:
    chance = np.random.default_rng(0)
    made = []
    for length in (9, 17, 30, 30):
        counts = chance.random(length) < 0.5
        counts[0] = False
        counts[-1] = True
        made.append(Tokens(chance.integers(0, 12_000, length).astype(np.int32), counts, 1))
    return made


@pytest.fixture(scope="module")
def alike() -> list[Tokens]:
    """Two questions behind the same examples, three answers to each, and a sequence of its own."""
    chance = np.random.default_rng(1)

    def drawn(length: int) -> list[int]:
        return [int(token) for token in chance.integers(0, 12_000, length)]

    examples, made = drawn(20), []
    for asked in ([*examples, *drawn(6)], [*examples, *drawn(9)], drawn(8)):
        answers = [drawn(length) for length in (3, 7, 5)]
        made += [
            Tokens(np.array(asked + answer, np.int32), np.arange(len(asked + answer)) >= len(asked), 1)
            for answer in answers
        ]
    return made[:7]


def plain_loss(model: Any, sequences: list[Tokens]) -> Any:
    """What transformers computes of the same rows, padded, with a mask and with labels."""
    width = max(map(len, sequences))
    ids, labels = torch.zeros(len(sequences), width).long(), torch.full((len(sequences), width), -100)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(sequences):
        ids[row, : len(one)] = torch.from_numpy(one.ids)
        mask[row, : len(one)] = 1
        labels[row, : len(one)] = torch.where(torch.from_numpy(one.counts), ids[row, : len(one)], -100)
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("rows", "at_once"), [("sequences", 30), ("sequences", 1_000), ("alike", 60), ("alike", 1_000)]
)
def test_loss_and_gradients_are_those_of_peft(
    folder: Path,
    rows: str,
    at_once: int,
    recompute: bool,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(compute, "_logit_rows", lambda words, device: 7)
    sequences: list[Tokens] = request.getfixturevalue(rows)
    theirs = adapted(folder)
    wanted = plain_loss(theirs, sequences)
    wanted.backward()
    network = compute.Network(adapted(folder), at_once=at_once, recompute=recompute)
    loss = network.gradients(sequences)

    assert loss == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert network.loss(sequences) == pytest.approx(loss, rel=1e-5)
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    assert expected.keys() == network.parameters.keys()
    for name, parameter in network.parameters.items():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=2e-4, atol=2e-6)


def test_the_loss_in_chunks_is_that_of_all_positions_at_once() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 16, requires_grad=True), torch.randn(300, 16)
    targets = torch.randint(0, 300, (50,))
    whole = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    (gradient,) = torch.autograd.grad(whole, hidden)

    for rows in (1, 7, 50, 64):
        loss = compute._SummedLoss.apply(hidden, weight, targets, rows)
        torch.testing.assert_close(loss, whole)
        torch.testing.assert_close(torch.autograd.grad(loss * 2, hidden)[0], 2 * gradient)


def test_in_16_bits_the_adapter_stays_in_32_and_the_gradients_are_close(
    folder: Path, sequences: list[Tokens]
) -> None:
    exact = compute.Network(adapted(folder), at_once=1_000, recompute=False)
    mixed = compute.Network(adapted(folder, "bf16"), at_once=1_000, recompute=False)
    exact.gradients(sequences)
    mixed.gradients(sequences)

    for name, parameter in mixed.parameters.items():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        ours, theirs = parameter.grad.flatten(), exact.parameters[name].grad.flatten()
        assert torch.cosine_similarity(ours, theirs, dim=0) > 0.95


def test_probabilities_are_computed_for_as_many_positions_as_fit() -> None:
    assert compute.logit_bytes(151_936, "cpu") <= 96 << 20
    assert compute.logit_bytes(10, "cpu") <= 96 << 20
