"""Places in files of many languages: what a model wrote right comes through as it is, what it wrote on goes.

No model: an engine says the right middle and ends, or says it, then the rest of the file and other code.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.helpers.fim_places import Place, failures, filled, places, run_on


def test_there_are_many_places_in_many_languages() -> None:
    assert len(places()) >= 400
    assert len({place.language for place in places()}) >= 20


def test_about_half_are_held_out_of_tuning() -> None:
    counts = Counter(place.heldout for place in places())
    assert min(counts.values()) >= 0.4 * len(places())


def test_each_has_a_middle_between_its_sides_and_none_stands_twice() -> None:
    for place in places():
        assert place.middle.strip(), place.path
        assert place.prefix.strip() or place.suffix.strip(), place.path
    wholes = Counter((p.prefix, p.middle, p.suffix) for p in places())
    assert max(wholes.values()) == 1


@pytest.mark.parametrize("heldout", [False, True], ids=["tuning", "heldout"])
@pytest.mark.parametrize(("on", "bar"), [(False, 0.99), (True, 0.95)], ids=["own_end", "run_on"])
def test_the_right_middle_comes_through_exactly(heldout: bool, on: bool, bar: float) -> None:
    total = sum(place.heldout == heldout for place in places())
    lost = failures(heldout=heldout, on=on)
    assert 1 - len(lost) / total >= bar, Counter(place.kind for place in lost)


@pytest.mark.parametrize(("on", "bar"), [(False, 0.99), (True, 0.95)], ids=["own_end", "run_on"])
def test_a_line_that_is_right_comes_through_where_one_line_is_asked_for(on: bool, bar: float) -> None:
    lines = [place for place in places() if "\n" not in place.middle and not place.prefix.endswith("\n")]
    says = {place: run_on(place) if on else place.middle for place in lines}
    lost = [place for place in lines if filled(place, says[place], "stop", "line") != place.middle]
    assert 1 - len(lost) / len(lines) >= bar, Counter(place.kind for place in lost)


def test_a_second_try_counts_only_where_the_file_can_be_read_better() -> None:
    # Indentation that no parser takes, right as it is: the file is a template.
    prefix = "def f(l):\n    {% if l %}\n        x = 1\n"
    place = Place("a.py", "python", "template", False, prefix, "    y = 2\n", "            z = 3\n")
    assert filled(place, place.middle) == place.middle


def test_errors_of_a_lexer_of_another_language_are_none() -> None:
    # Nobody has a lexer for Svelte: of JavaScript's only the brackets count, not what markup is to it.
    prefix, suffix = "{#if user}\n  <p>Hello {user.name}</p>\n", "{/if}\n"
    middle = "{:else}\n  <button on:click={login}>Log in</button>\n"
    place = Place("a.svelte", "svelte", "branch", False, prefix, middle, suffix)
    assert filled(place, run_on(place), "length") == middle
