"""The loss of a reward model and its gradients, against plain loops and passes of one sequence each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import small_models
import torch

from qwen_cli.engines.transformers import load
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.improve import reward_network
from qwen_cli.tasks.improve.reward_network import Group, RewardNetwork
from qwen_cli.tasks.train.compute import Network
from qwen_cli.tasks.train.sequences import Tokens


def loop_loss(scores: list[float], right: list[bool]) -> float:
    """Qwen2.5-Math's loss, a pair at a time in 64 bits."""
    total = 0.0
    for i, good in enumerate(right):
        for j, bad in enumerate(right):
            if good and not bad:
                total += math.log1p(math.exp(-(scores[i] - scores[j])))
    return total / (sum(right) * (len(right) - sum(right)))


@pytest.mark.parametrize(
    "right", [[True, False], [True, True, False, False, False, True], [False] * 5 + [True]]
)
def test_the_loss_is_that_of_a_loop_over_pairs(right: list[bool]) -> None:
    scores = np.random.default_rng(len(right)).normal(0, 3, len(right))
    loss = reward_network.listwise(torch.from_numpy(scores), torch.tensor(right))
    assert float(loss) == pytest.approx(loop_loss(list(scores), right), rel=1e-12)


def test_pairs_in_order_are_counted_and_equal_ones_half() -> None:
    right = torch.tensor([True, True, False, False])
    assert reward_network.ordered(torch.tensor([3.0, 1.0, 2.0, 0.0]), right) == 0.75
    assert reward_network.ordered(torch.zeros(4), right) == 0.5


@pytest.fixture(scope="module")
def folder(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.make(
        "Qwen3", tmp_path_factory.mktemp("model"), starter_safetensors, num_hidden_layers=2
    )


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    """Two problems behind the same examples, with solutions of different lengths."""
    chance = np.random.default_rng(0)

    def drawn(length: int) -> list[int]:
        return [int(token) for token in chance.integers(0, 12_000, length)]

    examples, made = drawn(20), []
    for right in ([True, False, False], [False, True, True, False]):
        asked = [*examples, *drawn(6)]
        made.append(
            Group(
                tuple(
                    Tokens(np.array(asked + drawn(2 + 3 * at), np.int32), np.zeros(0, bool), at)
                    for at in range(len(right))
                ),
                np.array(right),
            )
        )
    return made


def network(folder: Path, *, share: bool = True, **given: Any) -> RewardNetwork:
    model = load.model(resolve.resolve(str(folder), prefer="safetensors"), dtype="fp32").requires_grad_(False)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config)
    head = reward_network.head(64)
    for parameter in [*adapted.parameters(), *head.parameters()]:
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, 0, 0.1)
    model.config._attn_implementation = "sdpa" if share else "eager"  # which takes no trees
    return RewardNetwork(Network(adapted, **given), head)


def plain(made: RewardNetwork, groups: list[Group]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The mean loss, and the scores of each problem: a pass for each sequence, without any layout."""
    losses, scores = [], []
    for group in groups:
        passes = [
            made.network.adapted.get_base_model().model(torch.from_numpy(one.ids).long()[None])[0][0, -1]
            for one in group.sequences
        ]
        found = made.head(torch.stack(passes))[:, 0]
        losses.append(reward_network.listwise(found, torch.from_numpy(group.right)))
        scores.append(found.detach())
    return torch.stack(losses).mean(), scores


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("share", "at_once"), [(True, 1_000), (True, 70), (False, 1_000), (False, 60)])
def test_scores_and_gradients_are_those_of_each_sequence_alone(
    folder: Path, groups: list[Group], share: bool, at_once: int, recompute: bool
) -> None:
    wanted = network(folder, at_once=1_000, recompute=False)
    loss, scores = plain(wanted, groups)
    loss.backward()
    ours = network(folder, at_once=at_once, recompute=recompute, share=share)

    assert ours.gradients(groups) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert ours.parameters.keys() == wanted.parameters.keys()
    for name, parameter in ours.parameters.items():
        torch.testing.assert_close(parameter.grad, wanted.parameters[name].grad, rtol=1e-3, atol=1e-6)
    for group, expected in zip(groups, scores, strict=True):
        torch.testing.assert_close(ours.scores(group.sequences), expected, rtol=1e-4, atol=1e-5)


def test_a_new_head_has_no_opinion(folder: Path, groups: list[Group]) -> None:
    adapted = network(folder, at_once=1_000, recompute=False).network
    new = RewardNetwork(adapted, reward_network.head(64))
    assert not new.scores(groups[0].sequences).any()
    assert new.gradients(groups) == pytest.approx(math.log(2))
