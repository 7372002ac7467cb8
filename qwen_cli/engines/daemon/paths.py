"""Where a server of this user is found by the commands of this user, and by nobody else."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from qwen_cli.errors import EngineError

HAS_SOCKETS = hasattr(os, "getuid")
"""Whether there are sockets in the file system that belong to a user (not on Windows)."""


def folder() -> Path:
    """Return `qwen` in `$XDG_RUNTIME_DIR`, else one of this user's in the folder for temporary files.

    Who has a home of its own for models (`$QWEN_HOME`) has a server of its own for them. The name is short:
    the path of a socket holds about a hundred characters.
    """
    home = os.environ.get("QWEN_HOME")
    mark = f"-{hashlib.sha256(str(Path(home).resolve()).encode()).hexdigest()[:8]}" if home else ""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return Path(base) / f"qwen{mark}"
    return Path(tempfile.gettempdir()) / f"qwen-{os.getuid() if HAS_SOCKETS else 0}{mark}"


def socket_path() -> Path:
    """Return where the server listens for commands."""
    return folder() / "serve.sock"


def key_path() -> Path:
    """Return where the server keeps the key that it made up for its address."""
    return folder() / "serve.key"


def link_path() -> Path:
    """Return the page that leads a browser to that of the server, with its key."""
    return folder() / "open.html"


def log_path() -> Path:
    """Return where a server in the background writes what it has to say."""
    return folder() / "serve.log"


def lock_path() -> Path:
    """Return the file that is locked while a server runs."""
    return folder() / "serve.lock"


def pid_path() -> Path:
    """Return where the process that holds the lock says its number."""
    return folder() / "serve.pid"


def is_private(path: Path) -> bool:
    """Return whether `path` is a folder that only this user enters: in a shared one anybody could have made
    it."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not HAS_SOCKETS:
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def private_folder() -> Path:
    """Return the folder, made if it is not there. Raises `EngineError` where it is open to others."""
    where = folder()
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise EngineError(f"cannot make {where}: {fault.strerror}", "set XDG_RUNTIME_DIR") from fault
    if not is_private(where):
        raise EngineError(f"{where} is not a folder of yours alone", "remove it, or set XDG_RUNTIME_DIR")
    return where
