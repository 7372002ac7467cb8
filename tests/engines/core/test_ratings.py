"""How likely the tokens of the last rated prompt were: of the next one, that which is alike is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.base import TokenLogprob
from qwen_cli.engines.core.ratings import Ratings

PROMPTS = st.lists(
    st.tuples(st.lists(st.integers(0, 1), min_size=2, max_size=8), st.integers(0, 1), st.integers(1, 8)),
    min_size=1,
    max_size=6,
)


def rating(ids: list[int], likely: int, number: int) -> TokenLogprob:
    """One that tells all that it depends on."""
    return TokenLogprob(f"{ids[: number + 1]} {likely}", (), -1.0)


@given(PROMPTS)
def test_ratings_are_of_the_prompt_that_is_asked_about(prompts: list[tuple[list[int], int, int]]) -> None:
    ratings = Ratings()
    for ids, likely, begin in prompts:

        def rate(start: int, ids: list[int] = ids, likely: int = likely) -> list[TokenLogprob]:
            return [rating(ids, likely, number) for number in range(start, len(ids))]

        expected = [rating(ids, likely, number) for number in range(begin, len(ids))]
        assert ratings.of(ids, likely, begin, rate) == expected


def test_what_is_known_is_not_rated_again() -> None:
    ratings, asked = Ratings(), []

    def of(ids: list[int], likely: int = 0, begin: int = 1) -> None:
        def rate(start: int) -> list[TokenLogprob]:
            asked.append(start)
            return [rating(ids, likely, number) for number in range(start, len(ids))]

        ratings.of(ids, likely, begin, rate)

    of([7, 8, 9, 1])
    of([7, 8, 9, 2])
    of([7, 8, 9, 2])
    of([7, 8, 9, 2], likely=3)
    of([5, 8, 9, 2], likely=3, begin=2)
    of([5, 8, 9, 2], likely=3)

    assert asked == [1, 3, 1, 2, 1]
