"""Files that the stages of `qwen improve` write: none is written over that holds anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.errors import UsageError
from qwen_cli.tasks.common import jsonl

_LARGEST = 2 << 30  # bytes


def beside(path: Path, what: str) -> Path:
    """Return the name of a file that goes with `path`: problems.dropped.jsonl."""
    return path.with_name(f"{path.stem}.{what}.jsonl")


def check(path: Path, others: Sequence[Path | None], *, resumes: bool) -> None:
    """Raise `UsageError` where `path` is one of `others`, which are read, or there already without an earlier
    run that this one `resumes`; what it holds is looked at by `put`."""
    if any(other and path.resolve() == other.resolve() for other in others):
        raise UsageError(f"{path} would be written over, and is needed", "give another name")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file", "give another name")
    if path.exists() and path.stat().st_size and not resumes:
        raise _not_ours(path)


def put(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make `path` a file of `rows`, whole or not at all. Raises `UsageError` where it holds any other row."""
    if path.exists() and path.stat().st_size:
        again = {json.dumps(row, sort_keys=True) for row in rows}
        try:
            lines = reading.read(path, _LARGEST).decode().split("\n")
            there = {json.dumps(reading.parsed_json(line), sort_keys=True) for line in lines if line}
        except (OSError, ValueError, RecursionError):
            there = {""}
        if not there <= again:
            raise _not_ours(path)
    jsonl.replace(path, rows)


def _not_ours(path: Path) -> UsageError:
    return UsageError(f"{path} is there, and holds something else", "give another name")
