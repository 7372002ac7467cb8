"""macOS: a process inside a profile of sandbox-exec (Apple's "Seatbelt").

The profile language is undocumented but stable; its base, `system.sb`, is the one that Apple's own services
import. Because nobody can promise what a release of macOS makes of it, code runs only after a trial in which
a program inside the profile has tried to read, to write, to connect and to start another, and could not.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qwen_cli.sandbox import confine, forkserver_client

_PROGRAM = "sandbox-exec"
_TRIAL_SECONDS = 30
_PROFILE = """(version 1)
(deny default)
(import "system.sb")
(deny network*)
(allow process-exec {programs})
(allow file-read-metadata {above})
(allow file-read* {readable})
(allow file-read* file-write* (subpath {scratch}))
"""
# Each line tries one thing that must not succeed, and names it where it does.
_TRIAL = """
import os, socket, sys
secret, port = sys.argv[1], int(sys.argv[2])
def attempt(what, action):
    try:
        action()
    except OSError:
        return
    print(what)
attempt("reads files", lambda: open(secret).read())
attempt("writes files", lambda: open(secret, "a").write("x"))
attempt("connects", lambda: socket.create_connection(("127.0.0.1", port), 2))
attempt("starts processes", lambda: os.fork() or os._exit(0))
attempt("sees processes", lambda: os.kill(os.getppid(), 0))
print("done")
"""


def wrap(command: Sequence[str], scratch: Path) -> list[str]:
    """Return `command` inside the profile, with `scratch` its only writable folder."""
    return [_PROGRAM, "-p", profile(scratch), *command]


def profile(scratch: Path) -> str:
    """Build the profile: the interpreter and its libraries to read, `scratch` to write, nothing else."""
    programs = {Path(sys.executable), Path(sys.executable).resolve()}
    readable = {
        *confine.readable_paths(forkserver_client.search_path()),
        Path(sys.base_prefix).resolve(),
        _root(),
    }
    named = {*programs, Path(sys.prefix) / "pyvenv.cfg"}
    above = {parent for path in (*readable, *named, scratch) for parent in path.parents}
    base = _filters("subpath", {Path(sys.base_prefix).resolve()})
    return _PROFILE.format(
        programs=f"{_filters('literal', programs)} {base}",
        above=_filters("literal", above),
        readable=f"{_filters('subpath', readable)} {_filters('literal', named)}",
        scratch=_quoted(scratch),
    )


@functools.cache
def why_not() -> str | None:
    """Return `None` where the profile holds what it must hold here, else what went wrong. Tried for real,
    once."""
    with (
        tempfile.TemporaryDirectory(prefix="qwen-trial-") as held,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        folder = Path(held).resolve()  # on macOS /var is a link, and a profile is about real paths
        secret, scratch = folder / "secret", folder / "scratch"
        secret.write_text("canary")
        scratch.mkdir()
        trial = [sys.executable, "-I", "-S", "-c", _TRIAL, str(secret), str(listening.getsockname()[1])]
        try:
            done = subprocess.run(
                wrap(trial, scratch), capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False
            )
        except FileNotFoundError:
            return f"there is no {_PROGRAM}"
        except (OSError, subprocess.TimeoutExpired) as fault:
            return str(fault)
    *breaches, last = done.stdout.splitlines() or [""]
    if breaches:
        return f"a program inside it {', '.join(breaches)}"
    return None if last == "done" else f"no program runs inside it: {' '.join(done.stderr.split())[:200]}"


def _root() -> Path:
    return Path(__file__).resolve().parents[1]


def _filters(kind: str, paths: set[Path]) -> str:
    return " ".join(f"({kind} {_quoted(path)})" for path in sorted(paths))


def _quoted(path: Path) -> str:
    return json.dumps(os.fspath(path), ensure_ascii=False)  # as Scheme writes a string, too
