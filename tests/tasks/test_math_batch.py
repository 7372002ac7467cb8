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
from scripted import Scripted, end

from qwen_cli.engines.protocol import Message, Piece, Sampling, Stream
from qwen_cli.errors import EngineError, QwenError, UsageError
from qwen_cli.tasks import journal, math_batch, math_solve

WAY = math_solve.Way(mode="cot")


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
    found = math_batch.load(path, said.append)
    assert [(p.id, p.problem) for p in found] == [("1", "a"), ("6", "b")]
    assert [line.split(" of ")[0] for line in said] == ["line 2", "line 4", "line 5"]


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    path = problems(tmp_path / "p.jsonl", {"id": 1, "problem": "a"}, {"id": "1", "problem": "b"})
    with pytest.raises(UsageError, match="'1' again"):
        math_batch.load(path, print)


def test_a_file_without_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no problems"):
        math_batch.load(problems(tmp_path / "p.jsonl", ""), print)


def test_lanes_are_never_idle_while_problems_wait() -> None:
    asked = [math_batch.Problem(str(n), f"say {n}", str(n)) for n in range(9)]
    engine = Busy(lanes=3)
    rows = list(math_batch.solve_all(engine, asked, WAY, at_once=3))
    assert engine.most == 3
    assert sorted(row["id"] for row in rows) == [p.id for p in asked]
    assert all(row["correct"] for row in rows)


def test_a_failure_of_the_engine_is_one_row(tmp_path: Path) -> None:
    asked = [math_batch.Problem("1", "this fails", "1"), math_batch.Problem("2", "say 2", "3")]
    rows = {row["id"]: row for row in math_batch.solve_all(Busy(lanes=1), asked, WAY, at_once=1)}
    assert rows["1"]["error"] == "the model failed"
    assert (rows["2"]["answer"], rows["2"]["correct"]) == ("2", False)


def test_correct_solutions_become_chats() -> None:
    asked = [math_batch.Problem("1", "say 1", "1"), math_batch.Problem("2", "say 2", "3")]
    rows = list(math_batch.solve_all(Busy(lanes=1), asked, WAY, at_once=1))
    (chat,) = math_batch.training(rows)
    assert [m["role"] for m in chat["messages"]] == ["system", "user", "assistant"]
    assert chat["messages"][2]["content"] == "It is \\boxed{1}."


def test_half_a_row_is_cut_off_and_a_whole_file_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    journal.add(path, {"id": "1"})
    with path.open("a") as file:
        file.write('{"id": "2", "ans')
    assert journal.read(path) == [{"id": "1"}]
    journal.add(path, {"id": "2"})
    assert journal.read(path) == [{"id": "1"}, {"id": "2"}]
    journal.rewrite(path, [{"id": "3"}])
    assert journal.read(path) == [{"id": "3"}]
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_row_keeps_the_line_separators_of_its_text(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    row = {"id": "1", "solution": "a\u2028b\x85c\x0bd"}
    journal.add(path, row)
    assert journal.read(path) == [row]


def test_another_file_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("shopping\n")
    with pytest.raises(QwenError, match="no journal"):
        journal.read(path)
    assert path.read_text() == "shopping\n"
