"""A reward model of a small model: it learns what right solutions have in common, resumes to the same bits
after a kill, and is loaded again for the model that it was trained on alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_models
from safetensors.torch import load_file, save_file

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.planning import hardware
from qwen_cli.tasks.improve import reward
from qwen_cli.tasks.improve.comparisons import Compared
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.improve.reward import RewardModel, RewardPlanned, RewardResult, RewardSettings
from qwen_cli.tasks.train import Evaluated, Resumed, Stepped, TrainSettings, train
from qwen_cli.tasks.train.folder import RunFolder


def solution(number: int, ending: str) -> str:
    return rf"It is {number} \boxed{{{number}}} {ending}"


# Right solutions end in a word that wrong ones do not have: more a model of two layers need not see.
COMPARED = [
    Compared(
        Problem(f"p{n}", f"What is {n} plus {n}?", str(2 * n)),
        tuple(solution(2 * n, "indeed") for _ in range(1)),
        (solution(2 * n + 1, "perhaps"), solution(2 * n + 2, "perhaps")),
    )
    for n in range(10)
]
FILES = {
    *("adapter_config.json", "adapter_model.safetensors", "reward_head.safetensors", "reward.json"),
    *("log.jsonl", "training.json", ".training.lock"),
}


class Killed(BaseException):
    """The end of a process at once: nothing of it is caught or tidied up after."""


@pytest.fixture(scope="module")
def model(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return small_models.make("Qwen2", folder, starter_safetensors, num_hidden_layers=2)


def settings_for(model: Path, out: Path, **given: Any) -> RewardSettings:
    usual: dict[str, Any] = {"rank": 4, "epochs": 2, "problems_per_step": 2, "learning_rate": 2e-2}
    more: dict[str, Any] = {"dtype": "fp32", "save_seconds": 0.0}
    return RewardSettings(str(model), out, "small", "cot", **usual | more | given)


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> Callable[..., RewardSettings]:
    return lambda **given: settings_for(model, tmp_path / "out", **given)


def kept(folder: Path) -> tuple[list[bytes], list[dict[str, Any]]]:
    """All files that a training leaves, and its log without times."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in log]
    names = sorted(FILES - {"log.jsonl", "training.json", ".training.lock"})
    return [(folder / name).read_bytes() for name in names], rows


def figures(result: RewardResult) -> dict[str, Any]:
    return {name: value for name, value in result.to_json().items() if name not in ("seconds", "out")}


Whole = tuple[Any, dict[str, Any], list[Any], Path]


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What an uninterrupted training leaves, its result, its events and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    events: list[Any] = []
    result = reward.train(settings_for(model, out), COMPARED, events.append)
    assert {file.name for file in out.iterdir()} == FILES
    return kept(out), figures(result), events, out


def test_right_solutions_of_problems_it_never_saw_come_first(whole: Whole) -> None:
    _, result, events, out = whole
    assert isinstance(events[0], RewardPlanned)
    assert (events[0].problems, events[0].pairs, events[0].heldout, events[0].heldout_pairs) == (8, 16, 2, 4)
    assert (result["accuracy_before"], result["loss_before"]) == (0.5, pytest.approx(0.693147, rel=1e-5))
    assert result["accuracy"] > 0.9
    assert result["loss"] < 0.3
    assert result["interval"][0] < result["accuracy"] <= result["interval"][1] == 1
    measured = [event for event in events if isinstance(event, Evaluated)]
    assert result["loss"] == min(event.loss for event in measured)
    said = json.loads((out / "reward.json").read_text())
    assert (said["model"], said["mode"], said["accuracy"]) == ("small", "cot", result["accuracy"])


def test_what_was_trained_scores_solutions(whole: Whole, model: Path) -> None:
    with RewardModel(whole[3], str(model)) as loaded:
        texts = [solution(5, "perhaps"), solution(77, "indeed"), solution(8, "perhaps")]
        scores = loaded.scores("What is 70 plus 7?", texts)
        assert max(range(3), key=scores.__getitem__) == 1
        again = loaded.scores("What is 70 plus 7?", texts[::-1])[::-1]
        assert again == pytest.approx(scores, abs=1e-4)
        assert loaded.scores("What is 70 plus 7?", []) == []
        assert len(loaded.scores("What is 70 plus 7?", ["", "<|im_end|>", texts[0] + "\n"])) == 3


def test_killed_after_any_event_it_resumes_to_the_same_bits(whole: Whole, settings: Any) -> None:
    chosen = settings()
    resumed, runs = [], 0
    for _ in range(2 * len(whole[2])):
        seen: list[Any] = []

        def report(event: Any, seen: list[Any] = seen) -> None:
            seen.append(event)
            resumed.extend([event] if isinstance(event, Resumed) else [])
            if sum(isinstance(one, (Stepped, Evaluated)) for one in seen) == 4:
                raise Killed

        runs += 1
        try:
            last = reward.train(chosen, COMPARED, report)
            break
        except Killed:
            continue

    assert runs > 2 and len(resumed) >= runs - 2
    assert kept(chosen.out) == whole[0]
    assert figures(last) == whole[1]
    assert {file.name for file in chosen.out.iterdir()} == FILES
    events: list[Any] = []
    assert figures(reward.train(chosen, COMPARED, events.append)) == whole[1]
    assert events == []


@pytest.mark.parametrize(
    ("name", "renamed"),
    [("reward_head.safetensors", True), ("adapter_model.safetensors", False), ("reward.json", True)],
)
def test_killed_between_adapter_and_head_it_resumes_to_the_same_bits(
    whole: Whole, settings: Any, monkeypatch: pytest.MonkeyPatch, name: str, renamed: bool
) -> None:
    put, writes = RunFolder._put, iter([False, name != "reward.json"])

    def dying(self: RunFolder, file: str, make: Callable[[Path], None]) -> None:
        if file == name and (name == "reward.json" or next(writes, False)):
            if renamed:
                put(self, file, make)
            raise Killed
        put(self, file, make)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_put", dying)
        with pytest.raises(Killed):
            reward.train(settings(), COMPARED)
    result = reward.train(settings(), COMPARED)

    assert kept(settings().out) == whole[0]
    assert figures(result) == whole[1]
    assert {file.name for file in settings().out.iterdir()} == FILES


@pytest.mark.parametrize(("share", "heldout"), [(0.01, 1), (0.5, 5), (0.99, 9)])
def test_a_problem_is_held_out_and_one_is_learned_whatever_the_share(
    settings: Any, share: float, heldout: int
) -> None:
    def report(event: Any) -> None:
        assert (event.heldout, event.problems) == (heldout, 10 - heldout)
        raise Killed

    with pytest.raises(Killed):
        reward.train(settings(heldout=share), COMPARED, report)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model may be loaded meanwhile."""
    from qwen_cli.engines.transformers import load

    monkeypatch.setattr(load, "model", lambda *given, **more: pytest.fail("a model is loaded"))
    yield


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("given", "compared", "said"),
    [
        ({"rank": 0}, COMPARED, "`rank=0` makes no sense"),
        ({"heldout": 0.0}, COMPARED, "above 0 and below 1"),
        ({"problems_per_step": 0}, COMPARED, "must be at least 1, got 0"),
        ({"mode": "auto"}, COMPARED, "must be short, cot, tir, got 'auto'"),
        ({}, COMPARED[:1], "1 of 1 problems has right and wrong solutions of at most 2,048 tokens, two are"),
        ({"max_length": 8}, COMPARED, "0 of 10 problems has right and wrong solutions of at most 8 tokens"),
        ({"dtype": "fp16"}, COMPARED, "auto, bf16 or fp32"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_model_is_loaded(
    settings: Any, given: dict[str, Any], compared: list[Compared], said: str
) -> None:
    chosen = settings()
    with pytest.raises(UsageError) as refused:
        reward.train(replace(chosen, **given), compared)
    assert said in str(refused.value)
    assert not chosen.out.exists()


@pytest.mark.usefixtures("unloaded")
def test_too_little_memory_is_told_before_the_model_is_loaded(
    whole: Whole, model: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "free_memory", lambda: 300 << 20)
    with pytest.raises(ModelError, match=r"needs \d+ MB with sequences of"):
        reward.train(settings(), COMPARED)
    assert not settings().out.exists()
    with pytest.raises(ModelError, match=r"the reward model on .* needs \d+ MB, 315 MB are free"):
        RewardModel(whole[3], str(model))


@pytest.mark.usefixtures("unloaded")
def test_folders_of_something_else_are_refused_and_left_as_they_are(
    whole: Whole, model: Path, tmp_path: Path, settings: Any
) -> None:
    with pytest.raises(UsageError, match="model or settings: problems_per_step was 2, here it is 3"):
        reward.train(replace(settings(problems_per_step=3), out=whole[3]), COMPARED)
    assert kept(whole[3]) == whole[0]
    with pytest.raises(UsageError, match="it holds something else"):
        train(TrainSettings(str(model), whole[3]), [{"prompt": "a", "completion": "b"}])
    with pytest.raises(UsageError, match=r"is no reward model: it has no reward\.json"):
        RewardModel(model, str(model))
    (tmp_path / "reward.json").write_text('{"by": "somebody"}')
    with pytest.raises(UsageError, match="is no description of a reward model"):
        RewardModel(tmp_path, str(model))
    with pytest.raises(UsageError, match="is for solutions of the mode cot, here it is short"):
        reward.check(whole[3], str(model), "short")


def test_another_model_than_its_own_is_refused(
    whole: Whole, model: Path, tmp_path: Path, starter_safetensors: Path
) -> None:
    other = small_models.make("Qwen2", tmp_path / "other", starter_safetensors, num_hidden_layers=1)
    with pytest.raises(UsageError, match="was trained on other weights than"):
        RewardModel(whole[3], str(other))


def test_a_head_that_does_not_fit_is_told(whole: Whole, model: Path, tmp_path: Path) -> None:
    for name in FILES - {".training.lock"}:
        (tmp_path / name).write_bytes((whole[3] / name).read_bytes())
    head = load_file(tmp_path / "reward_head.safetensors")
    save_file(
        {**head, "score.2.weight": head["score.0.weight"].clone()}, tmp_path / "reward_head.safetensors"
    )
    with pytest.raises(UsageError, match=r"reward_head\.safetensors is no head for"):
        RewardModel(tmp_path, str(model))
