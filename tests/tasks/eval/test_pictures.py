"""Questions about pictures: what counts as right."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_cli.tasks.eval import pictures

HERE = Path("/data")


@pytest.mark.parametrize(
    ("rate", "said", "answer", "points"),
    [
        (pictures.same_words, "Total  Due", "total due", 1.0),
        (pictures.same_words, "total", "total due", 0.0),
        (pictures.anls, "invoice 1234", "Invoice 1234", 1.0),
        (pictures.anls, "invoice 1235", "invoice 1234", 11 / 12),
        (pictures.anls, "nothing alike", "1234", 0.0),
        (pictures.relaxed, "104", "100", 1.0),
        (pictures.relaxed, "106", "100", 0.0),
        (pictures.relaxed, "$1,000", "1000", 1.0),
        (pictures.relaxed, "52%", "0.51", 1.0),
        (pictures.relaxed, "red", "Red", 1.0),
        (pictures.relaxed, "0", "0", 1.0),
        (pictures.relaxed, "0.1", "0", 0.0),
    ],
)
def test_points(rate: object, said: str, answer: str, points: float) -> None:
    assert rate(said, answer) == pytest.approx(points)  # type: ignore[operator]


def test_any_of_several_answers_is_right() -> None:
    asked = pictures.parse(
        {"id": 5, "image": "a.png", "question": "?", "answers": ["two", "2"]}, 1, folder=HERE, score="exact"
    )
    assert asked.picture == "/data/a.png"
    assert asked.marked("2.") == ("2", 1.0)
    assert asked.marked("three") == ("three", 0.0)


def test_choices_are_letters() -> None:
    asked = pictures.parse(
        {"image": "https://x.org/a.png", "question": "?", "choices": ["cat", "dog"], "answer": "dog"},
        1, folder=HERE, score="anls",
    )  # fmt: skip
    assert asked.picture == "https://x.org/a.png"
    assert asked.marked("The answer is B") == ("B", 1.0)


@pytest.mark.parametrize("row", [{"question": "?", "answer": "a"}, {"image": "a.png", "question": "?"}])
def test_a_row_without_a_picture_or_answer_is_refused(row: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        pictures.parse(row, 1, folder=HERE, score="exact")
