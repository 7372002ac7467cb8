"""Whether one thing is to be found, or all of a kind."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.vision import nouns
from qwen_cli.tasks.vision.grounding import Convention, prompt


@pytest.mark.parametrize(
    "what",
    [
        "the top right brown cake",
        "the bus",
        "the glass",
        "the lens",
        "the man with glasses",
        "the tall building",
        "the black and white cat",
        "the person's hat",
        "the cup of the girls",
    ],
)
def test_one_thing(what: str) -> None:
    assert nouns.wanted(what) == nouns.Wanted(what, one=True)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("the red cars", "red cars"),
        ("the cars on the street", "cars on the street"),
        ("the buses", "buses"),
        ("the people waiting at the bus stop", "people waiting at the bus stop"),
        ("the cars parked outside", "cars parked outside"),
        ("the women's shoes", "women's shoes"),
        ("the two cups", "two cups"),
        ("the man and woman", "man and woman"),
        ("the cat and the dog", "cat, dog"),
        ("a cup and a plate", "cup, plate"),
        ("all the cars", "cars"),
        ("all of the cars", "cars"),
        ("both dogs", "dogs"),
        ("these shoes", "shoes"),
    ],
)
def test_all_of_a_kind(what: str, words: str) -> None:
    assert nouns.wanted(what) == nouns.Wanted(words, many=True)


@pytest.mark.parametrize("what", ["small cake", "所有的车", "the", "all"])
def test_a_kind_as_it_is(what: str) -> None:
    assert nouns.wanted(what) == nouns.Wanted(what)


@pytest.mark.parametrize(
    ("convention", "words"),
    [
        ("tags", "Find all "),
        ("absolute", "each of the red cars"),
        ("thousand", "every instance that belongs"),
    ],
)
def test_a_plural_is_asked_for_all(convention: Convention, words: str) -> None:
    assert words in prompt("the red cars", convention)
    assert "the red cars" not in prompt("the red cars", "thousand")
    kind = "red cars" if convention == "tags" else "all red cars"
    assert kind in prompt("the red cars", convention, points=True)


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("cars", "car"),
        ("buses", "bus"),
        ("boxes", "box"),
        ("dishes", "dish"),
        ("shoes", "shoe"),
        ("houses", "house"),
        ("cherries", "cherry"),
        ("glasses", "glass"),
        ("potatoes", "potato"),
        ("people", "person"),
        ("geese", "goose"),
        ("lenses", "lens"),
        ("faces", "face"),
        ("firemen", "fireman"),
        ("bus", "bus"),
        ("ties", "tie"),
    ],
)
def test_singular(many: str, one: str) -> None:
    assert nouns.singular(many) == one
