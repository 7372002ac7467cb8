"""The stages of a round, each from files to files: what `qwen improve` runs one after another, and alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.common import jsonl
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.eval import run as eval_run
from qwen_cli.tasks.improve import asking, decontaminate, gather, generators, synthesize
from qwen_cli.tasks.improve.asking import Asking, Progress
from qwen_cli.tasks.improve.decontaminate import ProtectedTexts
from qwen_cli.tasks.improve.gather import Gathered
from qwen_cli.tasks.improve.problem import Problem, normalised, unique
from qwen_cli.tasks.improve.synthesize import Variants
from qwen_cli.tasks.math import prompts

Say = Callable[[str], None]
BY_SOLVE = "qwen improve solve"
_NAMED = 10  # problems that are told by name; the file of what was dropped has all
_HELD = 10  # one problem in so many is not trained on, but tells when to stop


@dataclass(frozen=True)
class Wanted:
    """Problems that are to be made: `count` of the `families`, and of each given problem what `variants`
    says."""

    families: tuple[str, ...] = ()
    count: int = 120
    variants: Variants = field(default_factory=Variants)

    def check(self) -> None:
        """Raise `UsageError` for a value that makes no sense."""
        generators.chosen(self.families)
        self.variants.check()


@dataclass(frozen=True)
class Synthesized:
    """Problems to practise on, and those that were dropped, with the reason."""

    problems: Sequence[Problem]
    dropped: Sequence[tuple[str, str, str]]
    """Id, text and reason."""


def synthesized(
    given: Sequence[Problem],
    wanted: Wanted,
    tests: ProtectedTexts,
    seed: int,
    write: Callable[[Sequence[Problem]], Sequence[Mapping[str, Any]]] | None = None,
) -> Synthesized:
    """Return the given problems and new ones without what is too near to `tests`. `write` has a model change
    problems (`synthesize.variants`): it is given those that are clean."""
    single = unique(given)
    clean, near = decontaminate.split(single, tests)
    made = generators.generate(
        wanted.families, wanted.count, seed, avoid={normalised(one.problem) for one in single}
    )
    rows = write(clean) if write and wanted.variants.kinds and clean else []
    variants = list(synthesize.settled(rows, [*clean, *made]))
    new, near_new = decontaminate.split([*made, *variants], tests)
    dropped = [(one.id, one.problem, match.why) for one, match in [*near, *near_new]]
    dropped += [
        (str(row["id"]), str(row["problem"]), str(row["dropped"])) for row in rows if "dropped" in row
    ]
    return Synthesized([*clean, *new], dropped)


def write_synthesized(
    made: Synthesized,
    problems: Path,
    dropped: Path,
    write: Callable[[Path, Sequence[Mapping[str, Any]]], None] = jsonl.replace,
) -> None:
    """Write both files, each whole or not at all. Raises `QwenError` where no problem is left."""
    if not made.problems:
        raise QwenError(
            "no problem is left to practise on"
            + (f": {made.dropped[0][0]} is left out, {made.dropped[0][2]}" if made.dropped else ""),
            "give others, or families that make some",
        )
    write(problems, [one.row() for one in made.problems])
    write(dropped, [dict(zip(("id", "problem", "why"), one, strict=True)) for one in made.dropped])


def tell_dropped(made: Synthesized, dropped: Path, say: Say) -> None:
    """Name the problems that were dropped, each with the reason; the file has those that are too many."""
    for id, _, why in made.dropped[:_NAMED]:
        say(f"{id} is left out: {why}")
    if len(made.dropped) > _NAMED:
        say(f"{len(made.dropped) - _NAMED:,} more are left out: {dropped} has the reasons")


@dataclass(frozen=True)
class Outputs:
    """Where the solutions of a round go, beside the journal of its samples."""

    difficulty: Path
    train: Path
    held: Path
    pairs: Path


def sampled(
    engine: Engine,
    problems: Sequence[Problem],
    how: Asking,
    path: Path,
    run: Mapping[str, Any],
    progress: Progress = asking._silent,
) -> list[dict[str, Any]]:
    """Return a row for each of `how.samples` answers to each problem; those in the journal at `path` are not
    asked for again. `run` says of which model."""
    return asking.journaled(engine, problems, how, path, BY_SOLVE, run, progress)


def samples(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rows of a journal of samples, and what it says of the run that they are of. Raises
    `UsageError` where `path` is none."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", f"name one that `{BY_SOLVE}` has written")
    with Journal(path, BY_SOLVE, option="samples") as book:
        rows = list(eval_run.known(book.rows).values())
    if not rows or not {"model", "mode"} <= rows[0]["run"].keys():
        raise UsageError(f"{path} has no samples", f"name a file that `{BY_SOLVE}` has written")
    return rows[0]["run"], rows


def write_solutions(
    gathered: Gathered, mode: prompts.Mode, model: str, outputs: Outputs
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write what is to be learned from, whole or not at all; return the chats to train on and those that are
    kept from it, as the model of this name is asked. One problem in ten, with all of its solutions, is kept,
    where there are so many."""
    ids = list(dict.fromkeys(one.problem.id for one in gathered.solutions))
    held = set(ids[_HELD - 1 :: _HELD])
    chats = gather.chats([s for s in gathered.solutions if s.problem.id not in held], mode, model)
    kept = gather.chats([s for s in gathered.solutions if s.problem.id in held], mode, model)
    jsonl.replace(
        outputs.difficulty,
        [{**one.problem.row(), "right": one.right, "samples": one.samples} for one in gathered.difficulty],
    )
    jsonl.replace(outputs.pairs, gather.preferences(gathered.pairs, mode, model))
    jsonl.replace(outputs.held, kept)
    jsonl.replace(outputs.train, chats)
    return chats, kept
