"""A disk on which the tests beside this one write nothing. What code without namespaces takes of a disk in
files that have no name is told by what is free there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from qwen_cli.sandbox import forkserver_client

_IN_MEMORY = Path("/dev/shm")
_environment = forkserver_client.environment


def folder() -> str | None:
    """Where it is mounted; `None` where there is none with enough room."""
    there = _IN_MEMORY.is_mount() and os.access(_IN_MEMORY, os.W_OK)
    return str(_IN_MEMORY) if there and shutil.disk_usage(_IN_MEMORY).free > 2 << 30 else None


def environment() -> dict[str, str]:
    """The warmed process's own environment, with which its folders lie there."""
    place = folder()
    return {**_environment(), **({"TMPDIR": place} if place else {})}
