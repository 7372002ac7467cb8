"""The one folder that code may write to."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


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
