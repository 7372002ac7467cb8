"""How good a model is at filling in: tasks with unit tests, run in the sandbox and nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from qwen_cli import reading
from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.common import jsonl, parallel, tested
from qwen_cli.tasks.fim import complete

_BY, _OPTION = "qwen eval fim", "results"
_LARGEST = 512 << 20  # bytes of a file of tasks: the usual ones have ten million
# OpenAI's human-eval-infilling gives each program three seconds.
_WALL_SECONDS = 3.0

UNANSWERED = "unanswered"
"""How a task ends that the engine failed on: it is not a result of the model."""


@dataclass(frozen=True)
class Task:
    """One hole with the tests that the filled program must pass (github.com/openai/human-eval-infilling)."""

    id: str
    hole: complete.Hole
    test: str
    entry_point: str

    def program(self, middle: str) -> str:
        return f"{self.hole.prefix}{middle}{self.hole.suffix}\n{self.test}\ncheck({self.entry_point})\n"


@dataclass(frozen=True)
class Result:
    """What became of one task. `seconds` is the time of the completion; `error` says why it failed."""

    id: str
    middle: str
    passed: bool
    stop: str
    error: str | None = None
    seconds: float = 0.0


def load(path: Path) -> list[Task]:
    """Return the tasks of a JSONL file. Raises `UsageError` naming the line that is none."""
    try:
        lines = reading.read(path, _LARGEST).decode().splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {reason}", "name a file of tasks (JSONL)") from None
    tasks = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = reading.parsed_json(line)
            hole = complete.Hole(row["prompt"], row["suffix"], "solution.py")
            tasks.append(Task(str(row["task_id"]), hole, row["test"], row["entry_point"]))
        except (ValueError, KeyError, TypeError) as fault:
            raise UsageError(
                f"line {number:,} of {path} is no infilling task: {fault}",
                "each has task_id, prompt, suffix, test and entry_point",
            ) from None
    if not tasks:
        raise UsageError(f"{path} has no tasks")
    return tasks


def evaluate(
    engine: Engine,
    tasks: Sequence[Task],
    done: Mapping[str, Result],
    mode: complete.Mode = "auto",
    *,
    at_once: int = 1,
) -> Iterator[Result]:
    """Yield a result for each task as it comes, greedy; those in `done` are not computed again and come
    first.

    `at_once` tasks are in flight on engines that can. One that the engine failed on ends as `UNANSWERED`.
    Raises `SandboxError` on a machine that cannot contain programs.
    """
    import time

    from qwen_cli.sandbox import Sandbox

    Sandbox().open().close()  # a machine that cannot contain programs says so before the work
    yield from (done[task.id] for task in tasks if task.id in done)

    def one(lane: Engine, task: Task, stopped: parallel.Stopped) -> Result:
        started = time.perf_counter()
        try:
            middle = complete.complete(lane, task.hole, mode=mode)
        except EngineError as fault:
            return Result(task.id, "", False, UNANSWERED, str(fault))
        seconds = time.perf_counter() - started
        error = failure(task, middle.text)
        return Result(task.id, middle.text, error is None, middle.stop, error, round(seconds, 3))

    left = [task for task in tasks if task.id not in done]
    yield from parallel.map_unordered(engine.lanes(at_once) if at_once > 1 else [engine], left, one)


def failure(task: Task, middle: str) -> str | None:
    """Return why the program with `middle` in it fails its tests, `None` where it passes."""
    return tested.failure(task.program(middle), _WALL_SECONDS)


def check(path: Path) -> None:
    """Raise `UsageError` where `path` cannot be a `Journal`."""
    jsonl.Journal(path, _BY, option=_OPTION).close()


class Journal:
    """Results on disk, one line each, so that an evaluation that was stopped resumes.

    They are of one model, mode and task file, and `settings` that change answers (an adapter); others need
    another journal. The file is held until `close`. Raises `UsageError` where it holds anything else.
    """

    def __init__(
        self, path: Path, *, model: str, mode: str, tasks: Path, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self._rows = jsonl.Journal(path, _BY, option=_OPTION)
        try:
            digest = hashlib.sha256(reading.read(tasks, _LARGEST)).hexdigest()
            self._rows.begin(
                {"model": model, "mode": mode, "tasks": tasks.name, "sha256": digest, **(settings or {})}
            )
            self.done = {result.id: result for result in map(self._result, self._rows.rows)}
        except BaseException:
            self.close()
            raise

    def add(self, result: Result) -> None:
        """Keep one more result, on the disk before this returns."""
        self._rows.add(asdict(result))
        self.done[result.id] = result

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _result(self, row: Mapping[str, Any]) -> Result:
        try:
            return Result(**{name: value for name, value in row.items() if name != "run"})
        except TypeError as fault:
            raise UsageError(
                f"{self.path} cannot hold results: {fault}", f"give another `{_OPTION}`"
            ) from None
