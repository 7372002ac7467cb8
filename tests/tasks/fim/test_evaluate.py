"""Infilling tasks with unit tests. Programs run in the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.fim import evaluate
from qwen_cli.tasks.fim.evaluate import Journal, Result

ROW = {
    "task_id": "Add/1",
    "entry_point": "add",
    "prompt": "def add(a, b):\n",
    "suffix": "\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(ROW) + "\n\n" + json.dumps({**ROW, "task_id": "Add/2"}) + "\n")
    return path


def test_a_right_middle_passes_and_a_wrong_one_says_why(tasks: Path) -> None:
    task = evaluate.load(tasks)[0]
    assert evaluate.failure(task, "    return a + b") is None
    assert "AssertionError" in str(evaluate.failure(task, "    return a - b"))
    assert "SyntaxError" in str(evaluate.failure(task, "    return a +"))


def test_leaving_before_the_tests_is_not_passing(tasks: Path) -> None:
    task = evaluate.load(tasks)[0]
    assert evaluate.failure(task, "    import sys; sys.exit(0)") is not None
    assert evaluate.failure(task, "    import os; os._exit(0)") is not None


def test_a_program_that_never_ends_is_ended(tasks: Path) -> None:
    assert evaluate.failure(evaluate.load(tasks)[0], "    while True: pass") is not None


def test_a_line_that_is_no_task_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(ROW) + "\n{}\n")
    with pytest.raises(UsageError, match=r"line 2 of .*task_id"):
        evaluate.load(path)
    path.write_text("\n")
    with pytest.raises(UsageError, match="has no tasks"):
        evaluate.load(path)


def test_a_stopped_run_goes_on_from_its_journal(tasks: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept" / "results.jsonl"
    with Journal(path, model="starter", mode="auto", tasks=tasks) as journal:
        journal.add(Result("Add/1", "    return a + b", True, "model"))
    with path.open("a") as file:
        file.write('{"run": {"by": "qwen eval fim", "mod')  # stopped here
    with Journal(path, model="starter", mode="auto", tasks=tasks) as again:
        assert list(again.done) == ["Add/1"]
        again.add(Result("Add/2", "", False, "model", "boom"))
    with Journal(path, model="starter", mode="auto", tasks=tasks) as whole:
        assert list(whole.done) == ["Add/1", "Add/2"]


def test_results_of_another_model_or_file_are_not_mixed_in(tasks: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal(path, model="starter", mode="auto", tasks=tasks) as journal:
        journal.add(Result("Add/1", "", True, "model"))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"model was 'starter', here it is 'qwen2\.5-coder:7b'"):
        Journal(path, model="qwen2.5-coder:7b", mode="auto", tasks=tasks)
    with pytest.raises(UsageError, match="mode was 'auto', here it is 'line'"):
        Journal(path, model="starter", mode="line", tasks=tasks)
    with pytest.raises(UsageError, match="adapters was not given"):
        Journal(path, model="starter", mode="auto", tasks=tasks, settings={"adapters": ["mine"]})
    tasks.write_text(tasks.read_text() + "\n")
    with pytest.raises(UsageError, match="sha256"):
        Journal(path, model="starter", mode="auto", tasks=tasks)
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_left_as_it_is(tasks: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for text in ("no json\n", "no newline", '{"id": "Add/1", "middle": "", "passed": true, "stop": "eos"}\n'):
        path.write_text(text)
        with pytest.raises(UsageError, match="cannot hold results"):
            Journal(path, model="starter", mode="auto", tasks=tasks)
        with pytest.raises(UsageError, match="give another `results`".capitalize()):
            evaluate.check(path)
        assert path.read_text() == text
