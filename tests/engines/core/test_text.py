"""Where a tag may have begun at the end of a text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.text import overlap


@given(st.text("ab<"), st.text("ab<", min_size=1))
def test_the_longest_beginning_of_the_tag_is_found(text: str, tag: str) -> None:
    ends = [n for n in range(len(tag)) if n <= len(text) and text[len(text) - n :] == tag[:n]]
    assert overlap(text, tag) == max(ends)
