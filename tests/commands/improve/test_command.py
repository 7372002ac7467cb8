"""`qwen improve`: what is wrong is told before a model loads, a run ends with a table and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from practising import Practising, skill_of, sums, train
from typer.testing import CliRunner, Result

from qwen_cli.commands import registry
from qwen_cli.commands.improve import command
from qwen_cli.commands.main import app as main
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.improve import decontaminate, reward, training
from qwen_cli.tasks.improve.reward import RewardPlanned, RewardResult
from qwen_cli.tasks.train import Evaluated

FEW = ("--samples", 3, "--parallel", 1)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is kept for all commands, and no bench is on this machine."""
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setattr(decontaminate.datasets, "present", lambda repo, pattern: ())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Practising]:
    """The models that a command loads: each knows what its adapter has learned."""
    engines: list[Practising] = []

    def load(settings: Any, loading: Any) -> Practising:
        adapters: Sequence[Path] = loading.adapters or []
        engines.append(Practising(40 + sum(map(skill_of, adapters)), model="small"))
        return engines[-1]

    monkeypatch.setattr(command, "open_engine", load)
    monkeypatch.setattr(training, "trainable", lambda model, say, progress: model)
    monkeypatch.setattr(training, "check", lambda model, lessons: None)
    monkeypatch.setattr(training, "trainer", lambda model, report: train)
    return engines


def improve(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["improve", *map(str, arguments)])


def write(path: Path, problems: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(problem.row()) + "\n" for problem in problems))
    return path


def test_a_run_ends_with_its_table_and_the_commands(tmp_path: Path, loaded: list[Practising]) -> None:
    given, held = write(tmp_path / "p.jsonl", sums(8)), write(tmp_path / "h.jsonl", sums(12, first=200))
    words = (
        given,
        "--heldout",
        held,
        "--out",
        tmp_path / "run",
        "-m",
        "small",
        "--samples",
        3,
        "--parallel",
        1,
    )
    done = improve(*words)
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["before", "round", "1"]
    assert any(line.startswith("by chance (McNemar)".rjust(21)) for line in lines)
    adapter = tmp_path / "run" / "round-1" / "adapter"
    assert f'  qwen math -m small --adapter {adapter} --mode cot "…"' in lines
    assert f"  qwen chat -m small --adapter {adapter}" in lines
    asked = sum(engine.asks for engine in loaded)
    again = improve(*words, "--json")
    assert sum(engine.asks for engine in loaded) == asked
    figures = json.loads(again.stdout)
    assert figures["adapter"] == str(adapter)
    assert figures["rounds"][0]["after"]["right"] > figures["before"]["right"]


def test_problems_are_made_without_a_model(tmp_path: Path) -> None:
    out = tmp_path / "made.jsonl"
    words = ("synthesize", "--families", "linear, percent", "--count", 6, "--out", out)
    done = improve(*words)
    assert done.exit_code == 0, done.exception
    assert done.stdout == f"6 problems in {out}\n"
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["family"] for row in rows] == ["linear", "percent"] * 3
    before = out.read_bytes()
    assert improve(*words).exit_code == 0
    assert out.read_bytes() == before
    other = improve(*words, "--seed", 4)
    assert isinstance(other.exception, UsageError)
    assert "is there, and holds something else" in str(other.exception)
    assert out.read_bytes() == before


def test_samples_become_chats_and_pairs(tmp_path: Path, loaded: list[Practising]) -> None:
    given = write(tmp_path / "p.jsonl", sums(8))
    words = (
        *("solve", given, "--out", tmp_path / "s.jsonl", "-m", "small", *FEW),
        *("--export", tmp_path / "train.jsonl", "--pairs", tmp_path / "pairs.jsonl"),
    )
    done = improve(*words)
    assert done.exit_code == 0, done.exception
    chats = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert done.stdout.startswith(f"{len(chats)} right solutions of")
    assert all(
        [turn["role"] for turn in chat["messages"]] == ["system", "user", "assistant"] for chat in chats
    )
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert all(set(pair) == {"prompt", "chosen", "rejected"} for pair in pairs)
    asked = sum(engine.asks for engine in loaded)
    assert improve(*words).exit_code == 0
    assert sum(engine.asks for engine in loaded) == asked == 24


def solved(tmp_path: Path, count: int = 8) -> tuple[Path, Path]:
    """A file of problems and one of their samples."""
    given, samples = write(tmp_path / "p.jsonl", sums(count)), tmp_path / "s.jsonl"
    done = improve("solve", given, "--out", samples, "-m", "small", *FEW)
    assert done.exit_code == 0, done.exception
    return given, samples


RESULT = RewardResult(
    Path("r"), "small", "cot", 6, 2, 9, 0.5, 0.75, (0.2, 0.97), 0.693, 0.5, 9, 6, "end", 99, 1.0
)


def test_a_reward_model_is_trained_on_the_samples(
    tmp_path: Path, loaded: list[Practising], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, samples = solved(tmp_path)
    asked: list[Any] = []

    def train(settings: Any, compared: Any, report: Any) -> RewardResult:
        asked.extend([settings, compared])
        report(RewardPlanned(6, 18, 12, 2, 4, 1, 9, 1_000_000_000, 800, False))
        report(Evaluated(0, 0.693, True, 0.1, {"accuracy": 0.5}))
        return RESULT

    monkeypatch.setattr(reward, "train", train)
    words = ("reward", given, samples, "--out", tmp_path / "r", "--epochs", 5)
    done = improve(*words)
    assert done.exit_code == 0, done.exception
    assert done.stdout == (
        "9 pairs of 2 held-out problems: 50.0% ordered rightly before (chance: all scores were equal), "
        "75.0% after (95 % interval 20.0% to 97.0%)\n"
    )
    assert "12 pairs of 6 problems to learn from, 4 of 2 held out; 9 steps" in done.stderr
    assert "1 solutions longer than --max-length are left out" in done.stderr
    assert "step 0: held-out loss 0.6930, accuracy 50.0%, the lowest" in done.stderr
    settings, compared = asked
    assert (settings.model, settings.name, settings.mode, settings.epochs) == ("small", "small", "cot", 5)
    assert all(one.right and one.wrong for one in compared)
    assert json.loads(improve(*words, "--json").stdout)["accuracy"] == 0.75


def test_what_a_reward_model_cannot_learn_from_is_told_before_a_model_loads(
    tmp_path: Path, loaded: list[Practising], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, samples = solved(tmp_path)
    other = write(tmp_path / "other.jsonl", sums(3))
    monkeypatch.setattr(reward, "train", lambda *given: pytest.fail("it is trained"))
    monkeypatch.setattr(training, "trainable", lambda *given: pytest.fail("weights are looked for"))
    right = tmp_path / "right.jsonl"
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    right.write_text("".join(json.dumps(row) + "\n" for row in rows if row["correct"]))
    out = ("--out", tmp_path / "r")
    for words, told in (
        ((given, samples), "a reward model needs a place"),
        ((other, samples, *out), "has solutions of other problems than"),
        ((given, given, *out), "p.jsonl cannot hold results"),
        ((given, tmp_path / "none.jsonl", *out), "there is no file"),
        ((given, right, *out), "no problem has a right and a wrong solution: "),
        ((given, samples, *out, "--heldout", 0), "`heldout=0.0` makes no sense"),
    ):
        done = improve("reward", *words)
        assert isinstance(done.exception, QwenError), words
        assert told in str(done.exception)
    assert not (tmp_path / "r").exists()


class Liking:
    """A reward model that likes one way to a solution. What it is loaded on is checked elsewhere."""

    def __init__(self, folder: Path, model: str) -> None:
        self.way = (folder / "adapter_model.safetensors").read_text()

    def scores(self, problem: str, solutions: Sequence[str]) -> list[float]:
        return [float(text.startswith(self.way)) for text in solutions]

    def __enter__(self) -> Liking:
        return self

    def __exit__(self, *exc: object) -> None: ...


@pytest.fixture
def liking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reward model."""
    folder = tmp_path / "reward"
    folder.mkdir()
    about = {"by": reward.BY, "model": "small", "mode": "cot", "weights": "w"}
    (folder / "reward.json").write_text(json.dumps(about))
    (folder / "adapter_model.safetensors").write_text("Way 4")
    for name in ("adapter_config.json", "reward_head.safetensors"):
        (folder / name).write_text("{}")
    monkeypatch.setattr(reward, "RewardModel", Liking)
    monkeypatch.setattr(reward.base, "trainable", lambda model: SimpleNamespace(path=Path(model)))
    monkeypatch.setattr(reward.base, "weights_digest", lambda path: {"small": "w"}.get(path.name, "other"))
    return folder


def test_the_best_solutions_by_reward_are_exported(
    tmp_path: Path, loaded: list[Practising], liking: Path
) -> None:
    given, chats = write(tmp_path / "p.jsonl", sums(8)), tmp_path / "train.jsonl"
    words = ("solve", given, "--out", tmp_path / "s.jsonl", "-m", "small", "--samples", 9, "--parallel", 1)
    done = improve(*words, "--per-problem", 1, "--export", chats, "--reward", liking)
    assert done.exit_code == 0, done.exception
    assert "to learn from, the best by reward" in done.stdout
    samples = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    liked = {row["id"] for row in samples if row["correct"] and row["text"].startswith("Way 4")}
    learned = [json.loads(line)["messages"][-1]["content"] for line in chats.read_text().splitlines()]
    assert sum(text.startswith("Way 4") for text in learned) == len(liked) > 2


def test_the_best_of_samples_is_judged_beside_the_vote(
    tmp_path: Path, loaded: list[Practising], liking: Path
) -> None:
    held = write(tmp_path / "h.jsonl", sums(10, first=200))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "skill.json").write_text("30")
    words = ("judge", held, "--adapter", tmp_path / "adapter", "--out", tmp_path / "v", "-m", "small")
    more = ("--samples", 4, "--parallel", 1, "--reward", liking)
    done = improve(*words, *more)
    assert done.exit_code == 0, done.exception
    named = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"most of 4 samples agree", "best of 4 by reward"} <= set(named)
    figures = json.loads(improve(*words, *more, "--json").stdout)
    assert {"maj@4", "rm@4", "sampled pass@4"} <= set(figures["before"])
    assert figures["after"]["rm@4"] <= figures["after"]["sampled pass@4"]
    without = json.loads(improve(*words, *more[:4], "--json").stdout)
    assert "rm@4" not in without["after"]


def test_a_run_with_a_reward_model_tells_of_it(
    tmp_path: Path, loaded: list[Practising], liking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(settings: Any, compared: Any, report: Any) -> RewardResult:
        settings.out.mkdir()
        (settings.out / "adapter_model.safetensors").write_text("Way 2")
        return RESULT

    monkeypatch.setattr(reward, "train", train)
    given, held = write(tmp_path / "p.jsonl", sums(8)), write(tmp_path / "h.jsonl", sums(12, first=200))
    words = (given, "--heldout", held, "--out", tmp_path / "run", "-m", "small", *FEW, "--reward", "--json")
    done = improve(*words, "--judge-samples", 3)
    assert done.exit_code == 0, done.exception
    (one,) = json.loads(done.stdout)["rounds"]
    assert one["reward"]["accuracy"] == 0.75
    assert "rm@3" in one["after"]
    assert f"round 1: {RESULT.words}" in done.stderr


def test_a_reward_model_that_is_none_of_this_model_is_refused_before_anything_is_asked(
    tmp_path: Path, loaded: list[Practising], liking: Path
) -> None:
    given = write(tmp_path / "p.jsonl", sums(4))
    solve = ("solve", given, "--out", tmp_path / "s.jsonl")
    adapted = ("judge", given, "--adapter", "a", "--out", tmp_path / "v", "-m", "small")
    for words, told in (
        ((*solve, "-m", "other", "--reward", liking), "was trained on other weights than other: on small"),
        ((*solve, "-m", "small", "--mode", "short", "--reward", liking), "of the mode cot, here it is short"),
        ((*solve, "-m", "small", "--reward", tmp_path), "is no reward model: it has no reward.json"),
        ((*solve, "--endpoint", "http://127.0.0.1:9", "--reward", liking), "those of a server are not here"),
        ((*adapted, "--reward", liking), "--reward chooses among samples, 0 are drawn"),
        (
            ("synthesize", "--families", "all", "--out", tmp_path / "o.jsonl", "--reward", liking),
            "--reward weights the votes on changed problems",
        ),
    ):
        done = improve(*words)
        assert isinstance(done.exception, QwenError), words
        assert told in str(done.exception)
    (liking / "reward_head.safetensors").unlink()
    done = improve(*solve, "-m", "small", "--reward", liking)
    assert "has no reward_head.safetensors" in str(done.exception)
    assert not loaded


@pytest.mark.parametrize(("gain", "code"), [(30, 0), (-30, 1)])
def test_an_adapter_is_judged_against_the_model_alone(
    tmp_path: Path, loaded: list[Practising], gain: int, code: int
) -> None:
    held = write(tmp_path / "h.jsonl", sums(20, first=200))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "skill.json").write_text(str(gain))
    adapter, out = tmp_path / "adapter", tmp_path / "v"
    words = ("judge", held, "--adapter", adapter, "--out", out, "-m", "small", "--parallel", 1)
    done = improve(*words, "--json")
    assert done.exit_code == code, done.exception
    figures = json.loads(done.stdout)
    assert figures["kept"] is (code == 0)
    assert (figures["after"]["right"] > figures["before"]["right"]) is (code == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["p.jsonl"], "a run needs a folder. Add --out FOLDER"),
        (["p.jsonl", "--out", "r"], "there is no model to improve"),
        (["--out", "r", "-m", "small"], "there is nothing to practise on"),
        (["p.jsonl", "--out", "r", "-m", "small"], "there is nothing to judge by"),
        (["none.jsonl", "--out", "r", "-m", "small"], "none.jsonl"),
        (["--families", "algebra", "--out", "r", "-m", "small"], "there is no family of problems 'algebra'"),
        (["p.jsonl", "--variants", "harder", "--out", "r", "-m", "small"], "there is no way 'harder'"),
        (["p.jsonl", "--mode", "auto", "--out", "r", "-m", "small"], "must be short, cot, tir, got 'auto'"),
        (["p.jsonl", "--samples", "1", "--out", "r", "-m", "small"], "must be 2 or more, got 1"),
        (["p.jsonl", "--endpoint", "http://127.0.0.1:9", "--out", "r"], "a model on a server is not trained"),
        (["p.jsonl", "--adapter", "a", "--out", "r", "-m", "small"], "a run makes its own adapter"),
        (["bare.jsonl", "--out", "r", "-m", "small"], "no problem of bare.jsonl has an answer"),
        (
            ["p.jsonl", "--heldout", "p.jsonl", "--out", "r", "-m", "small"],
            "no problem is left to practise on",
        ),
        (["p.jsonl", "--heldout", "p.jsonl", "--out", ".", "-m", "small"], "and no run of ours"),
        (["synthesize", "--families", "all"], "the problems need a place"),
        (["synthesize", "--out", "o.jsonl"], "there is nothing to make problems of"),
        (["synthesize", "--families", "all", "--variants", "all", "--out", "o"], "--variants needs problems"),
        (["synthesize", "p.jsonl", "--out", "p.jsonl"], "p.jsonl would be written over, and is needed"),
        (["solve", "p.jsonl"], "the samples need a place"),
        (["solve", "p.jsonl", "--out", "p.jsonl"], "p.jsonl cannot hold results"),
        (
            ["solve", "p.jsonl", "--out", "s.jsonl", "--export", "bare.jsonl"],
            "bare.jsonl is there, and",
        ),
        (
            ["p.jsonl", "--count", "9", "--out", "r", "-m", "small"],
            "--count is for problems that families make",
        ),
        (
            ["p.jsonl", "--votes", "9", "--out", "r", "-m", "small"],
            "for changed problems. Add --variants",
        ),
        (["p.jsonl", "--heldout", "p.jsonl", "--heldout-count", "9", "--out", "r"], "exclude each other"),
        (["judge", "p.jsonl", "--out", "v"], "there is no adapter to judge"),
        (
            ["judge", "p.jsonl", "--adapter", "a", "--out", "v", "--samples", "2", "--temperature", "0"],
            "the same",
        ),
        (["synthesize", "p.jsonl", "--variants", "all", "--temperature", "0", "--out", "o"], "the same"),
        (["judge", "p.jsonl", "--adapter", "a"], "the answers need a place"),
        (["p.jsonl", "--temperature", "0", "--out", "r", "-m", "small"], "are all the same"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_asked(
    tmp_path: Path, loaded: list[Practising], words: list[str], told: str
) -> None:
    write(tmp_path / "p.jsonl", sums(4))
    (tmp_path / "bare.jsonl").write_text('{"problem": "What is 1 + 1?"}\n')
    before = (tmp_path / "p.jsonl").read_bytes()
    done = improve(*words)
    assert isinstance(done.exception, QwenError)
    assert told in str(done.exception)
    assert not sum(engine.asks for engine in loaded)
    assert (tmp_path / "p.jsonl").read_bytes() == before


def test_problems_without_an_answer_are_named(
    tmp_path: Path, loaded: list[Practising], capsys: pytest.CaptureFixture[str]
) -> None:
    given = write(tmp_path / "p.jsonl", sums(3))
    with given.open("a") as file:
        file.write('{"id": "open", "problem": "What is 1 + 1?"}\n')
    done = improve("synthesize", given, "--out", tmp_path / "o.jsonl")
    assert done.exit_code == 0, done.exception
    assert "1 of 4 problems of" in done.stderr
    assert "have no answer, left out: open" in done.stderr


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["improve", "p.jsonl"], "improve"),
        (["improve"], "improve"),
        (["improve", "--help"], "improve"),
        (["improve", "judge"], "improve"),
        (["improve", "--rounds", "2"], "improve"),
        (["improve my estimate of pi"], "math"),
        (["improve", "my", "estimate", "of", "pi"], "math"),
        (["What is 2 + 2?"], "math"),
    ],
)
def test_math_improve_is_improve_and_other_words_are_a_problem(words: list[str], verb: str) -> None:
    group: Any = typer.main.get_command(main)
    context = group.context_class(group, info_name="qwen")
    name, _, rest = group.resolve_command(context, ["math", *words])
    assert name == verb
    assert rest == (words[1:] if verb == "improve" else words)
    assert "improve" in registry.VERBS


def test_a_misspelt_stage_is_told() -> None:
    done = improve("jugde", "p.jsonl")
    assert done.exit_code == 2
    assert "jugde" in done.stderr
