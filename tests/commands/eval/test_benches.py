"""`qwen eval`: figures with all that they depend on, resumed, never mixed with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from examined import Examined
from typer.testing import CliRunner

from qwen_cli.commands.eval.bench import KINDS
from qwen_cli.commands.eval.command import app
from qwen_cli.commands.eval.several import SUITES
from qwen_cli.errors import EngineError, QwenError, UsageError
from qwen_cli.tasks.eval.benches import BENCHES, NAMED

run = CliRunner()
LIKES = {" A": 0.4, " B": 0.3}
PROBLEMS = [{"id": str(n), "problem": f"{n} + 1", "answer": str(n + 1)} for n in range(6)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, home: Path) -> Examined:
    sat = Examined(lambda prompt: r"\boxed{1}", likes=LIKES, model="qwen2.5:7b")
    monkeypatch.setattr("qwen_cli.commands.eval.measure.open_engine", lambda *given: sat)
    return sat


def rows_of(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def mmlu(tmp_path: Path) -> Path:
    rows = [
        {"question": f"{n}?", "choices": ["a", "b"], "answer": int(n > 3), "subject": subject}
        for subject in ("law", "art")
        for n in range(6)
    ]
    return rows_of(tmp_path / "mmlu.jsonl", rows)


def said(*words: object) -> str:
    outcome = run.invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def refused(*words: object) -> QwenError:
    with pytest.raises(QwenError) as caught:
        run.invoke(app, [str(word) for word in words], catch_exceptions=False)
    return caught.value


def test_the_commands_are_the_benches() -> None:
    assert {bench.name: bench.kind for bench in BENCHES} == KINDS
    assert set().union(*SUITES.values()) <= set(NAMED)


def test_a_figure_is_told_with_its_protocol_model_and_interval(engine: Examined, mmlu: Path) -> None:
    out = said("mmlu", mmlu, "--protocol", "lm-eval", "--shots", 2)
    assert out.splitlines()[0] == (
        "mmlu · 2-shot · completion as lm-eval · log-probability · qwen2.5:7b on examined:"
        " 50.0 % (4 of 8, 95 % interval 21.5 % to 78.5 %)"
    )
    assert "law" in out and "mean of the subjects" in out


def test_the_figure_says_what_the_weights_are_held_in(
    monkeypatch: pytest.MonkeyPatch, home: Path, mmlu: Path
) -> None:
    held = Examined(likes=LIKES, model="qwen2.5:7b", weights="Q4_K_M")
    monkeypatch.setattr("qwen_cli.commands.eval.measure.open_engine", lambda *given: held)
    assert " · qwen2.5:7b (Q4_K_M) on examined: " in said("mmlu", mmlu, "--protocol", "lm-eval")
    assert json.loads(said("mmlu", mmlu, "--protocol", "lm-eval", "--json"))["weights"] == "Q4_K_M"
    assert "Q4_K_M" in said("mmlu", mmlu, "--protocol", "lm-eval", "--markdown")


def test_json_has_every_figure(engine: Examined, mmlu: Path, tmp_path: Path) -> None:
    figures = json.loads(said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--json"))
    assert (figures["share"], figures["items"], figures["cut"]) == (0.6667, 12, 0)
    assert figures["subjects"]["law"]["items"] == 6
    assert Path(figures["results"]).is_file()


def test_markdown_is_a_table_for_a_paper(engine: Examined, mmlu: Path) -> None:
    out = said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--markdown")
    assert out.startswith("| bench | protocol | model |")
    assert "| law | 66.7 % |" in out


def test_a_run_that_was_stopped_goes_on(engine: Examined, mmlu: Path, tmp_path: Path) -> None:
    book = tmp_path / "r.jsonl"
    said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--limit", 4, "--results", book)
    assert len(engine.prompts) == 4
    said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--results", book)
    assert len(engine.prompts) == 12
    assert (
        "a" not in said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--limit", 2, "--results", book)[:0]
    )
    assert len(engine.prompts) == 12


@pytest.mark.parametrize("other", [("--shots", 1), ("--protocol", "lm-eval"), ("--seed", 3)])
def test_results_of_another_protocol_are_not_mixed(
    engine: Examined, mmlu: Path, tmp_path: Path, other: tuple[str, object]
) -> None:
    book = tmp_path / "r.jsonl"
    said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--results", book)
    fault = refused("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--results", book, *other)
    assert "holds results of another model, mode or settings" in str(fault)


def test_a_file_that_is_no_journal_is_not_touched(engine: Examined, mmlu: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert isinstance(refused("mmlu", mmlu, "--results", notes), UsageError)
    assert notes.read_text() == "mine"


def test_problems_are_solved_in_chat_and_voted_on(engine: Examined, tmp_path: Path) -> None:
    file = rows_of(tmp_path / "gsm8k.jsonl", PROBLEMS)
    out = said("gsm8k", file, "--samples", 3)
    assert "16.7 %" in out.splitlines()[0]
    assert "pass@3" in out and "maj@3" in out


def test_what_was_cut_is_said(engine: Examined, tmp_path: Path) -> None:
    engine._says, engine._stop = (lambda prompt: "First"), "length"
    outcome = run.invoke(app, ["aime", str(rows_of(tmp_path / "a.jsonl", PROBLEMS))])
    assert "6 of 6 answers were cut at a limit" in outcome.stderr
    assert "cut" not in outcome.stdout


def test_questions_that_got_no_answer_are_a_failure_and_the_others_kept(
    engine: Examined, tmp_path: Path
) -> None:
    def fails(prompt: str) -> str:
        if prompt.startswith("3"):
            raise EngineError("the engine fell over")
        return r"\boxed{1}"

    engine._says = fails
    book = tmp_path / "r.jsonl"
    fault = refused("gsm8k", rows_of(tmp_path / "g.jsonl", PROBLEMS), "--results", book)
    assert "1 of 6 questions got no answer, 3 first: the engine fell over" in str(fault)
    assert len(book.read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mmlu", "nowhere.jsonl"), "there is no file nowhere.jsonl"),
        (("aime",), "aime has no data set that is fetched by itself"),
        (("gsm8k", "MMLU", "--mode", "auto"), "--mode must be cot, short or tir, got 'auto'"),
        (("mmlu", "MMLU", "--protocol", "raw"), "--protocol must be auto, base, lm-eval, chat, thinking"),
        (("mmlu", "MMLU", "--json", "--markdown"), "two forms of one output"),
        (("mmlu", "MMLU", "--plot", "a.pdf"), "draws a .png file"),
        (("mmlu", "MMLU", "--compare", "nothing.jsonl"), "nothing.jsonl holds no results"),
        (("mmlu", "MMLU", "--subject", "chess"), "there is no subject 'chess'"),
        (("mmlu", "MMLU", "--protocol", "base", "--samples", "2"), "rated letters have no samples"),
        (("passkey", "--lengths", "a"), "--lengths are numbers"),
        (("passkey", "--lengths", "10"), "a text has 128 tokens or more"),
        (("passkey", "--lengths", "900000"), "fits a context of 32,768 tokens"),
        (("suite", "huge"), "there is no suite 'huge'"),
        (("compare", "a", "b"), "holds no results"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    engine: Examined, mmlu: Path, words: tuple[str, ...], told: str
) -> None:
    fault = refused(*(str(mmlu) if word == "MMLU" else word for word in words))
    assert told in str(fault)


def test_a_subject_alone_can_be_asked(engine: Examined, mmlu: Path) -> None:
    figures = json.loads(said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--subject", "law", "--json"))
    assert figures["items"] == 6


def test_two_runs_are_compared(engine: Examined, mmlu: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--results", one)
    engine._likes = {" A": 0.1, " B": 0.3}
    out = said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--results", other, "--compare", one)
    assert "only first" in out
    found = json.loads(said("compare", one, other, "--json"))
    assert (found[0]["items"], found[0]["only_first"], found[0]["only_second"]) == (12, 8, 4)
    assert "| all | 12 |" in said("compare", one, other, "--markdown")


def test_published_figures_stand_beside_ours_with_their_source(engine: Examined, tmp_path: Path) -> None:
    engine.model = "starter"
    row = {"task_id": "1", "prompt": "def f():\n", "entry_point": "f", "test": "def check(f):\n    pass"}
    out = said("humaneval", rows_of(tmp_path / "h.jsonl", [row]), "--compare", "card")
    assert "61.6 %" in out and "arXiv:2409.12186" in out


def test_a_picture_of_the_figures_is_drawn(engine: Examined, mmlu: Path, tmp_path: Path) -> None:
    said("mmlu", mmlu, "--protocol", "base", "--shots", 0, "--plot", tmp_path / "p" / "f.png")
    assert (tmp_path / "p" / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_suite_takes_files_of_a_folder_and_names_what_is_missing(
    engine: Examined, mmlu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of(mmlu.parent / "gsm8k-200.jsonl", PROBLEMS)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    outcome = run.invoke(app, ["suite", "quick", "--data", str(mmlu.parent)])
    assert outcome.exit_code == 1
    assert "left out: humaneval" in outcome.stderr
    assert "mmlu" in outcome.stdout and "gsm8k" in outcome.stdout


def test_the_list_names_every_bench() -> None:
    out = said("list")
    assert all(f"\n{bench.name} " in out for bench in BENCHES)
    assert {row["bench"] for row in json.loads(said("list", "--json"))} == set(NAMED)
