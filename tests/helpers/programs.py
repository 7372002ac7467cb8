"""Programs that a model has completed: what they compute, not how they are written."""

from __future__ import annotations

from typing import Any

from qwen_cli.tasks.fim.complete import Hole


def names(hole: Hole, middle: str) -> dict[str, Any]:
    """What the program defines that `middle` completes. Only for the starter's own answers to our prompts."""
    defined: dict[str, Any] = {}
    exec(hole.prefix + middle + hole.suffix, defined)
    return defined


def is_fibonacci(hole: Hole, middle: str) -> bool:
    """Whether the program's `fib` gives Fibonacci's numbers, from 0 and 1 on."""
    fib = names(hole, middle)["fib"]
    return [fib(n) for n in range(8)] == [0, 1, 1, 2, 3, 5, 8, 13]
