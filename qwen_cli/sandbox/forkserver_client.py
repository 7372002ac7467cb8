"""Starting the warmed process, one for each process that uses sandboxes, and asking it for copies."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from qwen_cli import paths
from qwen_cli.errors import SandboxError

# Isolated from environment, working folder and site customisation; the search path is an argument.
_COMMAND = """
import json, sys
sys.path.insert(0, sys.argv[1])
from qwen_cli.sandbox import forkserver as warmed
warmed.main(int(sys.argv[2]), json.loads(sys.argv[3]))
"""
# A fork copies one thread only, so the libraries' thread pools must not start.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_lock = threading.Lock()
_current: Forkserver | None = None


class Forkserver:
    """A running warmed process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as it
        root = str(Path(__file__).resolve().parents[2])
        command = [sys.executable, "-I", "-S", "-c", _COMMAND, root, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [*command, json.dumps(search_path())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=environment(),
                cwd="/",
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether it still runs and is this process's own, not the parent's before a fork."""
        return self.owner == os.getpid() and self._process.poll() is None

    def open(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """Make it fork a contained process that holds `descriptors` (control, channel, output)."""
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
        except OSError as fault:
            raise SandboxError("the sandbox's parent process has ended", self.last_words()) from fault

    def last_words(self) -> str | None:
        """Return the last line it wrote to its standard error."""
        return last_line(self._errors)

    def close(self) -> None:
        """End it. Sandboxes that it has forked live on until they are closed."""
        self._control.close()
        if self.owner == os.getpid():
            self._process.kill()  # it may be importing, and has nothing to lose
            self._process.wait()
        self._errors.close()


def warm() -> None:
    """Start the warmed process in the background; returns at once. Later calls do nothing.

    Raises `SandboxError` where code cannot be contained at all.
    """
    if sys.platform != "darwin":  # there each solution has a process of its own
        current()


def current() -> Forkserver:
    """Return this process's forkserver client, started where there is none."""
    global _current
    if sys.platform != "linux":
        raise SandboxError(
            f"model-written code can be contained on Linux and macOS, not on {sys.platform}",
            "run qwen in WSL 2 (`wsl --install`)" if sys.platform == "win32" else "use a Linux container",
        )
    with _lock:
        if _current is None or not _current.alive():
            if _current is None:
                atexit.register(_end)
            else:
                _current.close()
            _current = Forkserver()
        return _current


def last_line(errors: IO[bytes]) -> str | None:
    """Return the last line of a file that a process writes its errors to."""
    errors.seek(0)
    lines = errors.read()[-4096:].decode(errors="replace").split("\n")
    return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), None)


def search_path() -> list[str]:
    """Return the paths of the standard library and installed packages. Not the working folder, nor anything
    else on the path."""
    library = Path(os.__file__).parent
    ours = {str(library), str(library / "lib-dynload")}
    return [
        p
        for p in sys.path
        if p in ours or (Path(p).name in {"site-packages", "dist-packages"} and Path(p).is_dir())
    ]


def environment() -> dict[str, str]:
    """Return the whole environment of a process for foreign code."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    fonts = paths.cache_folder() / "matplotlib"
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(fonts)}


def _end() -> None:
    if _current is not None:
        _current.close()
