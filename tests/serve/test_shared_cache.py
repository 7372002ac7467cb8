"""Long answers at the same time, in a server whose cache holds two or three of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import small_models
from served import Server, serving

CONTEXT = 2_048


@pytest.fixture(scope="module")
def server(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = small_models.make_endless(tmp_path_factory.mktemp("endless"), starter_safetensors, light=True)
    with serving("--context", str(CONTEXT), model=str(file)) as running:
        yield running


def asked(server: Server, number: int, limit: int, prompt: str) -> tuple[str | None, int]:
    """Why an answer ended, and after how many tokens."""
    done = server.client.completions.create(
        model="default", prompt=f"{number} {prompt}", temperature=0, max_tokens=limit
    )
    assert done.usage
    return done.choices[0].finish_reason, done.usage.completion_tokens


@pytest.mark.parametrize("prompt", ["one two three four ", "\u4e00\u4e8c\u4e09\u56db" * 40])
def test_all_are_answered_whole(server: Server, prompt: str) -> None:
    """More than there are slots, and more than the cache holds; characters are no measure of tokens."""
    with ThreadPoolExecutor(10) as threads:
        done = list(threads.map(lambda number: asked(server, number, 500, prompt), range(10)))
    assert done == [("length", 500)] * 10


def test_those_without_a_real_limit_take_nothing_from_the_others(server: Server) -> None:
    limits = [10_000, 300, 300, 5_000, 300, 10_000]
    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(lambda n: asked(server, n, limits[n], "one two three "), range(6)))
    assert [done[n] for n in (1, 2, 4)] == [("length", 300)] * 3
    assert all(reason == "length" and tokens >= 1_000 for reason, tokens in (done[n] for n in (0, 3, 5)))


def test_several_choices_of_one_request_are_whole(server: Server) -> None:
    done = server.client.completions.create(
        model="default", prompt="one two three", n=6, max_tokens=500, seed=1
    )
    assert [choice.finish_reason for choice in done.choices] == ["length"] * 6
    assert done.usage
    assert done.usage.completion_tokens == 3_000
