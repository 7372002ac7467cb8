"""Filling holes with the real starter model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from programs import is_fibonacci, names

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import ContextFull
from qwen_cli.tasks.fim import complete
from qwen_cli.tasks.fim.complete import Hole


@pytest.fixture(scope="module")
def engine(starter_gguf: Path) -> Iterator[Engine]:
    from qwen_cli.engines.llamacpp.engine import LlamaCpp
    from qwen_cli.models.hub import resolve

    with LlamaCpp(resolve.resolve(str(starter_gguf)), context=512, parallel=4) as loaded:
        yield loaded


FIB = "def fib(n):\n    if n < 2:\n        return n\n"


def test_the_next_line_is_written_with_its_indentation(engine: Engine) -> None:
    hole = Hole(FIB, "\n\nprint(fib(10))\n", "fib.py")
    assert is_fibonacci(hole, complete.complete(engine, hole).text)


@pytest.mark.parametrize("typed", ["    return", "    return ", "    "])
def test_white_space_before_the_cursor_makes_no_difference(engine: Engine, typed: str) -> None:
    hole = Hole(FIB + typed, "\n", "fib.py")
    middle = complete.complete(engine, hole, mode="line")
    assert is_fibonacci(hole, middle.text)
    assert (typed + middle.text).startswith("    return fib(")


def test_after_a_colon_the_body_is_indented(engine: Engine) -> None:
    hole = Hole("def area(w, h):\n", "\nprint(area(1, 2))\n", "area.py")
    assert names(hole, complete.complete(engine, hole).text)["area"](3, 4) == 12


def test_c_code_ends_before_the_bracket_that_is_there(engine: Engine) -> None:
    middle = complete.complete(engine, Hole("int add(int a, int b) {\n    ", "\n}\n", "add.c"))
    assert middle.text.startswith("return ") and middle.text.endswith(";") and "}" not in middle.text


def test_a_tab_is_written_where_a_brace_asks_for_it(engine: Engine) -> None:
    prefix = "package main\n\nfunc One() int {\n\treturn 1\n}\n\nfunc Sum(numbers []int) int {\n"
    assert complete.complete(engine, Hole(prefix, "\n}\n", "sum.go")).text.startswith("\t")


def test_the_stream_shows_all_so_far_and_returns_what_is_to_be_inserted(engine: Engine) -> None:
    running = complete.stream(engine, Hole(FIB, "\n", "fib.py"))
    seen = []
    try:
        while True:
            seen.append(next(running))
    except StopIteration as done:
        middle = done.value
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert seen[-1].startswith(middle.text)
    assert middle.usage.generated_tokens > 3


def test_a_closed_stream_leaves_the_engine_ready(engine: Engine) -> None:
    running = complete.stream(engine, Hole("def f():\n", "", "f.py"))
    next(running)
    running.close()
    assert complete.complete(engine, Hole(FIB, "\n", "fib.py"), mode="line").text


def test_a_time_limit_keeps_whole_lines(engine: Engine) -> None:
    long = Hole("# Fifty numbers, one a line\nNUMBERS = [\n", "", "n.py")
    middle = complete.complete(engine, long, sampling=Sampling(max_tokens=200), seconds=0.4)
    assert middle.stop == "time"
    assert middle.usage.generated_tokens < 200


def test_candidates_differ_and_the_likeliest_comes_first(engine: Engine) -> None:
    hole = Hole("def greet(name):\n", "\n\nprint(greet('Ada'))\n", "greet.py")
    found = complete.candidates(engine, hole, 4, sampling=Sampling(temperature=1.0, seed=7))
    texts = [middle.text for middle in found]
    assert 1 < len(texts) == len(set(texts)) <= 4
    likelihoods = [middle.mean_logprob for middle in found]
    assert likelihoods == sorted(likelihoods, reverse=True)
    assert all(text.startswith("    ") for text in texts)


def test_a_source_that_spells_the_marks_is_completed_like_any_other(engine: Engine) -> None:
    prefix = 'MARKS = {\n    "prefix": "<|fim_prefix|>",\n    "suffix": "<|fim_suffix|>",\n    "middle": '
    middle = complete.complete(engine, Hole(prefix, "\n}\n", "marks.py"), mode="line")
    assert middle.text.startswith('"')
    assert "\u2060" not in middle.text


def test_other_files_are_read(engine: Engine) -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Other:
        path: str
        text: str

    other = Other("prices.py", "def gross_zorkmid_price(net):\n    return net * 1.19\n")
    hole = Hole("import prices\n\nNET = 100\nprint(prices.", ")\n", "shop.py")
    alone = complete.complete(engine, hole, mode="line").text
    beside = complete.complete(engine, hole, [other], repository="shop", mode="line").text
    assert beside.startswith("gross_zorkmid_price(")
    assert not alone.startswith("gross_zorkmid")


def test_a_file_larger_than_the_context_is_cut_and_it_says_so(engine: Engine) -> None:
    hole = Hole("x = 1\n" * 2000 + FIB + "    return ", "\n" + "y = 2\n" * 2000, "long.py")
    fitted = complete.fitted(engine, hole)
    assert fitted.notice is not None
    assert fitted.hole.prefix.endswith(FIB + "    return ")
    assert complete.complete(engine, fitted.hole).text.startswith("fib(")


def test_a_completion_longer_than_the_context_is_refused(engine: Engine) -> None:
    with pytest.raises(ContextFull):
        complete.fitted(engine, Hole("a", "b"), limit=5000)
