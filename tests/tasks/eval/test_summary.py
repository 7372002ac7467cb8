"""What rows come to."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.eval import summary


def row(id: str, correct: float, subject: str = "", sample: int = 0, **rest: object) -> dict[str, object]:
    return {"id": id, "correct": correct, "subject": subject, "sample": sample, **rest}


def test_shares_of_all_and_of_each_subject() -> None:
    rows = [row("1", 1, "a"), row("2", 0, "a"), row("3", 1, "b"), row("4", 1, "b"), row("5", 1, "b")]
    found = summary.summarise(rows)
    assert (found.whole.share, found.whole.items) == (0.8, 5)
    assert [(one.name, one.share) for one in found.subjects] == [("a", 0.5), ("b", 1.0)]
    assert found.macro == 0.75
    assert found.whole.low < 0.8 < found.whole.high


def test_samples_give_pass_at_k_and_a_vote() -> None:
    rows = [
        row("1", right, sample=n, answer=said)
        for n, (right, said) in enumerate([(1, "4"), (0, "5"), (1, "4")])
    ]
    rows += [row("2", 0, sample=n, answer="9") for n in range(3)]
    found = summary.summarise(rows)
    assert found.at == pytest.approx([1 / 3, 0.5, 0.5])
    assert found.vote == 0.5
    assert found.whole.items == 2


def test_what_was_cut_or_could_not_be_read_is_counted() -> None:
    rows = [
        row("1", 0, stop="length"),
        row("2", 0, answer="B", stop="stop"),
        row("3", 0, why="AssertionError"),
    ]
    found = summary.summarise(rows)
    assert (found.cut, found.unread, found.answers) == (1, 1, 3)


def test_failures_of_the_engine_are_no_answers() -> None:
    assert summary.summarise([row("1", 1), {"id": "2", "error": "gone"}]).whole.items == 1
    assert summary.summarise([]).whole.items == 0


def test_two_runs_are_compared_on_what_both_have() -> None:
    first = [row(str(n), n < 8, "a" if n % 2 else "b") for n in range(10)]
    second = [row(str(n), n < 2, "a" if n % 2 else "b") for n in range(9)]
    whole, *subjects = summary.compare(first, second)
    assert (whole.items, whole.only_first, whole.only_second) == (9, 6, 0)
    assert whole.chance == pytest.approx(0.03125)
    assert [one.name for one in subjects] == ["a", "b"]
    assert summary.compare(first, [row("other", 1)]) == []
