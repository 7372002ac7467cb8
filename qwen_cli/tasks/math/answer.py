"""Answers: found in a solution, and compared as mathematics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType

from qwen_cli.errors import SandboxError
from qwen_cli.sandbox import Limits, Sandbox

_SECONDS = 5.0  # for one comparison; math-verify itself gives up sooner
# Runs where model-written code runs: the answers are the model's, and a power tower never ends.
_COMPARE = """
from math_verify import parse, verify
def _same(a, b):
    a, b = (parse("\\\\boxed{" + text + "}") for text in (a, b))
    return verify(a, b) or verify(b, a)
"""
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
# A unit after a number, which math-verify takes for a product of letters; one letter may be a variable.
_UNIT = re.compile(
    r"(?P<number>\\?\$?\s*-?\s*\d[\d,]*(?:\.\d+)?)"
    r"(?:\s*(?:°|\^\{?\\circ\}?|[\u4e00-\u9fff]+)|\s+[A-Za-z]{2}[A-Za-z ./]*)"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?|-?\.\d+|-?\d+/\d+")


def boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{}` whose braces are balanced; `None` where there is none."""
    for found in reversed(list(_BOX.finditer(text))):
        depth = 1
        for at in range(found.end(), len(text)):
            escaped = text[at - 1] == "\\" and text[at - 2] != "\\"
            depth += 0 if escaped else (text[at] == "{") - (text[at] == "}")
            if not depth:
                return text[found.end() : at].strip() or None
    return None


def plain(answer: str) -> str:
    """Return `answer` without what is not part of its value: dollar signs, a unit, a full stop."""
    bare = answer.strip().strip("$").strip().removesuffix(".").strip()
    unit = _UNIT.fullmatch(bare)
    return (unit["number"] if unit else bare).strip()


def number(answer: str) -> Fraction | None:
    """Return the value of a plain number (`1,234`, `$18.00`, `3/4`), exactly; `None` for anything else."""
    bare = plain(answer).replace("\\$", "").replace("$", "").replace(",", "").replace(" ", "")
    if not _NUMBER.fullmatch(bare) or len(bare) > 100:
        return None
    try:
        return Fraction(bare)
    except (ValueError, ZeroDivisionError):
        return None


class Judge:
    """Says whether answers are equal. Numbers and equal texts are compared here, all else by math-verify in
    a sandbox that stays open until `close`. Where code cannot be contained, only the former are equal, but
    with `contained` false (the person has agreed to that) it does without."""

    def __init__(self, *, contained: bool = True) -> None:
        self._box: Sandbox | None = None
        self._contained = contained
        self._verifies = True

    def same(self, one: str, other: str) -> bool:
        """Return whether both answers are the same mathematics."""
        if plain(one) == plain(other):
            return True
        values = number(one), number(other)
        if None not in values:
            return values[0] == values[1]
        return self._verifies and self._verified(plain(one), plain(other))

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

    def _verified(self, one: str, other: str) -> bool:
        self._box = self._box or Sandbox(Limits(wall_seconds=_SECONDS), contained=self._contained)
        call = f"_same({one!r}, {other!r})"
        try:
            outcome = self._box.run(call)
            if outcome.fresh or outcome.status == "error":  # the first, or the one after a run that was ended
                outcome = self._box.run(f"{_COMPARE}\n{call}")
        except SandboxError:
            self._verifies = False
            return False
        return outcome.status == "ok" and outcome.value == "True"
