"""Which program the shell starts for `qwen`: other packages install a command of that name too."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["this", "elsewhere", "qwen-code", "other"]

_ENTRY = b"from qwen_cli.commands.main import main"  # of the script that pip writes
_HEAD = 1 << 16  # bytes that are read of a program: it is never run


@dataclass(frozen=True)
class Program:
    """A program on PATH. "this" is the one that runs; "elsewhere" is this program, installed in another
    environment; "qwen-code" is Qwen's coding agent, "other" anything else."""

    path: Path
    kind: Kind


def which(name: str = "qwen", path: str | None = None) -> list[Program]:
    """Return what is called `name` on PATH, in the order in which a shell looks; the first is what it
    starts."""
    programs: list[Program] = []
    for folder in (os.environ.get("PATH", os.defpath) if path is None else path).split(os.pathsep):
        program = shutil.which(name, path=folder) if folder else None
        if program and Path(program) not in [one.path for one in programs]:
            programs.append(Program(Path(program), _kind(Path(program))))
    return programs


def _kind(program: Path) -> Kind:
    """Return what `program` is, by where it leads and what it begins with."""
    try:
        target = program.resolve()
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return "other"
    folder = Path(sys.executable).parent
    here = target.parent.samefile(folder)
    if head[:2] == b"MZ" and here:  # Windows: a launcher, whose script is packed
        return "this"
    if _ENTRY in head:
        homes = {os.fsencode(folder), os.fsencode(folder.resolve())}
        shebang = b"\n".join(head.split(b"\n")[:3])
        return "this" if any(home + b"/python" in shebang for home in homes) else "elsewhere"
    return "qwen-code" if "qwen-code" in str(target) or b"qwen-code" in head else "other"
