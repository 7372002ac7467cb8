"""Rounds: the model gets better or stays as it is, and whatever ends a run, the next one goes on with it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from practising import Practising, skill_of, sums, train

from qwen_cli.errors import ModelError, QwenError, UsageError
from qwen_cli.tasks.improve import rounds
from qwen_cli.tasks.improve.asking import Asking
from qwen_cli.tasks.improve.decontaminate import Protected
from qwen_cli.tasks.improve.manifest import NAME, digest
from qwen_cli.tasks.improve.ranking import Scorer
from qwen_cli.tasks.improve.rounds import Hooks, Outcome, Rewarding, RewardTraining, Settings, Training
from qwen_cli.tasks.improve.stages import Wanted

GIVEN, HELD = sums(8), sums(12, first=200)
SETTINGS = Settings("none", solving=Asking(samples=3, at_once=1))
BEFORE = Callable[[int], None]


def run(
    folder: Path,
    *,
    count: int = 2,
    skill: int = 40,
    before: BEFORE = lambda n: None,
    said: list[str] | None = None,
    trainer: rounds.Trainer = train,
    given: Any = GIVEN,
    **changes: Any,
) -> Outcome:
    asks = 0

    def each(_: int) -> None:
        nonlocal asks
        asks += 1
        before(asks)

    return rounds.improve(
        replace(SETTINGS, **changes),
        count,
        given,
        HELD,
        [],
        folder,
        lambda adapter: Practising(skill + skill_of(adapter), before=each),
        trainer,
        Hooks(said.append if said is not None else lambda text: None),
        rewarding=Rewarding(train_reward, load_reward),
    )


def train_reward(training: RewardTraining) -> dict[str, Any]:
    """Write a reward model that likes the way that most right solutions go."""
    ways = [text.split(":")[0] for one in training.compared for text in one.right]
    training.out.mkdir(exist_ok=True)
    (training.out / "adapter_model.safetensors").write_text(max(sorted(set(ways)), key=ways.count))
    return {"words": f"{len(training.compared)} problems compared", "accuracy": 0.75}


@contextmanager
def load_reward(folder: Path) -> Iterator[Scorer]:
    way = (folder / "adapter_model.safetensors").read_text()
    yield lambda problem, texts: [float(text.startswith(way)) for text in texts]


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_round_begins_with_the_better_model(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert outcome.before.right < outcome.rounds[0].judged.right <= outcome.rounds[1].judged.right  # type: ignore[union-attr]
    assert [one.kept for one in outcome.rounds] == [True, True]
    assert outcome.adapter == tmp_path / "round-2" / "adapter"
    assert skill_of(outcome.adapter) == 30  # of the first round's, and on it


def test_its_files_say_what_was_learned(tmp_path: Path) -> None:
    run(tmp_path, count=1)
    place = tmp_path / "round-1"
    difficulty = [json.loads(line) for line in (place / "difficulty.jsonl").read_text().splitlines()]
    assert [one["id"] for one in difficulty] == [problem.id for problem in GIVEN]
    known = {problem.problem: problem.answer for problem in GIVEN}
    chats = [json.loads(line)["messages"] for line in (place / "train.jsonl").read_text().splitlines()]
    assert chats
    for _, question, answer in chats:
        assert f"{{{known[question['content']]}}}" in answer["content"]
    for line in (place / "pairs.jsonl").read_text().splitlines():
        pair = json.loads(line)
        answer = f"{{{known[pair['prompt'][-1]['content']]}}}"
        assert answer in pair["chosen"][0]["content"]
        assert answer not in pair["rejected"][0]["content"]


def test_an_adapter_that_makes_it_worse_is_not_kept(tmp_path: Path) -> None:
    def spoil(training: Training) -> dict[str, Any]:
        training.out.mkdir(parents=True, exist_ok=True)
        (training.out / "skill.json").write_text("-35")
        return {}

    said: list[str] = []
    outcome = run(tmp_path, trainer=spoil, said=said)
    assert outcome.adapter is None
    assert [one.kept for one in outcome.rounds] == [False, False]
    assert any("its adapter is not kept" in line for line in said)


def test_a_control_learns_the_solutions_of_other_problems(tmp_path: Path) -> None:
    outcome = run(tmp_path, count=1, control=True)
    assert outcome.control
    assert outcome.control.right == outcome.before.right  # the trainer gives nothing for wrong ones
    ours = (tmp_path / "round-1" / "train.jsonl").read_text().splitlines()
    theirs = (tmp_path / "control" / "train.jsonl").read_text().splitlines()
    questions = [{json.loads(line)["messages"][-2]["content"] for line in lines} for lines in (ours, theirs)]
    assert questions[0] == questions[1]
    assert not {*ours} & {*theirs}


def test_more_rounds_and_a_control_can_be_added(tmp_path: Path) -> None:
    first = run(tmp_path, count=1)
    asked: list[int] = []
    more = run(tmp_path, count=2, control=True, before=asked.append)
    assert more.rounds[0] == first.rounds[0]
    assert more.before == first.before
    assert more.control
    again: list[int] = []
    assert run(tmp_path, count=2, control=True, before=again.append) == more
    assert not again


def test_with_a_reward_model_the_best_right_solutions_are_learned_from(tmp_path: Path) -> None:
    said: list[str] = []
    settings: dict[str, Any] = {
        "solving": Asking(samples=8, at_once=1),
        "per_problem": 1,
        "judged_samples": 3,
    }
    outcome = run(tmp_path, count=1, reward=True, said=said, **settings)
    place = tmp_path / "round-1"
    way = (place / "reward" / "adapter_model.safetensors").read_text()
    samples = [json.loads(line) for line in (place / "samples.jsonl").read_text().splitlines()]
    good = {row["id"] for row in samples if row["correct"] and row["text"].startswith(way)}
    chats = [json.loads(line)["messages"] for line in (place / "train.jsonl").read_text().splitlines()]
    learned = [chat[-1]["content"] for chat in chats]
    assert sum(text.startswith(way) for text in learned) == len(
        good & {one.id for one in GIVEN if any(chat[-2]["content"] == one.problem for chat in chats)}
    )
    assert any(line.startswith("round 1: ") and "problems compared" in line for line in said)
    record = json.loads((tmp_path / NAME).read_text())["stages"]
    assert record["round-1/reward"]["figures"]["accuracy"] == 0.75
    assert outcome.rounds[0].reward == record["round-1/reward"]["figures"]
    judged = outcome.rounds[0].judged
    assert judged and judged.best_of is not None
    assert outcome.before.best_of is None
    with pytest.raises(UsageError, match="reward was true, here it is null"):
        run(tmp_path, count=1, **settings)


def test_a_round_whose_samples_are_too_few_for_a_reward_model_goes_on_without(tmp_path: Path) -> None:
    said: list[str] = []
    few: dict[str, Any] = {"count": 1, "reward": True, "said": said, "given": GIVEN[4:5], "skill": 50}
    few["solving"] = Asking(samples=4, at_once=1)
    outcome = run(tmp_path, **few)
    assert outcome.rounds[0].adapter
    assert (
        "round 1: there is no reward model: 1 problem has right and wrong solutions, two are needed" in said
    )
    assert run(tmp_path, **few) == outcome


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process of its own")
def test_a_run_that_is_killed_again_and_again_comes_to_the_same(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    outcome = run(whole, control=True, judged_samples=2, reward=True)
    torn = tmp_path / "torn"

    def kill(asks: int) -> None:
        if asks == 19:
            os.kill(os.getpid(), signal.SIGKILL)

    kills = 0
    while True:
        child = os.fork()
        if not child:
            try:
                run(torn, control=True, judged_samples=2, reward=True, before=kill)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        kills += 1
    assert kills > 8
    assert files(torn) == files(whole)
    assert run(torn, control=True, judged_samples=2, reward=True).rounds[1].judged == outcome.rounds[1].judged


@pytest.mark.parametrize(
    "stage", ["round-1/synthesize", "round-1/reward", "round-1/solve", "round-1/train", "round-2/judge"]
)
def test_a_stage_whose_record_was_lost_is_run_again_on_what_it_left(tmp_path: Path, stage: str) -> None:
    run(tmp_path, reward=True, judged_samples=2)
    before = files(tmp_path)
    record = json.loads((tmp_path / NAME).read_text())
    stages = list(record["stages"])
    record["stages"] = {name: record["stages"][name] for name in stages[: stages.index(stage)]}
    (tmp_path / NAME).write_text(json.dumps(record))
    asked: list[int] = []
    run(tmp_path, reward=True, judged_samples=2, before=asked.append)
    assert not asked
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"skill": 41, "per_problem": 3}, "other settings: per_problem was 4, here it is 3"),
        ({"solving": Asking(samples=5, at_once=1)}, "solving was"),
        ({"given": GIVEN[:-1]}, "other inputs: problems was"),
    ],
)
def test_a_folder_of_other_settings_is_refused(tmp_path: Path, changes: Any, told: str) -> None:
    run(tmp_path, count=1)
    with pytest.raises(UsageError, match=told):
        run(tmp_path, count=1, **changes)


def test_a_changed_file_is_refused_by_its_name(tmp_path: Path) -> None:
    run(tmp_path, count=1)
    path = tmp_path / "round-1" / "problems.jsonl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UsageError, match=r"problems.jsonl has been changed since round-1/synth"):
        run(tmp_path, count=1)
    path.unlink()
    with pytest.raises(UsageError, match=r"problems.jsonl is gone"):
        run(tmp_path, count=1)


def test_held_out_problems_are_left_out_by_name(tmp_path: Path) -> None:
    said: list[str] = []
    mixed = [*GIVEN, replace(HELD[3], id="copied")]
    outcome = run(tmp_path, count=1, given=mixed, said=said)
    assert f"copied is left out: the same as the held-out problems, {HELD[3].id}" in said
    kept = (tmp_path / "round-1" / "problems.jsonl").read_text()
    assert "copied" not in kept
    assert outcome.rounds[0].kept


def test_a_model_that_is_never_right_stops_with_what_it_saw(tmp_path: Path) -> None:
    with pytest.raises(QwenError, match=r"none of 24 answers is right: to sum-10 it said '14', not '13'"):
        run(tmp_path, skill=-1, given=GIVEN)


def test_a_model_that_is_always_right_has_nothing_left_to_learn(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = run(tmp_path, skill=100, said=said)
    assert outcome.adapter is None
    assert outcome.rounds[0].stopped == "there is nothing left to learn from"
    assert len(outcome.rounds) == 1
    assert "8 problems always right, 0 never" in outcome.rounds[0].gathered


def test_the_model_is_freed_before_it_is_trained(tmp_path: Path) -> None:
    loaded: list[Practising] = []

    def load(adapter: Path | None) -> Practising:
        loaded.append(Practising(40 + skill_of(adapter)))
        return loaded[-1]

    def trainer(training: Training) -> Any:
        assert all(engine.closed for engine in loaded)
        return train(training)

    rounds.improve(SETTINGS, 1, GIVEN, HELD, [], tmp_path, load, trainer)
    assert len(loaded) == 2  # without and with the adapter
    assert all(engine.closed for engine in loaded)


def test_without_held_out_problems_the_families_make_some(tmp_path: Path) -> None:
    class Knowing(Practising):
        def _answer(self, problem: str, sampling: Any) -> str:
            return r"\boxed{7}" if sampling.seed is None or sampling.seed % 2 else r"\boxed{8}"

    settings = replace(SETTINGS, wanted=Wanted(("linear",), 80), held_out=12)
    outcome = rounds.improve(settings, 1, [], [], [], tmp_path, lambda adapter: Knowing(0), train)
    assert len(outcome.before.rows) == 12
    problems = [
        json.loads(line) for line in (tmp_path / "round-1" / "problems.jsonl").read_text().splitlines()
    ]
    assert {one["family"] for one in problems} == {"linear"}
    assert {one["id"] for one in problems}.isdisjoint(row["id"] for row in outcome.before.rows)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"given": []}, "there is nothing to practise on"),
        ({"solving": Asking(samples=1)}, "`samples` must be 2 or more, got 1"),
        ({"solving": Asking(mode="auto")}, "`mode` must be short, cot, tir, got 'auto'"),  # type: ignore[arg-type]
        ({"solving": Asking(temperature=0.0)}, "8 samples at a temperature of 0 are all the same"),
    ],
)
def test_what_makes_no_sense_is_told_before_a_model_loads(tmp_path: Path, changes: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        run(tmp_path, before=lambda n: pytest.fail("it was asked"), **changes)
    assert not list(tmp_path.iterdir())


def test_what_stops_a_training_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    def check() -> None:
        raise ModelError("training none needs 90 GB")

    def whole(check: Callable[[], None]) -> Outcome:
        load = lambda adapter: Practising(40 + skill_of(adapter), before=asked.append)  # noqa: E731
        return rounds.improve(SETTINGS, 1, GIVEN, HELD, [], tmp_path, load, train, check=check)

    asked: list[int] = []
    with pytest.raises(ModelError, match="90 GB"):
        whole(check)
    assert not asked
    whole(lambda: None)
    whole(check)  # what is done is not stopped


def test_other_tests_are_kept_away_from(tmp_path: Path) -> None:
    long = "A farmer has 12 hens and 15 cows and sells 4 of the hens on Monday. How many are 10 + 3 then?"
    given = [*GIVEN, replace(GIVEN[0], id="farm", problem=long)]
    tests = [Protected("gsm8k", "17", long.replace("12", "13"))]
    said: list[str] = []
    rounds.improve(
        SETTINGS,
        1,
        given,
        HELD,
        tests,
        tmp_path,
        lambda a: Practising(40 + skill_of(a)),
        train,
        Hooks(said.append),
    )
    assert any(line.startswith("farm is left out: 13 words in a row and 9") for line in said)
