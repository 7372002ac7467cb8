"""Answers: found in a solution, and compared as mathematics.

What is boxed or expected is LaTeX, what a program printed is Python: each is read in its own language
(`latex`, `program_value`) and the values are compared (`values`). All of that runs where model-written code
runs: the answers are the model's, and a power tower never ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType

from qwen_cli.errors import SandboxError
from qwen_cli.sandbox import Limits, Sandbox

_SECONDS = 5.0  # for one comparison
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
# What TeX boxes without braces: a number (of which TeX takes a digit, and its writer meant all), a letter, or
# a command with its arguments.
_UNBRACED = re.compile(
    r"-?[0-9][0-9,]*(?:\.[0-9]+)?|[A-Za-z](?![A-Za-z])|\\[dt]?frac\{[^{}]*\}\{[^{}]*\}|\\\w+\{[^{}]*\}"
)
_NUMBER = re.compile(r"-?(?:[0-9]{1,12}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,3})(?:\.[0-9]{1,6})?")
_MODULES = (
    *("latex_tree", "tasks.math.units", "tasks.math.values", "tasks.math.words", "tasks.math.expression"),
    *(
        "tasks.math.intervals",
        "tasks.math.cleaning",
        "tasks.math.latex",
        "tasks.math.program_value",
        "tasks.math.equality",
    ),
)
_LOAD = """
import sys, types
for _name, _source in {sources!r}.items():
    _package, _, _child = _name.rpartition(".")
    _module = sys.modules[_name] = types.ModuleType(_name)
    setattr(sys.modules.setdefault(_package, types.ModuleType(_package)), _child, _module)
    exec(compile(_source, _name, "exec"), _module.__dict__)
_equality = sys.modules["qwen_cli.tasks.math.equality"]
"""


def boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{}` that holds something and whose braces are balanced, or
    behind a `\boxed` without braces; `None` where there is none."""
    for found in reversed(list(_BOX.finditer(text))):
        if text[found.end() : found.end() + 1] != "{":
            bare = _UNBRACED.match(text, found.end())
            if bare:
                return bare[0].rstrip(",")
        elif answer := _inside(text, found.end() + 1):
            return answer
    return None


def _inside(text: str, start: int) -> str:
    """Return what stands between a brace before `start` and the one that closes it; nothing where none
    does."""
    depth = 1
    for at in range(start, len(text)):
        escaped = text[at - 1] == "\\" and text[at - 2] != "\\"
        depth += 0 if escaped else (text[at] == "{") - (text[at] == "}")
        if not depth:
            return text[start:at].strip()
    return ""


def number(answer: str) -> Fraction | None:
    """Return the value of a plain number (`18`, `1,234.50`), exactly; `None` for anything else."""
    bare = answer.strip()
    return Fraction(bare.replace(",", "")) if _NUMBER.fullmatch(bare) else None


@cache
def source() -> str:
    """Return the program that makes the modules of a comparison: contained code cannot read this package."""
    root = Path(__file__).resolve().parents[2]
    sources = {}
    for name in _MODULES:
        text = (root / name.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        sources[f"qwen_cli.{name}"] = text
    return _LOAD.format(sources=sources)


class Judge:
    """Says whether answers are equal. Plain numbers and equal texts are compared here, all else in a sandbox
    that stays open until `close`. Where code cannot be contained, only the former are equal, but with
    `contained` false (the person has agreed to that) it does without."""

    def __init__(self, *, contained: bool = True) -> None:
        self._box: Sandbox | None = None
        self._contained = contained
        self._verifies = True

    def same(self, one: str, other: str, *, printed: bool = False) -> bool:
        """Return whether both answers are the same. Both are LaTeX or words, but with `printed` the `other`
        is what a program printed: Python."""
        if not printed and one.strip() == other.strip():
            return True
        values = number(one), number(other)
        if None not in values:
            return values[0] == values[1]
        return self._verifies and self._compared(one, other, printed)

    def groups(self, answers: Sequence[str]) -> list[list[int]]:
        """Return the indices of `answers` in groups of equal ones: the largest first, among equals the
        earliest."""
        groups: list[list[int]] = []
        for index, answer in enumerate(answers):
            home = next((group for group in groups if self.same(answers[group[0]], answer)), None)
            if home is None:
                groups.append([index])
            else:
                home.append(index)
        return sorted(groups, key=lambda group: -len(group))

    def close(self) -> None:
        """End the sandbox."""
        if self._box is not None:
            self._box.close()
            self._box = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _compared(self, one: str, other: str, printed: bool) -> bool:
        self._box = self._box or Sandbox(Limits(wall_seconds=_SECONDS), contained=self._contained)
        call = f"_equality.same({one!r}, {other!r}, {printed})"
        try:
            outcome = self._box.run(call)
            if outcome.fresh or outcome.status == "error":  # the first, or the one after a run that was ended
                outcome = self._box.run(f"{source()}\n{call}")
        except SandboxError:
            self._verifies = False
            return False
        return outcome.status == "ok" and outcome.value == "True"
