"""What completion while typing needs of llama.cpp: leaving a prompt half read, and moving what is cached."""

from __future__ import annotations

import threading
import time

import pytest

from qwen_cli.engines.core.base import Reuse, Sampling, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp

ONE = Sampling(temperature=0.0, max_tokens=1)
LINES = [f"value_{n} = compute(value_{n - 1}, {n})\n" for n in range(36)]  # 15 tokens each


@pytest.fixture
def engine(llamacpp: LlamaCpp) -> LlamaCpp:
    return llamacpp


def cost(engine: LlamaCpp, prompt: str, reuse: Reuse = "prefix") -> Usage | None:
    """What a prompt took; None where it was not read to its end."""
    usage = None
    for piece in engine.complete(prompt, sampling=ONE, reuse=reuse):
        usage = piece.usage
    return usage


def test_a_prompt_being_read_is_left_when_another_thread_says_so(engine: LlamaCpp) -> None:
    started = time.perf_counter()
    assert cost(engine, "".join(LINES)) is not None
    whole = time.perf_counter() - started
    threading.Timer(whole / 10, engine.interrupt).start()
    assert cost(engine, "x" + "".join(reversed(LINES))) is None
    assert cost(engine, "y") is not None  # and the next stream runs to its end


def test_an_interrupt_without_a_stream_does_not_reach_the_next(engine: LlamaCpp) -> None:
    engine.interrupt()
    assert cost(engine, "z = ") is not None


@pytest.mark.parametrize("shift", [True, False])
def test_text_that_goes_from_the_front_costs_nothing_behind_it_where_the_cache_shifts(
    engine: LlamaCpp, shift: bool
) -> None:
    reuse: Reuse = "shift" if shift else "prefix"
    cost(engine, "<|fim_prefix|>" + "".join(LINES), reuse)
    usage = cost(engine, "<|fim_prefix|>" + "".join(LINES[12:]), reuse)
    assert usage is not None
    computed = usage.prompt_tokens - usage.cached_tokens
    assert computed < 8 if shift else computed > 200
