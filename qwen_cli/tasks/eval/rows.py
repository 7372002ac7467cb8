"""Files of benches in their own formats: JSONL, JSON, CSV, parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from qwen_cli import install_hint, reading
from qwen_cli.errors import UsageError

Row = dict[str, Any]
Parsed = TypeVar("Parsed")
FORMATS = (".jsonl", ".json", ".csv", ".parquet")
_LARGEST = 512 << 20  # bytes: those of the largest bench are sixty million


def read(path: Path) -> list[Row]:
    """Return the rows of a file. A CSV without a head, as MMLU has been published, gives question, A to D
    and answer. Raises `UsageError`."""
    readers: dict[str, Callable[[Path], list[Row]]] = {
        ".jsonl": _json_lines,
        ".json": _json,
        ".csv": _csv,
        ".parquet": _parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path} is no {', '.join(FORMATS)} file", "convert it to one of these")
    try:
        rows = reader(path)
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, csv.Error) as fault:
        raise UsageError(f"cannot read {path}: {getattr(fault, 'strerror', None) or fault}") from None
    if not rows:
        raise UsageError(f"{path} has no rows")
    return rows


def parsed(path: Path, rows: Sequence[Row], parse: Callable[[Row, int], Parsed], wanted: str) -> list[Parsed]:
    """Return what `parse` makes of every row and its number from 1. Raises `UsageError` naming the first that
    lacks what is `wanted`."""
    made = []
    for number, row in enumerate(rows, 1):
        try:
            made.append(parse(row, number))
        except (KeyError, ValueError, TypeError, IndexError) as fault:
            told = f"it has no {fault}" if isinstance(fault, KeyError) else str(fault)
            raise UsageError(f"row {number:,} of {path}: {told}", f"each row has {wanted}") from None
    return made


def _text(path: Path) -> str:
    return reading.read(path, _LARGEST).decode("utf-8-sig")


def _json_lines(path: Path) -> list[Row]:
    # Not `splitlines`: texts may hold other line separators, which JSON leaves as they are.
    lines = _text(path).split("\n")
    return [
        _object(reading.parsed_json(line), number) for number, line in enumerate(lines, 1) if line.strip()
    ]


def _json(path: Path) -> list[Row]:
    whole = reading.parsed_json(_text(path))
    if isinstance(whole, dict):  # a split, as datasets' viewers save it
        whole = next((value for value in whole.values() if isinstance(value, list)), [])
    if not isinstance(whole, list):
        raise ValueError("it is no list")
    return [_object(row, number) for number, row in enumerate(whole, 1)]


def _csv(path: Path) -> list[Row]:
    lines = list(csv.reader(io.StringIO(_text(path), newline="")))
    if lines and len(lines[0]) == 6 and lines[0][5].strip() in tuple("ABCD"):  # MMLU's own: no head
        subject = path.stem.rsplit("_", 1)[0]
        names = ("question", "A", "B", "C", "D", "answer")
        return [{**dict(zip(names, line, strict=True)), "subject": subject} for line in lines if line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:] if line]


def _parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import parquet  # 40 MB that only these files need
    except ImportError:
        raise UsageError(
            f"{path.name} is a parquet file, and pyarrow is not installed",
            f"run `{install_hint.command('eval')}`",
        ) from None
    return list(parquet.read_table(path).to_pylist())


def _object(row: object, number: int) -> Row:
    if not isinstance(row, dict):
        raise ValueError(f"row {number:,} is no object")
    return row
