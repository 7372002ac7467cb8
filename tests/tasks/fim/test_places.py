"""The places that filling-in is measured on: real enough, many languages, half of them held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

PLACES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "fim_places.jsonl").read_text("utf-8").splitlines()
]


def test_there_are_many_places_in_many_languages() -> None:
    assert len(PLACES) >= 400
    assert len({place["language"] for place in PLACES}) >= 20


def test_about_half_are_held_out_of_tuning() -> None:
    counts = Counter(bool(place["heldout"]) for place in PLACES)
    assert min(counts.values()) >= 0.4 * len(PLACES)


def test_each_has_a_middle_between_its_sides_and_none_stands_twice() -> None:
    for place in PLACES:
        assert place["middle"].strip(), place["path"]
        assert place["prefix"].strip() or place["suffix"].strip(), place["path"]
    wholes = Counter((p["prefix"], p["middle"], p["suffix"]) for p in PLACES)
    assert max(wholes.values()) == 1
