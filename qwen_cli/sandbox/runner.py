"""Runs blocks of code one after another in one namespace, in the contained process."""

from __future__ import annotations

import ast
import gc
import io
import json
import linecache
import os
import resource
import signal
import sys
import tempfile
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

from qwen_cli.sandbox import channel
from qwen_cli.sandbox.truncate import cut

_TEXT = 100_000  # characters of one value or traceback that leave the process
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
        shown = None if value is None else cut(repr(value), _TEXT)
        _collect(plots)
        return {"status": "ok", "value": shown}
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
    told = traceback.TracebackException(type(fault), fault, frames, compact=True)
    last = list(told.format_exception_only())[-1].strip()
    return {"status": "error", "error": cut(last, 2_000), "traceback": cut("".join(told.format()), _TEXT)}


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


def sizes(path: Path) -> list[int]:
    """Bytes on disk of each file below `path`."""
    return [(Path(top) / name).lstat().st_blocks * 512 for top, _, names in os.walk(path) for name in names]
