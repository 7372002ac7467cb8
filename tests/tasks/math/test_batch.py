"""Many problems: what is read, what is in flight, what is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from examined import Examined
from scripted import Scripted, end

from qwen_cli.engines.core.base import Message, Piece, Sampling, Stream
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.math import batch, prompts, solve

WAY = solve.SolveOptions(mode="cot")


class Busy(Scripted):
    """Takes a moment for each answer, the number in the question, and knows how many it gave at once."""

    def __init__(self, *, lanes: int) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, thinking=None)
        self._lanes, self._lock, self.now, self.most = lanes, threading.Lock(), 0, 0

    def lanes(self, n: int, *, warm: bool = False) -> list[Any]:
        return [self] * min(n, self._lanes)

    def chat(self, messages: Sequence[Message], *, sampling: Sampling = Sampling(), **_: Any) -> Stream:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.05)
        with self._lock:
            self.now -= 1
        word = str(messages[-1]["content"]).split()[-1]
        if word == "fails":
            raise EngineError("the model failed")
        yield Piece(f"It is \\boxed{{{word}}}.")
        yield end()


def problems(path: Path, *lines: Any) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def test_a_broken_line_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    path = problems(
        tmp_path / "p.jsonl", {"problem": "a"}, "{broken", "", {"id": "x"}, {"problem": " "}, {"problem": "b"}
    )
    found = batch.load(path, said.append)
    assert [(p.id, p.problem) for p in found] == [("1", "a"), ("6", "b")]
    assert [line.split(" of ")[0] for line in said] == ["line 2", "line 4", "line 5"]


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    path = problems(tmp_path / "p.jsonl", {"id": 1, "problem": "a"}, {"id": "1", "problem": "b"})
    with pytest.raises(UsageError, match="'1' again"):
        batch.load(path, print)


def test_a_file_without_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no problems"):
        batch.load(problems(tmp_path / "p.jsonl", ""), print)


@pytest.mark.parametrize(
    ("row", "problem", "answer"),
    [
        ({"question": "How many?", "answer": "He has 8 * 9 = <<8*9=72>>72.\n#### 72"}, "How many?", "72"),
        ({"question": "q", "answer": "#### 1,234"}, "q", "1,234"),
        ({"input": "q", "output": "72"}, "q", "72"),
        ({"Question": "q", "Answer": "5/7"}, "q", "5/7"),
        ({"PROBLEM": "q", "Answer": 72}, "q", "72"),
        ({"problem": "q", "solution": "It is $x$, so \\boxed{\\frac{1}{2}}."}, "q", "\\frac{1}{2}"),
        ({"problem": "q", "solution": "so \\boxed{1} and \\boxed{2}", "answer": "3"}, "q", "3"),
        ({"problem": "q", "solution": "#### Step 1\nAdd.\n#### Step 2\nSo \\boxed{9}."}, "q", "9"),
        ({"query": "q", "response": "6 and 7 are 13.\nThe answer is: 13"}, "q", "13"),
        ({"question": "q", "final_answer": ["10"]}, "q", "10"),
        ({"question": "q", "golden": 0}, "q", "0"),
        (
            {"Body": "Ann has 3 pens.", "Question": "How many?", "Answer": 3.0},
            "Ann has 3 pens.\nHow many?",
            "3.0",
        ),
        ({"instruction": "Add.", "input": "1 + 2", "output": "3"}, "Add.\n1 + 2", "3"),
        ({"instruction": "Add 1 and 2.", "input": "", "output": "3"}, "Add 1 and 2.", "3"),
        ({"problem": "q", "answer": None}, "q", None),
        ({"problem": "q", "answer": ""}, "q", None),
    ],
)
def test_fields_of_the_usual_collections_are_taken(row: Any, problem: str, answer: str | None) -> None:
    found = batch.problem(row, "7")
    assert (found.id, found.problem, found.answer) == ("7", problem, answer)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q", "choices": ["1", "2"], "answer": 1}, "`choices`"),
        ({"question": "q", "options": ["A)1"], "correct": "A"}, "`options`"),
        ({"problem": "q", "solution": "First one adds. Then one is done."}, "`solution` has no answer"),
        ({"problem": "q", "answer": ["1", "2"]}, "`answer` is no single"),
        ({"problem": "q", "answer": {"x": 1}}, "`answer` is no single"),
        ({"prompt": [{"role": "user", "content": "q"}]}, "no text"),
        (["problem"], "no object"),
        ("problem", "no object"),
    ],
)
def test_what_would_be_lost_of_a_line_is_told(row: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        batch.problem(row, "1")


def test_names_that_collections_give_are_kept() -> None:
    assert (
        batch.problem({"unique_id": "test/algebra/1.json", "problem": "q"}, "1").id == "test/algebra/1.json"
    )
    assert batch.problem({"id": None, "problem": "q"}, "9").id == "9"
    assert batch.problem({"id": 0, "problem": "q"}, "9").id == "0"


def test_results_are_no_problems(tmp_path: Path) -> None:
    row = {
        "run": {"by": "qwen math", "model": "m"},
        "id": "1",
        "problem": "q",
        "expected": "2",
        "answer": "3",
    }
    with pytest.raises(UsageError, match="holds results, no problems"):
        batch.load(problems(tmp_path / "out.jsonl", row), print)


def test_lanes_are_never_idle_while_problems_wait() -> None:
    asked = [batch.Problem(str(n), f"say {n}", str(n)) for n in range(9)]
    engine = Busy(lanes=3)
    rows = list(batch.solve_all(engine, asked, WAY, at_once=3))
    assert engine.most == 3
    assert sorted(row["id"] for row in rows) == [p.id for p in asked]
    assert all(row["correct"] for row in rows)


def test_a_failure_of_the_engine_is_one_row(tmp_path: Path) -> None:
    asked = [batch.Problem("1", "this fails", "1"), batch.Problem("2", "say 2", "3")]
    rows = {row["id"]: row for row in batch.solve_all(Busy(lanes=1), asked, WAY, at_once=1)}
    assert rows["1"]["error"] == "the model failed"
    assert rows["1"]["correct"] is None  # not a wrong answer
    assert (rows["2"]["answer"], rows["2"]["correct"]) == ("2", False)


def test_correct_solutions_become_chats() -> None:
    asked = [batch.Problem("1", "say 1", "1"), batch.Problem("2", "say 2", "3")]
    rows = list(batch.solve_all(Busy(lanes=1), asked, WAY, at_once=1))
    (chat,) = batch.training(rows)
    assert [m["role"] for m in chat["messages"]] == ["system", "user", "assistant"]
    assert chat["messages"][2]["content"] == "It is \\boxed{1}."


def test_short_solutions_are_asked_for_with_examples_and_kept_as_such() -> None:
    asked = prompts.messages("What is 1 + 1?", "short", "en", specialist=False)
    assert [turn["role"] for turn in asked] == ["system", *["user", "assistant"] * 3, "user"]
    assert all(len(turn["content"].splitlines()) <= 2 for turn in asked if turn["role"] == "assistant")
    assert len(prompts.messages("What is 1 + 1?", "short", "en", specialist=True)) == 2
    engine = Examined(lambda prompt: "1 + 1 = 2\n\\boxed{2}", model="qwen2.5:0.5b")
    asked_of = [batch.Problem("a", "What is 1 + 1?", "2")]
    (row,) = batch.solve_all(engine, asked_of, solve.SolveOptions("short"), at_once=1)
    assert (row["mode"], row["correct"], len(engine.turns)) == ("short", True, 1)
