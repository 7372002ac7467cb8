"""Run the benchmarks behind the README's table, and make the table: with the machine and the date.

    python benchmarks/run_all.py            print it
    python benchmarks/run_all.py --write    put it into README.md

Each script prints lines of `processes.report`. Nothing else should run meanwhile: the load of the machine is
told with the table.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
SCRIPTS = ("startup.py", "chat.py")
BEGIN, END = "<!-- benchmarks: made by benchmarks/run_all.py -->", "<!-- end of benchmarks -->"
HEAD = "| what | ours | peer | ratio | script |\n|---|---|---|---|---|"
_LINE = re.compile(r"^(.+): ours ([\d.]+) (\S+), peer ([\d.]+) \S+, ratio ([\d.]+) \(bar (.+)\)$")


@dataclass(frozen=True)
class Figure:
    """One line of `processes.report`, by the script that printed it."""

    what: str
    ours: str
    peer: str
    unit: str
    ratio: str
    script: str

    @property
    def row(self) -> str:
        return (
            f"| {self.what} | {self.ours} {self.unit} | {self.peer} {self.unit} | {self.ratio} "
            f"| `benchmarks/{self.script}` |"
        )


def main() -> None:
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    figures = [one for script in SCRIPTS for one in figures_of(run(script), script)]
    text = made(figures, machine(), datetime.date.today(), busy)
    print(text)
    if sys.argv[1:] == ["--write"]:
        README.write_text(placed(README.read_text("utf-8"), text), "utf-8")


def run(script: str) -> str:
    """Return what a script prints. Its errors are shown."""
    print(f"… {script}", file=sys.stderr)
    done = subprocess.run([sys.executable, str(HERE / script)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{script} ended with exit code {done.returncode}")
    return done.stdout


def figures_of(said: str, script: str) -> list[Figure]:
    """Return the figures among the lines that a script printed."""
    found = (_LINE.match(line) for line in said.splitlines())
    return [Figure(one[1], one[2], one[4], one[3], one[5], script) for one in found if one]


def machine() -> str:
    """Return the processor, its cores that may be used, and the system."""
    name = platform.processor() or platform.machine()
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8", "replace")
        name = next(line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line)
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = "one core" if cores == 1 else f"{cores} cores"
    return f"{name}, {count}, {platform.system()}, Python {platform.python_version()}"


def made(figures: list[Figure], machine: str, day: datetime.date, busy: float) -> str:
    """Return the table with what stands above it."""
    load = f" Other programs kept {busy:.1f} cores busy." if busy >= 0.5 else ""
    return "\n".join((
        BEGIN,
        f"Measured on {day.isoformat()}: {machine}.{load}",
        "",
        HEAD,
        *(figure.row for figure in figures),
        END,
    ))  # fmt: skip


def placed(readme: str, text: str) -> str:
    """Return `readme` with `text` in place of the table that was made before."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md has no place for the table: {BEGIN} … {END}")
    return before + text + after


if __name__ == "__main__":
    main()
