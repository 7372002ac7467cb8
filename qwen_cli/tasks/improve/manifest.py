"""What a run in a folder was asked for and what it has done: stages with digests of all that they wrote.

A stage that is recorded is not run again; one that was killed is, on the journals it left. The folder is one
run's: settings or inputs that are others are refused, and so is a file that is not what a stage wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from qwen_cli import reading
from qwen_cli.errors import UsageError
from qwen_cli.tasks.common import jsonl
from qwen_cli.tasks.eval import run

NAME = "manifest.json"
BY = "qwen improve"
_LARGEST = 64 << 20  # bytes; a manifest has some thousand


class Manifest:
    """The record of the run in `folder`, held until `close`. Raises `UsageError` where another run holds it,
    or the folder has something else in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = [entry.name for entry in folder.iterdir() if entry.name != ".lock"]
        except OSError as fault:
            raise UsageError(
                f"{folder} cannot hold a run: {fault.strerror}", "name another folder with `out`"
            ) from None
        if there and NAME not in there:
            raise UsageError(
                f"{folder} holds {sorted(there)[0]!r} and no run of ours", "name a new folder with `out`"
            )
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"another run is working in {folder}", "wait for it, or name another `out`"
            ) from None
        try:
            self._held = self._read()
        except BaseException:
            self._lock.release()
            raise

    def begin(self, settings: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Take the folder for a run with these settings and inputs (names to digests). Raises `UsageError`
        where it is another's, by the first setting that differs."""
        wanted = _as_json({"settings": dict(settings), "inputs": dict(inputs)})
        if not self._held:
            self._write({"by": BY, **wanted, "stages": {}})
            return
        for group in ("settings", "inputs"):
            seen, here = self._held[group], wanted[group]
            for name in {**here, **seen}:
                if seen.get(name) != here.get(name):
                    raise UsageError(
                        f"{self.folder} holds a run with other {group}: {name} was "
                        f"{json.dumps(seen.get(name))}, here it is {json.dumps(here.get(name))}",
                        "give the same, or name a new folder with `out`",
                    )

    def figures(self, stage: str) -> dict[str, Any] | None:
        """Return what a stage came to, if it is done; `None` where it is to be run. Raises `UsageError` where
        a file is not what it wrote."""
        record = self._held["stages"].get(stage)
        if record is None:
            return None
        for name, wrote in record["files"].items():
            path = self.folder / name
            if not path.exists() or digest(path) != wrote:
                what = "has been changed" if path.exists() else "is gone"
                raise UsageError(
                    f"{path} {what} since {stage} wrote it", "put it back, or name a new folder with `out`"
                )
        return dict(record["figures"])

    def record(self, stage: str, files: Sequence[Path], figures: Mapping[str, Any]) -> dict[str, Any]:
        """Record that a stage is done, with the files (or folders) that it wrote and what it came to."""
        names = {path.relative_to(self.folder).as_posix(): digest(path) for path in files}
        done = _as_json({"files": names, "figures": dict(figures)})
        self._write({**self._held, "stages": {**self._held["stages"], stage: done}})
        return dict(done["figures"])

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        try:
            held = reading.parsed_json(reading.read(self._path, _LARGEST).decode())
            if held["by"] != BY or not all(
                isinstance(held[name], dict) for name in ("settings", "inputs", "stages")
            ):
                raise ValueError("it is of something else")
            return dict(held)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
            raise UsageError(
                f"{self._path} is no manifest of `{BY}`: {fault}", "name a new folder with `out`"
            ) from None

    def _write(self, held: dict[str, Any]) -> None:
        text = json.dumps(held, ensure_ascii=False, indent=1) + "\n"
        jsonl.write_whole(self._path, [text.encode()], "make room, and run it again: it resumes")
        self._held = held


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder's files."""
    if not path.is_dir():
        return run.digest(path)
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()}\0{run.digest(file)}\n".encode())
    return whole.hexdigest()


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(value, default=str)))
