"""Rows of results on disk, one line each: a run that was stopped resumes.

A file is touched only once it is known to be a journal of ours: a wrong name must not cost a person what is
in that file.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from qwen_cli.errors import QwenError, UsageError

Row = dict[str, Any]


class Journal:
    """The results that `by` ("qwen math") has in `path`, one JSON object a line, and those to come.

    Each begins with `run`: what made it, of which model, in which way. Until `begin` has compared that with
    the run at hand nothing is written. The file is held until `close`, or the end of the process. A last line
    that a kill has torn is cut off by the first row after it.
    `rows` are in the order of the file; a later one of the same thing stands for it.

    Raises `UsageError` where `path` is anything but such a journal or a new or empty file (another file, a
    folder, a pipe, a device, read-only), or another run holds it. `option` is what `path` was given with.
    """

    def __init__(self, path: Path, by: str, *, option: str = "out") -> None:
        self.path = path
        self._by, self._option = by, option
        self._run: Row | None = None
        self._new = False
        self._target = self._read_rows()
        self._file = self._held()
        try:
            self.rows, self._whole, self._joint = self._read()
        except BaseException:
            self.close()
            raise

    def begin(self, run: Mapping[str, Any]) -> None:
        """Accept rows of this `run` (model, mode and settings; `None` is not given) from now on.

        Raises `UsageError` where those that are there were made by another.
        """
        given = json.loads(json.dumps({name: value for name, value in run.items() if value is not None}))
        wanted: Row = {"by": self._by, **given}
        for row in self.rows:
            seen = row["run"]
            for name in {**wanted, **seen}:
                if seen.get(name) != wanted.get(name):
                    raise UsageError(
                        f"{self.path} holds results of another model, mode or settings: {name} was"
                        f" {_display(seen.get(name))}, here it is {_display(wanted.get(name))}",
                        f"give another `{self._option}`",
                    )
        self._run = wanted

    def add(self, row: Mapping[str, Any]) -> Row:
        """Write one more row, on the disk before this returns; returns it as it is there. Raises `QwenError`
        where the disk is full."""
        assert self._run is not None, "`begin` comes first"
        whole = {"run": self._run, **row}
        try:
            if self._whole is not None:
                self._file.truncate(self._whole)
            self._file.write(self._joint + _line(whole))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as fault:
            raise QwenError(
                f"{self.path} cannot be written: {fault.strerror}", "make room, and run it again: it resumes"
            ) from fault
        self._whole, self._joint = None, b""
        self.rows.append(whole)
        return whole

    def arrange(self, key: str, order: Iterable[str]) -> None:
        """Put the last row of each thing, by its `key`, in this order; those of others keep their places.
        Nothing is added after that. Raises `QwenError` where the folder cannot be written."""
        latest = {str(row.get(key)): row for row in self.rows}
        wanted = [name for name in dict.fromkeys(order) if name in latest]
        following, ours = iter(wanted), set(wanted)
        rows = [latest[next(following) if name in ours else name] for name in latest]
        if rows != self.rows:
            self._run = None
            if (
                os.name == "nt"
            ):  # where an open file cannot be replaced; elsewhere it is held until that is done
                self._file.close()
            replace(self._target, rows)
            self.rows = rows

    def close(self) -> None:
        """Let go of the file; one that was made here and has no row goes."""
        with suppress(OSError):
            status = os.fstat(self._file.fileno())
            if self._new and status.st_size == 0 and os.path.samestat(status, self._target.stat()):
                self._target.unlink()
        with suppress(OSError):  # what could not be written has been told
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_rows(self) -> Path:
        """Return where the file is or will be. A link is followed, so that it stays one."""
        if str(self.path) == "-":
            raise self._unfit("it is standard output")
        try:
            target = self.path.resolve()
            mode = target.stat().st_mode if target.exists() else None
        except (OSError, RuntimeError, ValueError) as fault:  # a circle of links, a NUL in the name
            raise self._unfit(str(getattr(fault, "strerror", None) or fault)) from None
        if mode is not None and stat.S_ISDIR(mode):
            raise self._unfit("it is a folder")
        if mode is not None and not stat.S_ISREG(mode):
            raise self._unfit("it is no regular file")
        if mode is not None and not (mode & 0o222 and os.access(target, os.W_OK)):
            raise self._unfit("it is read-only")
        return target

    def _held(self) -> BinaryIO:
        """Return the file, open for reading and adding, and held against other runs."""
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = self._opened()
                if not _locked(file):
                    file.close()
                    raise UsageError(
                        f"another run is writing {self.path}",
                        f"wait for it, or give another `{self._option}`",
                    )
                # Between opening and holding it the other run may have put a new file in its place.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), self._target.stat()):
                        return file
                file.close()
        except OSError as fault:
            raise self._unfit(f"it cannot be written ({fault.strerror})") from fault

    def _opened(self) -> BinaryIO:
        how = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            number = os.open(self._target, how | os.O_CREAT | os.O_EXCL, 0o666)
            self._new = True
        except FileExistsError:
            number = os.open(self._target, how)
        return os.fdopen(number, "r+b")

    def _read(self) -> tuple[list[Row], int | None, bytes]:
        """Return the rows that are there, the length to cut the file to before a row is added (`None`: as it
        is), and what that row is to begin with."""
        if self._file.read(1) not in (b"", b"{"):  # whatever its size: no more of it is read
            raise self._unfit("it is something else")
        self._file.seek(0)
        # Not `splitlines`: a model's text may hold other line separators, which JSON leaves as they are.
        *lines, tail = self._file.read().split(b"\n")
        rows = [self._row(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        if not tail:
            return rows, None, b""
        length = sum(len(line) + 1 for line in lines)
        begins = _line({"run": {"by": self._by}})[:-3]
        with suppress(UsageError):  # whole, but for the end of its line: an editor's work
            return [*rows, self._row(tail, len(lines) + 1)], None, b"\n"
        torn = tail.rstrip(b"\0")  # what a power cut leaves of a block that was not written
        if torn.startswith(begins) or (rows and begins.startswith(torn)):
            return rows, length, b""
        raise self._unfit(f"its last line is none of `{self._by}`")

    def _row(self, line: bytes, number: int) -> Row:
        try:
            row = json.loads(line)
            by = row["run"]["by"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._unfit(f"line {number:,} is none of `{self._by}`") from None
        if by != self._by:
            raise self._unfit(f"line {number:,} is none of `{self._by}`, but of {_display(by)}")
        return dict(row)

    def _unfit(self, why: str) -> UsageError:
        return UsageError(f"{self.path} cannot hold results: {why}", f"give another `{self._option}`")


def replace(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make `path` a file of `rows`, whole or not at all. Raises `QwenError`."""
    write_whole(path, map(_line, rows), "make room, or check its permissions")


def write_whole(path: Path, parts: Iterable[bytes], remedy: str) -> None:
    """Make `path` a file of `parts`, whole or not at all. Raises `QwenError` with this `remedy`."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as fault:
        with suppress(OSError):
            temporary.unlink()
        raise QwenError(f"{path} cannot be written: {fault.strerror}", remedy) from fault


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, from an undecodable name: only escapes can hold it
        return json.dumps(row).encode() + b"\n"


def _locked(file: BinaryIO) -> bool:
    """Return whether the file is ours alone now. Where there is no flock (Windows, some network folders) it
    is."""
    try:
        import fcntl  # POSIX only

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _display(value: object) -> str:
    return "not given" if value is None else repr(value) if isinstance(value, str) else json.dumps(value)
