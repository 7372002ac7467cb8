"""Timing of whole processes, for the benchmarks beside this file."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

QWEN = [sys.executable, "-m", "qwen_cli"]
BARE = [sys.executable, str(Path(__file__).with_name("bare_xllamacpp.py"))]


@dataclass(frozen=True)
class Run:
    """Seconds from the start of the process to its first and last byte of output, and its peak memory.
    `own` are the seconds that it has computed until the first (Linux; 0 elsewhere)."""

    first: float
    last: float
    peak_bytes: int
    own: float = 0.0


def run(command: Sequence[str]) -> Run:
    """Start `command`, read its standard output to the end."""
    read, write = os.pipe()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=write, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    os.close(write)
    first = last = own = 0.0
    while os.read(read, 65536):
        last = time.perf_counter() - start
        if not first:
            first, own = last, _computed(process.pid)
    os.close(read)
    errors = process.stderr.read().decode() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not first:
        raise SystemExit(f"{' '.join(command)} failed ({process.returncode}):\n{errors}")
    return Run(first, last, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), own)


def _computed(process: int) -> float:
    """Return the seconds that all threads of a process have computed."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alternate(ours: Sequence[str], peer: Sequence[str], rounds: int) -> tuple[list[Run], list[Run]]:
    """Run both `rounds` times in turn, so that drift of the machine meets both alike; one warm-up each."""
    run(peer)
    run(ours)
    pairs = [(run(ours), run(peer)) for _ in range(rounds)]
    return [o for o, _ in pairs], [p for _, p in pairs]


def median(values: Sequence[float]) -> float:
    """The middle one: a single slow run does not count."""
    return statistics.median(values)


def report(what: str, ours: float, peer: float, unit: str, bar: str) -> None:
    """One line of a table: both figures, the ratio, what it must hold."""
    print(f"{what}: ours {ours:.3f} {unit}, peer {peer:.3f} {unit}, ratio {ours / peer:.2f} (bar {bar})")
