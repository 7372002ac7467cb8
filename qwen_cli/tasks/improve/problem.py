"""A problem that a model practises on, as the files of a run have it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.errors import UsageError
from qwen_cli.tasks.math import batch

_WORD = re.compile(r"\w+")
_MARKS = re.compile(r"(?<!\d)[.,]|[.,](?!\d)|[;:?!'\"“”‘’$]")


@dataclass(frozen=True)
class Problem:
    """A problem with its known answer. `family` is the kind of problem, "" for a given one; `source` the id
    of the problem that it was made of."""

    id: str
    problem: str
    answer: str
    family: str = ""
    source: str = ""

    def row(self) -> dict[str, str]:
        """Return it as a file has it."""
        row = {"id": self.id, "problem": self.problem, "answer": self.answer}
        return row | {name: value for name in ("family", "source") if (value := getattr(self, name))}


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: without case and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalised(text: str) -> str:
    """Return a text without case, spaces and the marks of sentences. Signs stay: `x - 3` is another problem
    than `x + 3`."""
    return "".join(_MARKS.sub("", unicodedata.normalize("NFKC", text).casefold()).split())


def load(path: Path, complain: Callable[[str], None]) -> list[Problem]:
    """Return the problems of a JSONL file, in the fields of the usual collections (`tasks.math.batch.load`).

    Those without an answer are told to `complain`, and left out. Raises `UsageError` where the file has no
    problem with one, and for what `tasks.math.batch.load` refuses.
    """
    given = batch.load(path, complain)
    if missing := [problem.id for problem in given if problem.answer is None]:
        named = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        complain(f"{len(missing):,} of {len(given):,} problems of {path} have no answer, left out: {named}")
    known = [problem for problem in given if problem.answer is not None]
    if not known:
        raise UsageError(f"no problem of {path} has an answer", 'each line needs a field "answer"')
    more = _more(path)
    return [Problem(one.id, one.problem, str(one.answer), *more.get(one.problem, ("", ""))) for one in known]


def _more(path: Path) -> dict[str, tuple[str, str]]:
    """Return family and source of the problems that were made here, by their text."""
    known = {}
    for line in path.read_text("utf-8-sig").split("\n"):
        row: Any = None
        try:
            row = reading.parsed_json(line) if line.strip() else None
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("problem"), str):
            known[row["problem"]] = (str(row.get("family", "")), str(row.get("source", "")))
    return known


def unique(problems: Sequence[Problem]) -> list[Problem]:
    """Return `problems` without those whose text came before."""
    return list({normalised(problem.problem): problem for problem in reversed(problems)}.values())[::-1]
