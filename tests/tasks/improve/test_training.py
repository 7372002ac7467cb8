"""Adapters of a run: what is trained, whether that would fit, that llama.cpp computes what was learned."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import small_gguf

from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.load import open_engine
from qwen_cli.errors import ModelError
from qwen_cli.models.planning import hardware
from qwen_cli.tasks.improve import gather, judge, training
from qwen_cli.tasks.improve.asking import Asking
from qwen_cli.tasks.improve.comparisons import Compared
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.improve.rounds import Lessons, RewardTraining, Training

LESSONS = Lessons(epochs=40, rank=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file, with the folder of its safetensors beside it."""
    return small_gguf.make("Qwen2", tmp_path_factory.mktemp("small"))


def test_what_was_learned_is_computed_by_llama_cpp(small: Path, tmp_path: Path) -> None:
    problems = [Problem("a", "1+1?", "2"), Problem("b", "3+4?", "7")]
    how = Asking("cot", samples=0, temperature=0.0, max_tokens=10, at_once=1)
    before, after = tmp_path / "before", tmp_path / "after"
    with open_engine(LoadOptions(model=str(small))) as engine:
        solutions = [gather.Solution(one, rf"\boxed{{{one.answer}}}") for one in problems]
        chats = gather.chats(solutions, "cot", engine.model)
        assert judge.judge(engine, problems, how, before, {}).right == 0
    train = training.trainer(str(small.parent / "model"), lambda folder: nullcontext(lambda event: None))
    figures = train(Training(chats, [], tmp_path / "adapter", None, 0, LESSONS))
    assert figures["loss"] < 1
    with open_engine(LoadOptions(model=str(small), adapters=[tmp_path / "adapter"])) as engine:
        judged = judge.judge(engine, problems, how, after, {})
    assert judged.right == 2, judged.rows
    assert judge.is_kept(judge.read(before), judged)


def test_a_reward_model_of_a_run_is_trained_and_loaded_again(small: Path, tmp_path: Path) -> None:
    compared = [
        Compared(Problem(f"p{n}", f"{n}+{n}?", "2"), (rf"\boxed{{{2 * n}}}",), ("no", "perhaps"))
        for n in range(4)
    ]
    rewarding = training.rewarding(
        str(small.parent / "model"), "small", lambda folder: nullcontext(lambda event: None)
    )
    figures = rewarding.train(RewardTraining(compared, tmp_path / "reward", "cot", 0))
    assert (figures["problems"], figures["heldout"], figures["pairs"]) == (3, 1, 2)
    assert figures["accuracy_before"] == 0.5
    assert "held-out" in figures["words"]
    with rewarding.load(tmp_path / "reward") as score:
        assert len(score("1+1?", ["2", "3", "4"])) == 3


def test_too_little_memory_is_told_and_nothing_is_left(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    training.check(str(small.parent / "model"), Lessons())
    monkeypatch.setattr(hardware, "free_memory", lambda: 10_000)
    with pytest.raises(ModelError, match=r"training .* needs"):
        training.check(str(small.parent / "model"), Lessons())
    assert not list(tmp_path.iterdir())


def test_a_gguf_file_is_converted_once(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    said: list[str] = []
    folder = training.trainable(str(small), said.append)
    assert Path(folder).parent == tmp_path / "models"
    assert (Path(folder) / "model.safetensors").is_file() or list(Path(folder).glob("*.safetensors"))
    assert said == [f"{small} is a GGUF file, which is not trained: it is converted to {folder}"]
    assert training.trainable(str(small), said.append) == folder
    assert len(said) == 1
    assert training.trainable(str(small.parent / "model"), said.append) == str(small.parent / "model")


def test_what_names_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        training.trainable("qwen99:1b", print)
