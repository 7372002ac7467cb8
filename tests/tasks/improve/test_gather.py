"""What is learned from: right solutions in a box, each once, few of a problem that is solved at times."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_cli.errors import QwenError
from qwen_cli.tasks.improve import gather
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.math.batch import training

A, B, C = (Problem(name, f"What is {name}?", "1") for name in "abc")


def row(problem: Problem, number: int, text: str, correct: bool, stop: str = "stop") -> dict[str, Any]:
    return {
        "id": problem.id, "sample": number, "expected": "1", "answer": "1" if correct else "2",
        "correct": float(correct), "text": text, "stop": stop,
    }  # fmt: skip


def rows(problem: Problem, *texts: tuple[str, bool]) -> list[dict[str, Any]]:
    return [row(problem, number, text, correct) for number, (text, correct) in enumerate(texts)]


def box(words: str, value: int = 1) -> str:
    return rf"{words} \boxed{{{value}}}"


def test_right_solutions_are_taken_once_and_few_of_a_problem() -> None:
    samples = rows(
        A, (box("one"), True), (box("one "), True), (box("two"), True), (box("three"), True),
        (box("no", 2), False),
    )  # fmt: skip
    found = gather.gather([A], samples, per_problem=2, most=None)
    assert [one.text for one in found.solutions] == [box("one"), box("two")]
    assert (found.repeated, found.more) == (1, 1)


def test_what_is_always_or_never_right_is_set_aside_but_counted() -> None:
    samples = [
        *rows(A, (box("x"), True), (box("y"), True)),
        *rows(B, (box("x", 2), False), (box("y", 2), False)),
        *rows(C, (box("x"), True), (box("y", 2), False)),
    ]
    found = gather.gather([A, B, C], samples, per_problem=4, most=None)
    assert {one.problem.id for one in found.solutions} == {"c"}
    assert (found.always, found.never) == (1, 1)
    assert [(one.problem.id, one.right, one.samples) for one in found.difficulty] == [
        ("a", 2, 2), ("b", 0, 2), ("c", 1, 2),
    ]  # fmt: skip
    assert found.words == (
        "1 right solutions of 1 problems to learn from; set aside: 1 problems always right, 1 never"
    )


def test_solutions_without_a_box_and_cut_ones_are_not_learned_from() -> None:
    samples = [
        row(A, 0, "It is 1", True),
        row(A, 1, box("and then"), True, stop="length"),
        row(A, 2, box("so"), True),
        row(A, 3, box("so", 2), False),
    ]
    found = gather.gather([A], samples, per_problem=4, most=None)
    assert [one.text for one in found.solutions] == [box("so")]
    assert found.unboxed == 2


def test_each_problem_has_its_first_before_any_has_its_second() -> None:
    samples = [
        *rows(A, (box("a1"), True), (box("a2"), True), (box("no", 2), False)),
        *rows(B, (box("b1"), True), (box("b2"), True), (box("no", 2), False)),
    ]
    found = gather.gather([A, B], samples, per_problem=4, most=3)
    assert [one.text for one in found.solutions] == [box("a1"), box("b1"), box("a2")]
    assert found.more == 1


def test_pairs_are_of_one_problem_and_each_wrong_solution_serves_once() -> None:
    samples = rows(
        A, (box("r1"), True), (box("r2"), True),
        (box("w1", 2), False), (box("w1", 2), False), (box("w2", 2), False),
    )  # fmt: skip
    found = gather.gather([A], samples, per_problem=4, most=None)
    assert [(good.text, bad.text) for good, bad in found.pairs] == [
        (box("r1"), box("w1", 2)), (box("r2"), box("w2", 2)),
    ]  # fmt: skip


def test_chats_are_those_that_math_exports() -> None:
    solution = gather.Solution(A, box("so"))
    (chat,) = gather.chats([solution], "cot", "none")
    exported = {"problem": A.problem, "correct": True, "mode": "cot", "solution": box("so")}
    assert [chat] == list(training([exported]))
    (pair,) = gather.preferences([(solution, gather.Solution(A, box("no", 2)))], "short", "none")
    assert pair["prompt"][-1] == {"role": "user", "content": A.problem}
    assert [pair[side][0]["role"] for side in ("chosen", "rejected")] == ["assistant", "assistant"]


def test_a_control_has_the_same_questions_and_solutions_but_none_of_its_own() -> None:
    solutions = [gather.Solution(problem, box(problem.id)) for problem in (A, B, C)]
    chats = gather.chats(solutions, "cot", "none")
    mixed = gather.shuffled(chats)
    for part in (slice(0, -1), slice(-1, None)):
        assert sorted(map(str, (chat["messages"][part] for chat in mixed))) == sorted(
            map(str, (chat["messages"][part] for chat in chats))
        )
    assert all(chat not in chats for chat in mixed)
    assert gather.shuffled(chats) == mixed
    assert gather.shuffled(chats[:1]) == []


def test_a_model_that_is_never_right_is_told_what_it_said() -> None:
    with pytest.raises(QwenError, match="none of 2 answers is right: to a it said '2', not '1'"):
        gather.gather([A], rows(A, (box("x", 2), False), (box("y", 2), False)), per_problem=4, most=None)
    cut = [{**row(A, n, "and so on", False, stop="length"), "answer": None} for n in range(3)]
    with pytest.raises(QwenError, match=r"could be read; 3 were cut at a limit\. Raise `max_tokens`"):
        gather.gather([A], cut, per_problem=4, most=None)
