"""The folder of a training: its adapter, its log, and all that is needed to go on after a kill.

It is touched only once it is known to be new, empty, or of the same training. Every file but the log, to
which lines are added, is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.models.formats import lora

BY = "qwen train"
RUN, STATE, LOG, LOCK = "training.json", "state.safetensors", "log.jsonl", ".training.lock"
OURS = (RUN, STATE, LOG, LOCK, lora.CONFIG, lora.WEIGHTS)
_NOTHING = ".partial"  # ends the names of what is not whole yet


@dataclass(frozen=True)
class Progress:
    """How far a training is: `step`s done, the one after which the held-out rows were measured last
    (`evaluated`, -1 before the first), the best so far with its loss, evaluations `waited` since, the loss
    before the first step (`before`), the summed loss and counted tokens of this epoch, and what it took.
    `figures` were measured with the best loss, `figures_before` with the first."""

    step: int = 0
    evaluated: int = -1
    best_step: int = 0
    best_loss: float | None = None
    before: float | None = None
    waited: int = 0
    epoch: int = 0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    figures_before: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What an earlier run left: its `plan`, and its `result` where it was complete."""

    plan: dict[str, Any]
    result: dict[str, Any] | None


class RunFolder:
    """The folder `path` for a training of the command `by`, which writes the files `names`. Raises
    `UsageError` where it holds anything else."""

    def __init__(self, path: Path, by: str = BY, names: Sequence[str] = OURS) -> None:
        self.path = path.expanduser()
        self._by, self._names = by, names
        self._run: dict[str, Any] | None = None
        self._check()

    def _check(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise self._unfit("it is a file")
        names = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if not names - {LOCK, _partial(RUN)}:
            return
        try:
            self._run = reading.parsed_json(reading.read(self.path / RUN))
            ours = isinstance(self._run, dict) and self._run.get("by") == self._by
        except (OSError, ValueError):
            ours = False
        if not ours:
            raise self._unfit("it holds something else")

    def _unfit(self, why: str) -> UsageError:
        return UsageError(f"{self.path} cannot take a training: {why}", "give another folder as `out`")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder, which is made if it is not there. Raises `UsageError`."""
        import filelock

        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise UsageError(
                f"another training is running in {self.path}", "wait for it, or give another `out`"
            ) from None
        except OSError as fault:
            raise self._unfit(fault.strerror or "it cannot be written") from None
        with lock:
            self._check()  # the other may have written in it meanwhile
            yield

    def begin(self, identity: Mapping[str, Any], plan: Mapping[str, Any]) -> Found | None:
        """Take the folder for the training with this `identity`; return what an earlier run of it left.

        Raises `UsageError` where the folder is of another."""
        wanted = json.loads(json.dumps(identity))
        if self._run is not None:
            seen = self._run.get("identity") or {}
            for name in {**wanted, **seen}:
                if seen.get(name) != wanted.get(name):
                    raise UsageError(
                        f"{self.path} holds a training with other data, model or settings: {name} was"
                        f" {_shown(seen.get(name))}, here it is {_shown(wanted.get(name))}",
                        "give another `out`",
                    )
            for name in self._names:
                with suppress(OSError):
                    (self.path / _partial(name)).unlink()
            return Found(self._run["plan"], self._run.get("result"))
        self._run = {"by": self._by, "identity": wanted, "plan": dict(plan)}
        self._write_run()
        return None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Keep the `result` and remove the state: there is nothing left to go on with."""
        assert self._run is not None, "`begin` comes first"
        self._run = {**self._run, "result": dict(result)}
        self._write_run()
        with suppress(OSError):
            (self.path / STATE).unlink()

    def _write_run(self) -> None:
        self.write(RUN, self._run or {})

    def save(self, progress: Progress, tensors: Mapping[str, Any]) -> None:
        """Write the state: `progress`, and torch `tensors` by name."""
        from safetensors.torch import save_file

        about = {"progress": json.dumps(asdict(progress))}
        self._put(STATE, lambda place: save_file(dict(tensors), place, about))

    def load(self) -> tuple[Progress, dict[str, Any]] | None:
        """Return the state that was saved last; `None` where there is none. Raises `UsageError` for one that
        somebody has changed."""
        from safetensors import SafetensorError, safe_open

        if not (self.path / STATE).is_file():
            return None
        try:
            with safe_open(self.path / STATE, "pt") as file:
                about = json.loads((file.metadata() or {})["progress"])
                return Progress(**about), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            raise UsageError(
                f"{self.path / STATE} is no whole state of a training", "remove the folder to begin again"
            ) from None

    def put_adapter(self, save: Callable[[Path], None], more: Sequence[str] = ()) -> None:
        """Write the adapter that `save` (peft's `save_pretrained`) puts into a folder, and `more` files that
        it puts there too."""
        aside = self.path / f".adapter{_NOTHING}"
        with self.writing():
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            save(aside)
            config = json.loads((aside / lora.CONFIG).read_text("utf-8"))
            text = json.dumps(_ordered(config), indent=2) + "\n"
            for name in (*more, lora.WEIGHTS):
                shutil.copymode(aside / lora.CONFIG, aside / name)  # which safetensors makes for one person
                shutil.move(aside / name, self.path / _partial(name))
                self._put(name, _sync)
            self._put(lora.CONFIG, lambda place: _write(place, text.encode()))
            shutil.rmtree(aside, ignore_errors=True)

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write the JSON file `name`."""
        text = json.dumps(content, ensure_ascii=True, indent=2) + "\n"
        self._put(name, lambda place: _write(place, text.encode()))

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with self.writing(), (self.path / LOG).open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")

    def logged(self) -> list[dict[str, Any]]:
        """Return the rows of the log."""
        with suppress(OSError):
            lines = (self.path / LOG).read_bytes().split(b"\n")
            rows = []
            for line in lines:
                with suppress(ValueError):  # the last one, that a kill has torn
                    rows.append(json.loads(line))
            return [row for row in rows if isinstance(row, dict)]
        return []

    def cut_log(self, progress: Progress) -> None:
        """Drop from the log what is computed again after `progress`."""
        rows = [row for row in self.logged() if row["step"] <= _last(row, progress)]
        text = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        self._put(LOG, lambda place: _write(place, text))

    def _put(self, name: str, write: Callable[[Path], None]) -> None:
        """Let `write` make the file `name` under another name, which it gets when it is on the disk."""
        partial = self.path / _partial(name)
        with self.writing():
            write(partial)
            _sync(partial)
            partial.replace(self.path / name)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn faults of the disk into `QwenError`s."""
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, SafetensorError) as fault:
            raise QwenError(
                f"{self.path} cannot be written: {getattr(fault, 'strerror', None) or fault}",
                "make room, or check its permissions; the same command goes on from what is saved",
            ) from fault


def _last(row: Mapping[str, Any], progress: Progress) -> int:
    return progress.evaluated if "heldout_loss" in row else progress.step


def _ordered(config: dict[str, Any]) -> dict[str, Any]:
    """Return peft's settings with its sets, whose order changes from run to run, in order."""
    for name in ("target_modules", "exclude_modules"):
        if isinstance(config.get(name), list):
            config[name] = sorted(config[name])
    return config


def _partial(name: str) -> str:
    return f".{name.lstrip('.')}{_NOTHING}"


def _write(place: Path, data: bytes) -> None:
    place.write_bytes(data)


def _sync(place: Path) -> None:
    with place.open("rb+") as file:
        os.fsync(file.fileno())


def _shown(value: object) -> str:
    text = "not given" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} …"
