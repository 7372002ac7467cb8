"""Fenced blocks as they open and close: which program a text ends in, in whatever parts it comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.math.fences import Follower, prose

PROGRAM = "Six sevens.\n```python\nprint(6 * 7)\n```\n"


def followed(*parts: str) -> Follower:
    follower = Follower()
    for part in parts:
        follower.feed(part)
    return follower


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (PROGRAM, "print(6 * 7)"),
        (PROGRAM.rstrip(), "print(6 * 7)"),
        (PROGRAM.removesuffix("\n```\n"), "print(6 * 7)"),
        (PROGRAM + "It prints 42.", "print(6 * 7)"),
        ("A table:\n```\n6 7\n```\n" + PROGRAM, "print(6 * 7)"),
        ("```text\n6 7\n```\n" + PROGRAM, "print(6 * 7)"),
        ("```\n```\n\n" + PROGRAM, "print(6 * 7)"),
        ("```\n" + PROGRAM, "print(6 * 7)"),  # a stray fence
        ("1. Loop:\n   ``` Python\n   for n in x:\n     print(n)\n   ```", "for n in x:\n  print(n)"),
        ("~~~py\nprint(1)\n~~~\n", "print(1)"),
        ("````python\nprint('''\n```\n''')\n````\n", "print('''\n```\n''')"),
        ("So: ```python\nprint(1)\n```\n", "print(1)"),
        ("```{.python .run}\nprint(1)\n```\n", "print(1)"),
        ("```python3\nprint(1)\n```output\n1\n```\n", "print(1)"),  # its own fence was left out
        ("```python\n\n```\n" + PROGRAM, "print(6 * 7)"),
        ("```python\n\n```\n", None),
        ("```python", None),
        ("```\nprint(1)\n```\n", None),
        ("```javascript\nprint(1)\n```\n", None),
        ("```pythonic\nprint(1)\n```\n", None),
        ("Use ```python for programs.", None),
        ("No program.", None),
    ],
)
def test_the_program_that_a_text_ends_in(text: str, program: str | None) -> None:
    assert followed(text).program() == program


def test_what_comes_after_a_program_is_dropped() -> None:
    follower = followed(PROGRAM, "\n", "\n")
    assert (follower.text, follower.ended) == (PROGRAM.rstrip(), False)
    assert [follower.feed("It"), follower.ended, follower.feed(" prints\n```python\n2\n```\n")] == [
        "",
        True,
        "",
    ]
    assert follower.text == PROGRAM.rstrip()


@pytest.mark.parametrize(
    ("text", "open"),
    [
        ("a", False),
        ("```\na", True),
        ("```\na\n```", False),
        ("```python\na\n```output\n", True),
        ("```py", True),
    ],
)
def test_whether_a_fence_is_missing(text: str, open: bool) -> None:
    assert followed(text).open == open


def test_prose_is_what_no_block_holds() -> None:
    text = "a\n```\nb\n```\nc\n  ```python\nd\n  ```\ne\n~~~\nf\n```\ng"
    assert prose(text) == "a\nc\ne"


LINES = st.lists(
    st.sampled_from(
        [
            "```",
            "```python",
            "```output",
            "~~~",
            "````",
            "  ```",
            " ```py",
            "print(1)",
            "",
            " ",
            "So ```python",
            "x",
        ]
    ),
    max_size=9,
)


@given(lines=LINES, cuts=st.lists(st.integers(0, 90), max_size=6), end=st.sampled_from(["", "\n"]))
def test_it_is_the_same_in_whatever_parts_it_comes(lines: list[str], cuts: list[int], end: str) -> None:
    text = "\n".join(lines) + end
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = followed(text)
    parted = followed(*(text[a:b] for a, b in pairwise(places)))
    assert (parted.text, parted.program(), parted.ended, parted.open) == (
        whole.text,
        whole.program(),
        whole.ended,
        whole.open,
    )
    assert text.startswith(whole.text)
