"""Problems that a model writes: with the answer that its solutions agree on, or dropped with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from practising import Practising

from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.improve import synthesize
from qwen_cli.tasks.improve.asking import Asking
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.improve.synthesize import KINDS, Variants

SOURCE = Problem("s", "What is 20 + 22?", "42", "sums")
HOW = Asking(at_once=1)


class Writing(Practising):
    """Writes `new` when a problem is to be changed, and answers with `answers` in turn. It fails once at the
    call `fails`."""

    def __init__(self, new: str, answers: list[str], fails: int = 0) -> None:
        super().__init__(0)
        self.new, self.answers, self.fails = new, answers, fails
        self.turns: list[Any] = []

    def chat(self, messages: Any, **rest: Any) -> Any:
        self.turns.append(messages)
        if len(self.turns) == self.fails:
            raise EngineError("it fell over")
        return super().chat(messages, **rest)

    def _answer(self, problem: str, sampling: Sampling) -> str:
        if self.turns[-1][0]["content"].startswith("Write "):
            return self.new
        return rf"\boxed{{{self.answers.pop(0)}}}"


def made(
    folder: Path, engine: Practising, *kinds: str, votes: int = 4, score: Any = None
) -> list[dict[str, Any]]:
    with Journal(folder / "variants.jsonl", synthesize.BY) as book:
        book.begin({"model": "none"})
        return synthesize.variants(engine, [SOURCE], Variants(kinds, votes), HOW, book, score=score)


def test_an_answer_that_enough_solutions_agree_on_is_taken(tmp_path: Path) -> None:
    engine = Writing("New problem: What is 31 + 5?", ["36", "36", "7", "36.0"])
    (row,) = made(tmp_path, engine, "numbers")
    assert (row["problem"], row["answer"], row["votes"], row["of"]) == ("What is 31 + 5?", "36", 3, 4)
    (problem,) = synthesize.settled([row], [SOURCE])
    assert problem == Problem("s~numbers", "What is 31 + 5?", "36", "sums", "s")


def test_votes_have_the_weight_that_a_reward_model_gives_them(tmp_path: Path) -> None:
    answers = ["7", "36", "7", "7"]

    def likes(wanted: str) -> Any:
        return lambda problem, texts: [4.0 if wanted in text else -4.0 for text in texts]

    for wanted, votes in (("36", 1), ("7", 3)):
        folder = tmp_path / wanted
        (row,) = made(folder, Writing("What is 31 + 5?", [*answers]), "numbers", score=likes(wanted))
        assert (row["answer"], row["votes"], row["of"]) == (wanted, votes, 4)
        assert row["share"] > 0.9
    (row,) = made(
        tmp_path / "none", Writing("What is 31 + 5?", ["36", "7"] * 2), "numbers", score=likes("both")
    )
    assert row["dropped"] == "only 2 of 4 solutions agree, which have 50% of the reward"


def test_one_that_too_few_agree_on_is_dropped_as_soon_as_that_is_known(tmp_path: Path) -> None:
    engine = Writing("What is 31 + 5?", ["36", "7", "8", "36"])
    (row,) = made(tmp_path, engine, "numbers")
    assert row["dropped"] == "only 1 of 3 solutions agree"
    assert engine.answers == ["36"]
    assert not list(synthesize.settled([row], [SOURCE]))


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ("what is  20 + 22", "nothing was changed"),
        ("Sure.", "there is hardly a word of it"),
        (r"What is 3 + 4? \boxed{7}", "it tells its solution"),
        ("What is 3 + 4? Answer: 7", "it tells its solution"),
        ("What is " + "1 + " * 700 + "1?", "it is longer than 2,000 characters"),
    ],
)
def test_what_is_no_new_problem_is_dropped_before_it_is_solved(tmp_path: Path, new: str, why: str) -> None:
    engine = Writing(new, [])
    (row,) = made(tmp_path, engine, "numbers")
    assert row["dropped"] == why
    assert len(engine.turns) == 1


def test_other_words_keep_the_answer(tmp_path: Path) -> None:
    (row,) = made(tmp_path, Writing("Add 20 to 23, please.", ["43"] * 4), "rephrase")
    assert row["dropped"] == "its answer became 43, not 42"
    (tmp_path / "variants.jsonl").unlink()
    (row,) = made(tmp_path, Writing("Add 20 to 22, please.", ["42"] * 4), "rephrase")
    assert row["answer"] == "42"


def test_a_reversed_problem_is_written_with_the_answer_at_hand(tmp_path: Path) -> None:
    engine = Writing("What plus 22 is 42?", ["20"] * 4)
    made(tmp_path, engine, "reverse")
    assert "Its answer: 42" in engine.turns[0][-1]["content"]
    assert all("Its answer" not in str(turn) for turn in engine.turns[1:])


def test_what_is_there_is_not_made_again_and_a_failure_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"1 of 2 new problems did not come, s~rephrase first: it"):
        made(tmp_path, Writing("What is 31 + 5?", ["36"] * 4, fails=6), "numbers", "rephrase")
    engine = Writing("Sum 20 and 22 up.", ["42"] * 4)
    rows = made(tmp_path, engine, "numbers", "rephrase")
    assert [row["answer"] for row in rows] == ["36", "42"]
    assert len(engine.turns) == 5


def test_the_same_problem_is_taken_once() -> None:
    rows = [{"id": f"s~{kind}", "source": "s", "problem": "What is 3 + 9?", "answer": "12"} for kind in KINDS]
    assert [one.id for one in synthesize.settled(rows, [SOURCE])] == ["s~numbers"]
    assert not list(synthesize.settled([{**rows[0], "problem": SOURCE.problem}], [SOURCE]))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (Variants(("harder",)), "no way 'harder' to change problems. There are: numbers, rephrase"),
        (Variants(votes=1), "`votes` must be 2 or more to agree, got 1"),
        (Variants(agreement=0.5), "`agreement` must be above 0.5 and at most 1, got 0.5"),
    ],
)
def test_what_makes_no_sense_is_told(how: Variants, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        how.check()


def test_variants_come_of_every_kind(tmp_path: Path) -> None:
    write: Callable[[], Practising] = lambda: Writing("What is 31 + 5?", ["36"] * 16)  # noqa: E731
    rows = made(tmp_path, write(), *KINDS)
    assert [row["kind"] for row in rows] == list(KINDS)
