"""Runs blocks of code one after another in one namespace, in the contained process."""

from __future__ import annotations

import ast
import builtins
import contextlib
import difflib
import fcntl
import gc
import io
import itertools
import json
import linecache
import os
import resource
import secrets
import signal
import stat
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli.sandbox import channel
from qwen_cli.sandbox.truncate import cut

_TEXT = 100_000  # characters of one value or traceback that leave the process
_LINE = 200  # of the line of an error
_NAMES = 750  # among which the one that was meant is looked for, as Python has it
# A run's figures, the size of each and of all. What is more is left out here and not taken by the caller.
PLOTS, PLOT_BYTES, PLOTS_BYTES = 16, 4 << 20, 32 << 20


def serve(fd: int, *, stream: bool = False) -> None:
    """Read blocks from `fd` and answer each, until the caller has gone. `stream`: see `channel`."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    space = vars(module)
    space["__builtins__"] = __builtins__
    warnings.filterwarnings(
        "ignore", message=".*non-interactive.*"
    )  # plt.show() of a backend without windows
    gc.enable()
    count = 0
    while (message := channel.receive(fd, stream=stream)) is not None:
        token, source = message
        count += 1
        plots: list[bytes] = []
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        result = run(source.decode(), f"<block {count}>", space, plots)
        _end_children()
        for plot in plots:
            channel.send(fd, token, channel.PLOT, plot, stream=stream)
        channel.send(fd, token, channel.RESULT, json.dumps(result).encode(), stream=stream)


def run(source: str, name: str, space: dict[str, Any], plots: list[bytes]) -> dict[str, Any]:
    """Execute `source` in `space`; figures that it draws are added to `plots` as PNG."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        _watch_show(plots)
        value = _execute(source, name, space)
        text = None if value is None else cut(repr(value), _TEXT)
        _collect(plots)
        return {"status": "ok", "value": text}
    except MemoryError as fault:
        return _with_spare_memory(fault, name)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if leaving.code is not None and not isinstance(leaving.code, int):
            print(leaving.code, file=sys.stderr)
        status = "error" if code else "ok"
        return {"status": status, "exit": code & 0xFF, "error": f"SystemExit: {code}" if code else None}
    except BaseException as fault:
        return _failure(fault, name)


def _execute(source: str, name: str, space: dict[str, Any]) -> Any:
    tree = ast.parse(source, name)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        del tree.body[-1]
    exec(compile(tree, name, "exec", dont_inherit=True), space)  # noqa: S102 - what this process is for
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), space)  # noqa: S307
    space["_"] = value
    return value


def _failure(fault: BaseException, name: str) -> dict[str, Any]:
    frames = fault.__traceback__
    while frames and frames.tb_frame.f_code.co_filename != name:
        frames = frames.tb_next  # ours are of no use to anyone; a syntax error has no others
    formatted = traceback.TracebackException(type(fault), fault, frames, compact=True)
    last = list(formatted.format_exception_only())[-1].strip()
    return {
        "status": "error",
        "error": cut(last, 2_000) + _meant(fault, last),
        "where": _where(fault, formatted, name),
        "traceback": cut("".join(formatted.format()), _TEXT),
    }


def _where(fault: BaseException, formatted: traceback.TracebackException, name: str) -> str | None:
    """Return the line of the program that an error arose in, with its number."""
    if isinstance(fault, SyntaxError) and fault.filename == name:
        number, line = fault.lineno, fault.text
    else:
        within = [frame for frame in formatted.stack if frame.filename == name]
        number, line = (within[-1].lineno, within[-1].line) if within else (None, None)
    if not isinstance(number, int) or not isinstance(line, str) or not line.strip():
        return None
    return cut(f"line {number}: {line.strip()}", _LINE)


def _meant(fault: BaseException, said: str) -> str:
    """Return the name that was meant by one that is not there. Python says so itself from 3.12 on."""
    wanted = getattr(fault, "name", None)
    if type(wanted) is not str or "Did you mean" in said:
        return ""
    names = [name for name in _names(fault) if type(name) is str and len(name) < 100][:_NAMES]
    same = [name for name in names if name.casefold() == wanted.casefold()]
    near = same or difflib.get_close_matches(wanted[:100], names, n=1, cutoff=0.75)
    return f". Did you mean: {near[0]!r}?" if near else ""


def _names(fault: BaseException) -> list[Any]:
    """Return the names that there are where one was not found."""
    frames = [frame for frame, _ in traceback.walk_tb(fault.__traceback__)]
    if isinstance(fault, NameError) and frames:
        return [*frames[-1].f_locals, *frames[-1].f_globals, *vars(builtins)]
    if isinstance(fault, AttributeError):
        with contextlib.suppress(Exception):  # an object of the program's own may refuse
            return dir(fault.obj)
    return []


def _with_spare_memory(fault: MemoryError, name: str) -> dict[str, Any]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        return {**_failure(fault, name), "status": "memory"}
    except MemoryError:
        return {"status": "memory", "error": "MemoryError"}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _stream(fd: int) -> io.TextIOWrapper:
    # Unbuffered, so that what was printed before a timeout is not lost and both streams keep their order.
    raw: Any = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _end_children() -> None:
    if os.getpid() != 1:
        return  # without a pid namespace there are none
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except OSError:
        return  # there is nobody left


def _watch_show(plots: list[bytes]) -> None:
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.show = lambda *args, **kwargs: _collect(plots)  # type: ignore[attr-defined]


def _collect(plots: list[bytes]) -> None:
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    for number in pyplot.get_fignums()[: max(0, PLOTS - len(plots))]:
        picture = io.BytesIO()
        pyplot.figure(number).savefig(picture, format="png", bbox_inches="tight")
        if picture.tell() <= min(PLOT_BYTES, PLOTS_BYTES - sum(map(len, plots))):
            plots.append(picture.getvalue())
    pyplot.close("all")


MOST_ENTRIES = 4096  # files and folders; as many as the sandbox's own file system in memory has inodes
MOST_DEPTH = 64  # of folders in folders
_SETTLED_SECONDS = 60.0  # a folder is made, then locked: one that is younger may be between the two
_LOOK_SECONDS = 0.1  # in which it is seen whether a disk fills without the code
_UNSTEADY = 4  # others may have filled it so many times as fast before, as they do in that time
_CALM_BYTES = 1 << 20
_LAST_BYTES = 1 << 30  # where no more is free it does not matter who took the rest
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Usage:
    """Bytes on disk below a folder and how many files and folders that are. `whole` is false where there was
    more to count than may be there: too many entries, nested too deep, or a folder that cannot be read."""

    size: int
    entries: int
    whole: bool = True


def make(prefix: str) -> tuple[Path, int]:
    """Create a folder below the system's temporary one; return it with the descriptor whose lock says that it
    is in use."""
    # On macOS /var is a link, and a profile is about real paths.
    path = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    lock = os.open(path, _FOLDER)
    with contextlib.suppress(
        OSError
    ):  # a file system without locks: then none can be taken in `sweep` either
        fcntl.flock(lock, fcntl.LOCK_EX)
    return path, lock


def become_home(path: Path) -> None:
    """Make `path` the home of this process and leave it nothing else of the caller's: no environment, no
    arguments, no seed."""
    for name in list(os.environ):
        del os.environ[name]
    os.environ.update(
        HOME=str(path), TMPDIR=str(path), MPLCONFIGDIR=str(path), MPLBACKEND="Agg", LANG="C.UTF-8"
    )
    tempfile.tempdir = None
    sys.argv = [""]
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # or every sandbox would draw the numbers its parent was seeded for


def usage(path: Path) -> Usage:
    """Measure what is below `path` now, up to `MOST_ENTRIES` and `MOST_DEPTH`. What vanishes meanwhile is
    nothing."""
    size = entries = 0
    whole = True
    with contextlib.suppress(OSError):  # gone, or of another user
        for info in _below(os.open(path, _FOLDER), MOST_DEPTH):
            if info is None:
                whole = False
                continue
            size += info.st_blocks * 512
            entries += 1
            if entries > MOST_ENTRIES:
                return Usage(size, entries, whole=False)
    return Usage(size, entries, whole)


def _below(top: int, depth: int) -> Iterator[os.stat_result | None]:
    """Yield the status of each entry below the open folder `top`, which is closed; `None` for a folder that
    cannot be read."""
    try:
        with os.scandir(top) as entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                    yield info
                    if stat.S_ISDIR(info.st_mode) and depth:
                        yield from _below(os.open(entry.name, _FOLDER, dir_fd=top), depth - 1)
                    elif stat.S_ISDIR(info.st_mode):
                        yield None
                except (FileNotFoundError, NotADirectoryError):
                    continue  # gone, or another thing, since it was listed
                except OSError:
                    yield None
    finally:
        os.close(top)


class Space:
    """What foreign code takes of a disk that `usage` cannot find by a name: files it removed and holds."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._before, self._since = self._explained(), time.monotonic()
        self._stood = self._before, self._since

    def stand_still(self) -> None:
        """Note what is free while nothing of the code runs."""
        self._stood = self._explained(), time.monotonic()

    def go_on(self) -> None:
        """Leave out what has come and gone since the code stood still: others did that."""
        before, since = self._stood
        self.stand_still()
        free, now = self._stood
        self._before += free - before
        self._since += now - since

    def lost(self, most: int, standing_still: Callable[[], AbstractContextManager[None]]) -> bool:
        """Return whether more than `most` bytes have gone since the start that are in none of our folders and
        that others cannot have taken: while the code is `standing_still` it is seen how fast they fill the
        disk."""
        if self._before - self._free() <= most or self._before - self._explained() <= most:
            return False
        with standing_still():
            first = self._free()
            time.sleep(_LOOK_SECONDS)
            last = self._free()
        if first - last <= _CALM_BYTES or last < _LAST_BYTES:
            return True
        now = time.monotonic()
        theirs = (first - last) / _LOOK_SECONDS * _UNSTEADY * (now - self._since)
        gone = self._before - self._explained()
        # What they can have taken is forgiven, and no more: others who write do not hide the code.
        self._before, self._since = self._before - min(gone, round(theirs)), now
        return gone - theirs > most

    def _free(self) -> int:
        status = os.statvfs(self._path)
        return status.f_bfree * status.f_frsize

    def _explained(self) -> int:
        """Return how many bytes would be free without the files in this folder and in those beside it."""
        return self._free() + sum(usage(path).size for path in self._path.parent.glob(f"{self._prefix}*"))


def remove(path: Path) -> None:
    """Remove `path` and all below it, however deep and whatever its modes; says nothing if it cannot."""
    with contextlib.suppress(OSError):
        top = os.open(path, _FOLDER)
        try:
            _empty(top)
        finally:
            os.close(top)
        path.rmdir()


def _empty(top: int) -> None:
    # Folders in folders are moved up before they are looked into: no depth, no path.
    unused = (f".{secrets.token_hex(8)}-{n}" for n in itertools.count())
    left = os.listdir(top)
    while left:
        name = left.pop()
        if not _is_folder(name, top):
            os.unlink(name, dir_fd=top)
            continue
        os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, _FOLDER, dir_fd=top)
        try:
            for child in os.listdir(inner):  # noqa: PTH208 - of a descriptor
                if not _is_folder(child, inner):
                    os.unlink(child, dir_fd=inner)
                    continue
                os.chmod(child, 0o700, dir_fd=inner)  # its ".." changes, so it is written to
                moved = next(unused)
                os.rename(child, moved, src_dir_fd=inner, dst_dir_fd=top)
                left.append(moved)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def sweep(prefix: str, owners: range) -> None:
    """Remove the folders of `make(prefix)` that nobody holds any more: their process was killed. `owners`:
    ids besides this user's own whose folders are ours too."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            info = path.lstat()
            ours = info.st_uid == os.geteuid() or info.st_uid in owners
            settled = time.time() - info.st_ctime >= _SETTLED_SECONDS
            if stat.S_ISDIR(info.st_mode) and ours and settled and not is_held(path):
                remove(path)


def is_held(path: Path) -> bool:
    """Return whether the process that made the folder is still there. Raises `OSError` where that cannot be
    seen."""
    lock = os.open(path, _FOLDER)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
