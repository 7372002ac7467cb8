"""JSON as models write it is found whatever stands round it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.common import lenient_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=3)
# Talk has no braces and opens no fence of its own.
talk = st.text(st.characters(exclude_characters="{}`\r", exclude_categories=("Cs",)), max_size=20)


def inside(value: Any) -> list[dict[str, Any]]:
    """`value` and what it holds: its objects, outer before inner."""
    if isinstance(value, dict):
        return [value, *(found for one in value.values() for found in inside(one))]
    return [found for one in value for found in inside(one)] if isinstance(value, list) else []


@given(said=st.lists(st.tuples(talk, objects), max_size=3), end=talk, indent=st.sampled_from([None, 0, 2]))
def test_every_object_is_found_in_its_order(
    said: list[tuple[str, dict[str, Any]]], end: str, indent: int | None
) -> None:
    text = "".join(words + json.dumps(value, indent=indent) for words, value in said) + end
    assert lenient_json.objects(text) == [found for _, value in said for found in inside(value)]


@given(value=st.dictionaries(talk, talk | st.integers(0, 999), max_size=3), cut=st.integers(1, 60))
def test_half_an_object_is_none(value: dict[str, Any], cut: int) -> None:
    """Braces within its texts are not looked for: in broken JSON quotes lie."""
    text = json.dumps({"whole": value, "half": 1})
    found = lenient_json.objects(text[: max(1, len(text) - cut)])
    assert found in ([], [value]), "what was cut was read as something else"


@given(st.text(max_size=60))
def test_no_text_is_too_broken(text: str) -> None:
    assert all(isinstance(value, dict) for value in lenient_json.objects(text))


@given(value=values, before=talk, after=talk, tag=st.sampled_from(["json", "JSON"]))
def test_a_fence_round_the_whole_is_taken_off(value: Any, before: str, after: str, tag: str) -> None:
    text = json.dumps(value, indent=2)
    assert lenient_json.unfenced(f"{before}\n```{tag}\n{text}\n```\n{after}", "json") == text
    assert lenient_json.unfenced(f"{before}\n```{tag}\n{text}", "json") == text, "its end is missing"
    assert lenient_json.unfenced(text) == text
