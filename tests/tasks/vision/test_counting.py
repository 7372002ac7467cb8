"""How many there are, read off what a model says in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.vision.counting import said


@pytest.mark.parametrize(
    ("answer", "things", "number"),
    [
        ("There are 5 cars", "cars", 5),
        ("There are five cars in the image.", "cars", 5),
        ("**5**", "cars", 5),
        ("I see 2 cats", "the cats", 2),
        ("There are 5 (five) cars.", "cars", 5),
        ("About 50 birds", "birds", 50),
        ("I count 1,234 dots", "dots", 1234),
        ("twenty-three birds", "birds", 23),
        ("twenty three birds", "birds", 23),
        ("one hundred and two birds", "birds", 102),
        ("two dozen eggs", "eggs", 24),
        ("There is a car.", "cars", 1),
        ('{"count": 7}', "cars", 7),
        ("1. red car\n2. blue car\n3. green car", "cars", 3),
    ],
)
def test_one_number(answer: str, things: str, number: int) -> None:
    assert said(answer, things) == number


@pytest.mark.parametrize(
    ("answer", "things"),
    [
        ("There are no cars.", "cars"),
        ("No cars are visible.", "cars"),
        ("There aren't any cars", "cars"),
        ("The picture does not show any cars.", "cars"),
        ("None", "cars"),
        ("zero", "cars"),
        ("```json\n[]\n```", "cars"),
        ("There is no dog in the picture, only 2 cats", "dog"),
        ("There are 5 cars and no trucks.", "trucks"),
        ("Es sind keine Autos zu sehen.", "Autos"),
        ("Il n'y a pas de voitures", "voitures"),
        ("No hay coches", "coches"),
        ("Não há carros", "carros"),
        ("没有车", "车"),
        ("車はありません", "車"),
    ],
)
def test_none(answer: str, things: str) -> None:
    assert said(answer, things) == 0


@pytest.mark.parametrize(
    ("answer", "things", "number"),
    [
        ("There are 5 cars and 2 trucks.", "cars", 5),
        ("There are 5 cars and 2 trucks.", "trucks", 2),
        ("There are 3 red cars and 2 blue cars.", "cars", 5),
        ("There are 5 cars: 3 red cars and 2 blue cars.", "cars", 5),
        ("3 red cars, 2 blue cars, 5 in total", "cars", 5),
        ("A total of 7 cars: 4 red, 3 blue", "cars", 7),
        ("There are 3 people, 2 men and 1 woman.", "people", 3),
        ("First I saw 4 cars. Looking again, there are 5 cars.", "cars", 5),
        ("No, there are 5 cars.", "cars", 5),
        ("There are 5 cars in 2 rows", "cars", 5),
        ("Image 1 shows 3 cars", "cars", 3),
        ("The picture of 1920x1080 pixels, taken at 12:30, shows 4 cars", "cars", 4),
    ],
)
def test_several_numbers(answer: str, things: str, number: int) -> None:
    assert said(answer, things) == number


@pytest.mark.parametrize(
    ("answer", "things", "number"),
    [
        ("Es gibt fünf Autos.", "Autos", 5),
        ("Il y a trois voitures", "voitures", 3),
        ("Hay cuatro coches", "coches", 4),
        ("Tem seis carros", "carros", 6),
        ("Ci sono sette macchine", "macchine", 7),
        ("На изображении три машины", "машины", 3),
        ("图中有五辆车。", "车", 5),
        ("图片中有5辆车", "车", 5),
        ("画像には十二台の車があります", "車", 12),
        ("자동차가 5대 있습니다", "자동차", 5),
        ("٥ سيارات", "سيارات", 5),
    ],
)
def test_other_languages(answer: str, things: str, number: int) -> None:
    assert said(answer, things) == number


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "There are several cars.",
        "5-6 cars",
        "between 5 and 7 cars",
        "at least 5 cars",
        "5 vehicles and 2 people",
        "A photo of a street and a house.",
        "9" * 5000,
    ],
)
def test_no_number_that_is_meant_for_all(answer: str) -> None:
    assert said(answer, "cars") is None


@given(st.integers(0, 99_999), st.sampled_from(["There are {} cars.", "I count {} of the cars", "{}"]))
def test_a_figure_is_itself(number: int, words: str) -> None:
    assert said(words.format(number), "cars") == number


@given(st.text())
def test_anything_is_read_without_a_fault(text: str) -> None:
    found = said(text, "cars")
    assert found is None or found >= 0
