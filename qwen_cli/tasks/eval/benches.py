"""The benches: where their data is, how a row is read, how many shots come before a question."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from qwen_cli.tasks.eval import choices, pictures, problems, programs, rows
from qwen_cli.tasks.eval.item import Item

Kind: TypeAlias = Literal["choice", "program", "problem", "picture", "passkey"]
_Shot = TypeVar("_Shot", choices.Choice, programs.Program, problems.Problem)


@dataclass(frozen=True)
class Data:
    """Files of a data set on the model hub. `pattern` is that of the test split, `shots` that of the split
    worked examples come from. Names end in what the hub adds ("-00000-of-00001.parquet")."""

    repo: str
    pattern: str
    shots: str = ""


@dataclass(frozen=True)
class Bench:
    """One bench. `fields` are those that each row has; `raw_shots` is the usual number before raw text."""

    name: str
    title: str
    kind: Kind
    fields: str
    parse: Callable[[dict[str, Any], int], Any]
    data: Data | None = None
    raw_shots: int = 0
    chat_shots: int = 0
    source: str = ""

    @property
    def usual_shots(self) -> Mapping[bool, int]:
        return {True: self.raw_shots, False: self.chat_shots}


_CHOICE = "question, choices (or A to D) and answer"
_PROBLEM = 'a problem and its answer ("problem", "question"; "answer", "solution")'
_CEVAL = partial(choices.parse, chinese=True)

BENCHES: tuple[Bench, ...] = (
    Bench(
        "mmlu",
        "Knowledge of 57 subjects, four choices",
        "choice",
        _CHOICE,
        choices.parse,
        Data("cais/mmlu", "all/test-*.parquet", "all/dev-*.parquet"),
        raw_shots=5,
        source="Hendrycks et al., 2021, arXiv:2009.03300",
    ),
    Bench(
        "mmlu-pro",
        "Harder questions of 14 fields, ten choices",
        "choice",
        _CHOICE,
        choices.parse,
        Data("TIGER-Lab/MMLU-Pro", "data/test-*.parquet", "data/validation-*.parquet"),
        raw_shots=5,
        source="Wang et al., 2024, arXiv:2406.01574",
    ),
    Bench(
        "ceval",
        "Chinese examinations, four choices",
        "choice",
        _CHOICE,
        _CEVAL,
        None,
        raw_shots=5,
        source="Huang et al., 2023, arXiv:2305.08322",
    ),
    Bench(
        "humaneval",
        "Python functions from their docstrings, tested",
        "program",
        "task_id, prompt, entry_point and test",
        programs.parse,
        Data("openai/openai_humaneval", "openai_humaneval/test-*.parquet"),
        source="Chen et al., 2021, arXiv:2107.03374",
    ),
    Bench(
        "mbpp",
        "Short Python programs from a sentence, tested",
        "program",
        "task_id, text (or prompt), code and test_list",
        programs.parse,
        Data("google-research-datasets/mbpp", "full/test-*.parquet", "full/prompt-*.parquet"),
        raw_shots=3,
        source="Austin et al., 2021, arXiv:2108.07732",
    ),
    Bench(
        "gsm8k",
        "Word problems of school",
        "problem",
        _PROBLEM,
        problems.parse,
        Data("openai/gsm8k", "main/test-*.parquet", "main/train-*.parquet"),
        raw_shots=4,
        source="Cobbe et al., 2021, arXiv:2110.14168",
    ),
    Bench(
        "math",
        "Problems of competitions (MATH-500 by itself)",
        "problem",
        _PROBLEM,
        problems.parse,
        Data("HuggingFaceH4/MATH-500", "test.jsonl"),
        raw_shots=4,
        source="Hendrycks et al., 2021, arXiv:2103.03874",
    ),
    Bench(
        "aime",
        "Problems of the AIME, whole numbers",
        "problem",
        _PROBLEM,
        problems.parse,
        None,
        source="Mathematical Association of America",
    ),
    Bench(
        "cmath",
        "Chinese word problems of school",
        "problem",
        _PROBLEM,
        problems.parse,
        None,
        source="Wei et al., 2023, arXiv:2306.16636",
    ),
    Bench(
        "passkey",
        "A number hidden in long texts, found again",
        "passkey",
        "",
        lambda row, number: None,
        source="Mohtashami and Jaggi, 2023, arXiv:2305.16300",
    ),
    Bench(
        "vision",
        "Questions about your pictures",
        "picture",
        "image, question and answer (or answers, choices)",
        lambda row, number: None,  # it needs the file's folder: see `read`
    ),
)
NAMED = {bench.name: bench for bench in BENCHES}


@dataclass(frozen=True)
class Items:
    """What a run asks. `remark` says where shots came from where that is not the bench's own split."""

    items: Sequence[Item]
    remark: str | None = None


@dataclass(frozen=True)
class File:
    """A file of a bench, read. `parse` is how its rows were, and those of its shots will be."""

    bench: Bench
    path: Path
    items: Sequence[Any]
    parse: Callable[[dict[str, Any], int], Any]

    def after(self, shots: int, shots_file: Path | None = None) -> Items:
        """Return the items, each with the `shots` that come before it: those of `shots_file`, else the first
        of the file (of each subject), which are not asked then. Raises `UsageError`."""
        if not shots or self.bench.kind == "picture" or self.bench.name == "humaneval":
            return Items(self.items)
        if shots_file:
            worked: list[Any] = rows.parsed(shots_file, rows.read(shots_file), self.parse, self.bench.fields)
            return Items(_after(self.items, worked, shots))
        worked, asked = [], []
        for group in by_subject(self.items).values():
            worked += group[:shots]
            asked += group[shots:]
        remark = f"the first {shots} of each subject in {self.path.name} are the shots, and are not counted"
        return Items(_after(asked, worked, shots), remark)


def read(
    bench: Bench, file: Path, *, mode: Literal["cot", "short", "tir"] = "cot", score: pictures.Score = "exact"
) -> File:
    """Return the items of a file. Raises `UsageError`."""
    parse = bench.parse
    if bench.kind == "problem":
        parse = partial(problems.parse, mode=mode)
    if bench.kind == "picture":
        parse = partial(pictures.parse, folder=file.parent, score=score)
    items: list[Any] = rows.parsed(file, rows.read(file), parse, bench.fields)
    return File(bench, file, _named_once(items), parse)


def stratified(items: Sequence[Item], limit: int | None, seed: int | None) -> list[Item]:
    """Return `limit` of `items`, as many of each subject as there can be, in the order of the file. With a
    `seed` they are drawn, else they are each subject's first."""
    if limit is None or limit >= len(items):
        return list(items)
    groups = [list(group) for group in by_subject(items).values()]
    if seed is not None:
        drawn = random.Random(seed)  # noqa: S311 a sample, no secret
        for group in groups:
            drawn.shuffle(group)
    taken: set[str] = set()
    while len(taken) < limit:
        for group in groups:
            if group and len(taken) < limit:
                taken.add(group.pop(0).id)
    return [item for item in items if item.id in taken]


def by_subject(items: Iterable[Item]) -> dict[str, list[Any]]:
    """Return `items` by their subject, in the order in which those come."""
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(item.subject, []).append(item)
    return groups


def _after(items: Sequence[_Shot], worked: Sequence[_Shot], shots: int) -> list[Any]:
    """Return `items` with the first `shots` of their subject before them; of any where it has none."""
    groups = by_subject(worked)
    return [replace(item, shots=tuple(groups.get(item.subject) or worked)[:shots]) for item in items if shots]


def _named_once(items: Sequence[Any]) -> list[Any]:
    """Return `items` with ids of their own: one that comes again gets its number."""
    seen: dict[str, int] = {}
    named = []
    for item in items:
        seen[item.id] = seen.get(item.id, 0) + 1
        named.append(replace(item, id=f"{item.id}#{seen[item.id]}") if seen[item.id] > 1 else item)
    return named
