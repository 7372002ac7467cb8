"""Answers compared as mathematics.

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

_SECONDS = 2.0  # of processor time, for one comparison
_WALL = 20.0  # and in all, on a machine that does other things too
_NUMBER = re.compile(r"-?(?:[0-9]{1,12}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,3})(?:\.[0-9]{1,6})?")
_MODULES = (
    *("latex_tree", "tasks.math.chemistry", "tasks.math.sentences", "tasks.math.units", "tasks.math.values"),
    *("tasks.math.words", "tasks.math.expression", "tasks.math.intervals", "tasks.math.cleaning"),
    *("tasks.math.statements", "tasks.math.latex", "tasks.math.program_value", "tasks.math.equality"),
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
        self._known: dict[tuple[str, str, bool], bool] = {}  # a vote asks again with each sample

    def same(self, one: str, other: str, *, printed: bool = False) -> bool:
        """Return whether both answers are the same. Both are LaTeX or words, but with `printed` the `other`
        is what a program printed: Python."""
        if not printed and one.strip() == other.strip():
            return True
        values = number(one), number(other)
        if None not in values:
            return values[0] == values[1]
        first, second = (one, other) if printed or one <= other else (other, one)  # the same either way round
        key = (first, second, printed)
        if self._verifies and key not in self._known:
            self._known[key] = self._compared(*key)
        return self._known.get(key, False)

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
        """Compare in the sandbox. A run that its time ended is not tried again; one that ended in another way
        (the life of the process was over, its memory full) is, with a new one."""
        self._box = self._box or Sandbox(Limits(wall_seconds=_WALL), contained=self._contained)
        call = f"_equality.same_within({_SECONDS}, {one!r}, {other!r}, {printed})"
        try:
            outcome = self._box.run(call)
            for _ in range(2):
                if not outcome.fresh and outcome.status in ("ok", "timeout"):
                    break
                outcome = self._box.run(f"{source()}\n{call}")
                if outcome.status in ("ok", "timeout"):
                    break
        except SandboxError:
            self._verifies = False
            return False
        return outcome.status == "ok" and outcome.value == "True"
