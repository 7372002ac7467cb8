"""Whether two answers are the same: what runs in the sandbox (see `answer.Judge`)."""

from __future__ import annotations

import re
import signal
from types import FrameType
from typing import Any

import sympy

from qwen_cli.tasks.math import latex, program_value, values
from qwen_cli.tasks.math.values import Quantity, Readings, Words


class _TooLong(BaseException):
    """The time for one comparison is over. No handler of a library takes this for an error of its own."""


def same_within(seconds: float, one: str, other: str, printed: bool) -> bool:
    """Return `same`, but false where that takes more than `seconds` of processor time. For the main thread.

    Processor time, so that the verdict does not depend on what else the machine does. What no signal can
    interrupt, the sandbox ends.
    """

    def stop(_: int, frame: FrameType | None) -> None:
        raise _TooLong

    if _LEFT.search(one + other):
        import latex2sympy2_extended  # noqa: F401 - 1 s of the first comparison that needs it, and not of its time
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.5)
    try:
        return same(one, other, printed)
    except (_TooLong, RecursionError):
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def same(one: str, other: str, printed: bool) -> bool:
    """Return whether `one`, in LaTeX or words, is `other`, which is that too or what a program `printed`."""
    left = latex.read(one)
    right = program_value.read(other) if printed else latex.read(other)
    if values.same(left, right):
        return True
    # Sums, integrals, limits: what the project's own reader leaves to the parser of math-verify.
    if not (_unread(left) or _unread(right)) or not _LEFT.search(one + other):
        return False
    ours = _parsed(one) if _unread(left) else _values(left)
    theirs = _parsed(other) if not printed and _unread(right) else _values(right)
    return any(values.equal(a, b) for a in ours for b in theirs)


_LEFT = re.compile(r"\\(?:sum|prod|i*int|oint|lim)(?![A-Za-z])|\\[dt]?frac\{d\}\{d")


_INDEFINITE = re.compile(r"\\int(?![A-Za-z])\s*(?![_^\\])")


def _unread(readings: Readings) -> bool:
    return all(isinstance(value, Words) and "\\" in value.text for value in readings)


def _values(readings: Readings) -> list[Any]:
    return [value.value for value in readings if isinstance(value, Quantity)]


def _parsed(latex: str) -> list[Any]:
    from latex2sympy2_extended import latex2sympy  # 0.1 s

    try:
        value = latex2sympy(latex.strip().strip("$")).doit()
    except Exception:  # its own faults, of any kind, on any text
        return []
    if not isinstance(value, sympy.Expr):
        return []
    # Without what that parser assumes of letters, and without the constant of an integral.
    plain = value.xreplace({symbol: sympy.Symbol(symbol.name) for symbol in value.free_symbols})
    return [plain, plain + sympy.Symbol("C")] if _INDEFINITE.search(latex) else [plain]
