"""Trees of choices let the same texts pass as lists of them."""

from __future__ import annotations

import json
import random
import re
import string

import pytest

from qwen_cli.engines.core import choices


def test_what_they_begin_with_is_written_once() -> None:
    texts = [f"a.{one}" for one in string.ascii_letters]
    tree = choices.alternatives(["cart", "car", "cat", *texts], json.dumps)

    assert tree.startswith('"a." ("A" | "B" | ')
    assert tree.endswith(' | "z") | "ca" ("r" ("t")? | "t")')
    assert choices.pattern(texts).startswith(r"^(a\.(A|B|")


def test_few_stand_side_by_side_as_they_came() -> None:
    assert choices.alternatives(["cat", "car", "cat"], json.dumps) == '"cat" | "car"'


@pytest.mark.parametrize("seed", range(20))
def test_the_same_pass(seed: int) -> None:
    draw = random.Random(seed)

    def text() -> str:
        return "".join(draw.choice('ab.*"\\[ä') for _ in range(draw.randrange(1, 7)))

    texts = {text() for _ in range(draw.randrange(1, 80))}
    pattern = re.compile(choices.pattern(texts)[1:-1])
    for one in [*texts, *(text() for _ in range(200))]:
        assert bool(pattern.fullmatch(one)) is (one in texts)


def test_of_texts_that_all_begin_alike_the_depth_is_bounded() -> None:
    deepest = depth = 0
    for one in choices.pattern("a" * number for number in range(1, 500)):
        depth += {"(": 1, ")": -1}.get(one, 0)
        deepest = max(deepest, depth)

    assert deepest < 100  # what llama.cpp takes
