"""Files of benches: in every format, with shots, as many of each subject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.eval import benches, rows
from qwen_cli.tasks.eval.benches import NAMED, stratified

ROWS = [
    {"question": f"{subject} {number}?", "choices": ["a", "b"], "answer": number % 2, "subject": subject}
    for subject in ("law", "art", "sea")
    for number in range(4)
]


def written(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), "utf-8")
    elif path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_the_same_rows_are_read_from_every_format(tmp_path: Path, ending: str) -> None:
    assert rows.read(written(tmp_path / f"mmlu{ending}")) == ROWS


def test_a_csv_has_a_head_or_is_mmlus_own(tmp_path: Path) -> None:
    headed = tmp_path / "ceval.csv"
    headed.write_text('question,A,B,C,D,answer\n"一,二？",1,2,3,4,B\n', "utf-8-sig")
    assert rows.read(headed) == [
        {"question": "一,二？", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "B"}
    ]
    bare = tmp_path / "high_school_physics_test.csv"
    bare.write_text('"What, then?",1,2,3,4,C\n')
    assert rows.read(bare)[0]["subject"] == "high_school_physics"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", "{", "cannot read"),
        ("a.jsonl", "[1]", "row 1 is no object"),
        ("a.json", "3", "it is no list"),
        ("a.txt", "x", r"is no \.jsonl"),
        ("a.parquet", "PAR", "cannot read"),
        ("a.csv", "a,b\n1,2,3\n", "cannot read"),
        ("a.jsonl", "[" * 100_000, "cannot read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=told):
        rows.read(tmp_path / name)


def test_a_row_that_lacks_something_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", [ROWS[0], {"question": "?", "choices": ["a"]}])
    with pytest.raises(UsageError, match=r"row 2 of .*: it has no 'answer'"):
        benches.read(NAMED["mmlu"], file)


def test_without_a_file_of_shots_the_first_of_each_subject_are_them(tmp_path: Path) -> None:
    loaded = benches.read(NAMED["mmlu"], written(tmp_path / "mmlu.jsonl")).after(2)
    assert len(loaded.items) == 6
    assert loaded.remark and "first 2 of each subject" in loaded.remark
    for item in loaded.items:
        assert [shot.subject for shot in item.shots] == [item.subject] * 2  # type: ignore[attr-defined]
        assert item.id not in {shot.id for shot in item.shots}  # type: ignore[attr-defined]


def test_shots_of_a_file_leave_all_questions(tmp_path: Path) -> None:
    shots = written(tmp_path / "dev.jsonl", ROWS[:2])
    loaded = benches.read(NAMED["mmlu"], written(tmp_path / "mmlu.jsonl")).after(5, shots)
    assert len(loaded.items) == 12
    assert loaded.remark is None
    assert all(len(item.shots) == 2 for item in loaded.items)  # type: ignore[attr-defined]


def test_ids_that_come_again_are_told_apart(tmp_path: Path) -> None:
    loaded = benches.read(NAMED["mmlu"], written(tmp_path / "a.jsonl", [{**ROWS[0], "id": 1}] * 2))
    assert [item.id for item in loaded.items] == ["law/1", "law/1#2"]


def test_a_limit_takes_as_many_of_each_subject_in_the_files_order(tmp_path: Path) -> None:
    items = benches.read(NAMED["mmlu"], written(tmp_path / "a.jsonl")).items
    taken = stratified(items, 7, None)
    assert [item.subject for item in taken] == ["law"] * 3 + ["art"] * 2 + ["sea"] * 2
    assert taken == stratified(items, 7, None)
    drawn = stratified(items, 7, 1)
    assert drawn == stratified(items, 7, 1) != taken
    assert len(stratified(items, 100, None)) == 12


@pytest.mark.parametrize("bench", benches.BENCHES, ids=lambda bench: bench.name)
def test_every_bench_says_what_a_row_has(bench: benches.Bench) -> None:
    assert bench.kind == "passkey" or bench.fields
    assert bench.title and not bench.title.endswith(".")
