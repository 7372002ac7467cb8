"""Rows of results on disk, one line each: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from qwen_cli.errors import QwenError


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of `path`; none where it is not there. A line that was being written when the program was
    killed is cut off. Raises `QwenError` where the file is something else."""
    if not path.exists():
        return []
    try:
        # Not `splitlines`: a model's text may hold other line separators, which JSON leaves as they are.
        *lines, unfinished = path.read_text(encoding="utf-8").split("\n")
        if unfinished:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as fault:
        raise QwenError(f"{path} is no journal of results: {fault}", "name another file") from None
    if not all(isinstance(row, dict) for row in rows):
        raise QwenError(f"{path} is no journal of results", "name another file")
    return rows


def add(path: Path, row: dict[str, Any]) -> None:
    """Write one more row, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the file by `rows`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    temporary.replace(path)
