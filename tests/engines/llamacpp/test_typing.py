"""What completion while typing needs of llama.cpp: leaving a prompt half read, and moving what is cached."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_models

from qwen_cli.engines.core.base import Reuse, Sampling, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub.resolve import Weights

ONE = Sampling(temperature=0.0, max_tokens=1)
LINES = [f"value_{n} = compute(value_{n - 1}, {n})\n" for n in range(36)]  # 15 tokens each


@pytest.fixture
def engine(llamacpp: LlamaCpp) -> LlamaCpp:
    return llamacpp


@pytest.fixture(scope="module")
def quick(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    """A model of random weights: what is computed again is counted, not read."""
    gguf = small_models.make_endless(tmp_path_factory.mktemp("endless"), starter_safetensors)
    with LlamaCpp(Weights("endless", gguf, "gguf", None), context=1_024) as loaded:
        yield loaded


def cost(engine: LlamaCpp, prompt: str, reuse: Reuse = "prefix") -> Usage | None:
    """What a prompt took; None where it was not read to its end."""
    usage = None
    for piece in engine.complete(prompt, sampling=ONE, reuse=reuse):
        usage = piece.usage
    return usage


def test_a_prompt_being_read_is_left_when_another_thread_says_so(engine: LlamaCpp) -> None:
    lines = LINES[:20]  # three batches
    started = time.perf_counter()
    assert cost(engine, "".join(lines)) is not None
    whole = time.perf_counter() - started
    threading.Timer(whole / 10, engine.interrupt).start()
    assert cost(engine, "x" + "".join(reversed(lines))) is None
    assert cost(engine, "y") is not None  # and the next stream runs to its end


def test_an_interrupt_without_a_stream_does_not_reach_the_next(engine: LlamaCpp) -> None:
    engine.interrupt()
    assert cost(engine, "z = ") is not None


@pytest.mark.parametrize("shift", [True, False])
def test_text_that_goes_from_the_front_costs_nothing_behind_it_where_the_cache_shifts(
    quick: LlamaCpp, shift: bool
) -> None:
    reuse: Reuse = "shift" if shift else "prefix"
    cost(quick, "<|fim_prefix|>" + "".join(LINES), reuse)
    usage = cost(quick, "<|fim_prefix|>" + "".join(LINES[12:]), reuse)
    assert usage is not None
    computed = usage.prompt_tokens - usage.cached_tokens
    assert computed < 8 if shift else computed > 200
