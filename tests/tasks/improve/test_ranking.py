"""What scores are asked for, kept and used: of right solutions, of judged samples, as weights of votes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.improve import gather, judge, ranking
from qwen_cli.tasks.improve.judge import Judged
from qwen_cli.tasks.improve.problem import Problem

A, B = (Problem(name, f"What is {name}?", "1") for name in "ab")


def row(problem: Problem, number: int, words: str, correct: bool, answer: str | None = "1") -> dict[str, Any]:
    text = rf"{words} \boxed{{{answer}}}" if answer is not None else words
    made = {"id": problem.id, "sample": number, "correct": float(correct), "text": text, "stop": "stop"}
    return made | ({"answer": answer} if answer is not None else {})


class Longest:
    """Likes long solutions; `asked` are the problems it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, problem: str, solutions: Sequence[str]) -> list[float]:
        self.asked.append(problem)
        return [float(len(text)) for text in solutions]


ROWS = [
    *(row(A, 0, "so", True), row(A, 1, "therefore", True), row(A, 2, "hence", True)),
    *(row(A, 3, "no", False, "2"), row(B, 0, "so", True), row(B, 1, "in no way at all", False, "2")),
]


def test_the_best_right_solutions_are_learned_from() -> None:
    score = Longest()
    scores = ranking.of_right([A, B], ROWS, score)
    assert score.asked == [A.problem]  # the other has one right solution alone
    found = gather.gather([A, B], ROWS, per_problem=2, most=None, scores=scores)
    assert [one.text.split()[0] for one in found.solutions] == ["therefore", "so", "hence"]
    assert "3 right solutions of 2 problems to learn from, the best by reward (left out: 1" in found.words
    alike = gather.gather([A, B], ROWS, per_problem=2, most=None, scores={})
    assert [one.text.split()[0] for one in alike.solutions] == ["so", "so", "therefore"]


def test_the_best_of_several_samples_is_judged_and_its_scores_are_kept(tmp_path: Path) -> None:
    silent = row(B, 2, "I will not say what I think of this question", False, None)
    judged = Judged([], [*ROWS, silent])
    score = Longest()
    found = judge.scored(judged, [A, B], score, tmp_path, {"reward": "r"})
    assert found.best_of == 0.5  # of the first the longest is right, of the second it is not
    assert "score" not in found.samples[-1]  # without an answer it cannot be given
    again = judge.scored(judged, [A, B], score, tmp_path, {"reward": "r"})
    assert (again, len(score.asked)) == (found, 2)
    mixed = Judged([], ranking.scored(judged.samples[::-1], _known(tmp_path)))
    assert mixed.best_of == 0.5  # whatever the order of the samples
    with pytest.raises(UsageError, match="reward was 'r', here it is 's'"):
        judge.scored(judged, [A, B], score, tmp_path, {"reward": "s"})


def _known(folder: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (folder / judge.SCORES).read_text().splitlines()]
    return {row["id"]: row["scores"] for row in rows}


def test_figures_have_most_agreed_and_best_of_beside_each_other() -> None:
    samples = [
        {**row(A, 0, "x", False, "2"), "score": 1.0},
        {**row(A, 1, "y", False, "2"), "score": 0.0},
        {**row(A, 2, "z", True), "score": 2.0},
        *(row(B, number, "nothing", False, None) for number in range(3)),
    ]
    judged = Judged([row(A, 0, "x", True), row(B, 0, "x", True)], samples)
    figures = judged.figures()
    assert (figures["maj@3"], figures["rm@3"], figures["sampled pass@3"]) == (0.0, 0.5, 0.5)
    plain = Judged(judged.rows, [{**one, "score": 0} for one in samples[:3]]).figures()
    assert plain["rm@3"] == 0.0  # equal scores: the first
    assert "rm@3" not in Judged(judged.rows, samples[3:]).figures()
    assert "maj@1" not in Judged(judged.rows, samples[:1]).figures()


def test_a_vote_has_the_weight_of_a_chance() -> None:
    assert ranking.weight(0.0) == 0.5
    assert ranking.weight(2.0) + ranking.weight(-2.0) == pytest.approx(1)
    assert ranking.weight(-1e4) == 0.0 < ranking.weight(1e4) == 1.0
