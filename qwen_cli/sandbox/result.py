"""What a run may use and what comes back from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "error", "timeout", "memory", "killed", "refused"]
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one `Sandbox` may use. Wall time and output hold for each run, the rest for its whole life."""

    wall_seconds: float = 10.0
    """Enforced from outside, each run."""
    cpu_seconds: int = 120
    """Of each process, over all runs."""
    memory_bytes: int = 512 * MIB
    """On top of one copy of the warmed interpreter: for each process by the kernel, for all together by a
    control group where one can be had, else by looking every 5 to 50 ms."""
    processes: int = 32
    """Processes and threads at once. Without a pid namespace, or where its processes could not be counted,
    there are threads only."""
    output_characters: int = 8_000
    """Kept of a run's output; the middle goes first."""
    output_bytes: int = 16 * MIB
    """Written by one run before it is ended."""
    file_bytes: int = 64 * MIB
    """In the scratch folder, one file or all together; 4,096 files and folders at most."""
    open_files: int = 64


@dataclass(frozen=True)
class Outcome:
    """What one run did. All but `status`, `seconds` and `fresh` is the code's own word: untrusted text.

    `error` is the last line of the traceback (or what ended the run), `where` the line of the program that it
    arose in ("line 3: x = y"), `traceback` all of it, `value` the `repr` of a last bare expression that is
    not `None`, `plots` PNG pictures of the figures left open or shown. `exit_code` is set where the program
    ended itself. `fresh` says that this run began with no state: the first one, and the one after a run that
    was ended.
    """

    status: Status
    output: str = ""
    value: str | None = None
    error: str | None = None
    where: str | None = None
    traceback: str | None = None
    plots: tuple[bytes, ...] = ()
    exit_code: int | None = None
    seconds: float = 0.0
    fresh: bool = False
