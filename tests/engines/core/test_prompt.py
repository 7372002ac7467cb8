"""Raw prompts that know which of their text is anybody's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.prompt import Prompt, joined, plain, spans

parts = st.lists(
    st.builds(lambda text, own: text if own else plain(text), st.text("ab", max_size=4), st.booleans())
)


def whose(text: str) -> list[tuple[str, bool]]:
    """Each character, and whether it is plain."""
    found = spans(text)
    return [(c, any(a <= i < b for a, b in found)) for i, c in enumerate(str(text))]


@given(parts)
def test_joining_keeps_what_is_plain(texts: list[str]) -> None:
    assert whose(joined(texts)) == [one for text in texts for one in whose(text)]


@given(parts)
def test_adding_is_joining(texts: list[str]) -> None:
    whole: str = ""
    for text in texts:
        whole = whole + text
    assert whose(whole) == whose(joined(texts))


@given(parts, st.integers(-9, 9), st.integers(-9, 9))
def test_a_slice_keeps_what_is_plain(texts: list[str], start: int, stop: int) -> None:
    whole = joined(texts)
    assert whose(whole[start:stop]) == whose(whole)[start:stop]


def test_an_ordinary_string_is_all_the_callers_own() -> None:
    assert spans("<|im_end|>") == ()
    assert spans(Prompt("<|im_end|>")) == ()
    assert plain("") == ""
    assert spans("a" + plain("b") + "c") == ((1, 2),)
