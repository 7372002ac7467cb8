"""Many problems: what is counted, what is tried again, whose files are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from qwen_cli.commands.math import batch as math_batch
from qwen_cli.commands.shared import plots
from qwen_cli.engines.core.base import Capabilities, EngineBase, Message, Piece, Stream, Usage
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.math.solve import SolveOptions

WAY = SolveOptions(mode="cot")


class Answers(EngineBase):
    """An engine that answers 7, but fails on problems that hold one of `failing`."""

    name, model = "scripted", "seven"
    capabilities = Capabilities(context=None)

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.asked = 0

    def chat(self, messages: Sequence[Message], **_: Any) -> Stream:
        self.asked += 1
        if any(word in str(messages[-1]["content"]) for word in self.failing):
            raise EngineError("the server is gone")
        yield Piece("It is \\boxed{7}.")
        yield Piece(usage=Usage(generated_tokens=5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"id": f"p{n}", "problem": f"Problem number {n}.", "answer": str(6 + n % 2)} for n in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(
    engine: Any,
    file: Path,
    out: Path,
    options: SolveOptions = WAY,
    export: Path | None = None,
    limit: int | None = None,
) -> None:
    with math_batch.opened(file, out, export) as batch:
        math_batch.run(engine, batch, options, {}, limit=limit, at_once=1)


def test_failures_of_the_engine_are_no_wrong_answers_and_are_tried_again(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(typer.Exit) as left:
        run(Answers(*(f"number {n}." for n in range(8))), file, out)  # 8 and 9 are answered, 9 rightly
    said = capsys.readouterr()
    assert left.value.exit_code == 1
    assert "50.0% (1 of 2," in said.out
    assert "engine failures      8" in said.out
    assert "p0: the server is gone" in said.err
    engine = Answers()
    run(engine, file, out)
    assert engine.asked == 8
    assert "50.0% (5 of 10," in capsys.readouterr().out
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [f"p{n}" for n in range(10)]


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("model", "eight", WAY),
        ("mode", "cot", replace(WAY, mode="tir")),
        ("lang", None, replace(WAY, language="zh")),
        ("samples", 1, replace(WAY, samples=3)),
        ("max_rounds", 6, replace(WAY, max_rounds=2)),
        ("think", None, replace(WAY, thinking=True)),
        ("sandbox", None, replace(WAY, contained=False)),
        ("verify", None, replace(WAY, verify=True)),
    ],
)
def test_figures_of_another_run_are_never_told_as_ours(
    name: str,
    value: Any,
    options: SolveOptions,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.jsonl"
    first = Answers()
    if name == "model":
        first.model = value
    run(first, file, out)
    kept = out.read_bytes()
    capsys.readouterr()
    second = Answers()
    with pytest.raises(UsageError, match=f"another model, mode or settings: {name} was") as refused:
        run(second, file, out, options)
    assert "\n" not in str(refused.value)
    assert (second.asked, capsys.readouterr().out, out.read_bytes()) == (0, "", kept)


def test_what_came_of_putting_answers_back_is_kept_and_counted(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    run(Answers(), file, out, replace(WAY, verify=True), limit=4)
    told = capsys.readouterr().out
    assert "not put back         4, right: 50.0% (2 of 4," in told
    assert "put back, holds      0, right: –" in told
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["verification"]["why"] for row in rows} == {"no program was written"}
    assert {row["check"] for row in rows} == {"not verified; not put back (no program was written)"}


def test_another_problem_or_answer_under_the_same_name_is_refused(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(Answers(), file, out)
    for before, after in (("Problem number 3.", "Problem number 33."), ('"answer": "7"', '"answer": "8"')):
        text = file.read_text()
        file.write_text(text.replace(before, after))
        with pytest.raises(UsageError, match="another problem or answer"):
            run(Answers(), file, out)
        file.write_text(text)


def test_the_problems_given_as_out_stay(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(UsageError, match="cannot hold results"):
        run(Answers(), file, file)
    assert file.read_bytes() == before


def test_an_export_replaces_only_what_came_of_the_same_results(file: Path, tmp_path: Path) -> None:
    out, export = tmp_path / "out.jsonl", tmp_path / "sft.jsonl"
    run(Answers(), file, out, export=export, limit=4)
    few = export.read_text().splitlines()
    assert len(few) == 2
    run(Answers(), file, out, export=export)
    whole = export.read_text().splitlines()
    assert whole[:2] == few
    run(Answers(), file, out, export=export, limit=1)
    assert export.read_text().splitlines() == whole  # nothing that was there goes
    for text in ("my chats", '{"messages": []}\n', "\n".join(whole) + '\n{"messages": [1]}\n'):
        export.write_text(text)
        with pytest.raises(UsageError, match="--export"):
            run(Answers(), file, out, export=export)
        assert export.read_text() == text
    for same in (file, out):
        with pytest.raises(UsageError, match="--file or --out as well"):
            run(Answers(), file, out, export=same)
    with pytest.raises(UsageError, match="no regular file"):
        run(Answers(), file, out, export=tmp_path)


def test_figures_of_a_second_problem_do_not_replace_the_first_ones(tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    first = list(plots.save([b"a", b"b"], folder))
    second = list(plots.save([b"c"], folder))
    assert [path.name for path in (*first, *second)] == ["plot-1.png", "plot-2.png", "plot-3.png"]
    assert [path.read_bytes() for path in (*first, *second)] == [b"a", b"b", b"c"]
    assert [path.name for path in plots.save([b"d"], folder, "circle")] == ["circle-1.png"]


def test_no_figures_make_no_folder_and_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    assert list(plots.save([], tmp_path / "plots")) == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "plots").write_text("x")
    with pytest.raises(UsageError, match="give another --save-plots".capitalize()):
        list(plots.save([b"a"], tmp_path / "plots"))
