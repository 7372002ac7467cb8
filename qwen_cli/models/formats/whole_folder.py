"""A model's folder that appears only when all of it is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qwen_cli.errors import ModelError, UsageError


def check_free(out: Path) -> None:
    """Raise `UsageError` where `out` holds something already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already", "remove it or name another folder with `out`")


@contextmanager
def written(out: Path, weights_bytes: int, work: str) -> Iterator[Path]:
    """Give a folder to write in, beside `out`, which it becomes when the block ends without an exception.

    Raises `ModelError` where there is no room for the weights that `work` ("conversion") makes, `OSError`
    where `out` cannot be made of it.
    """
    partial = _partial_folder(out, weights_bytes, work)
    try:
        yield partial
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial_folder(out: Path, weights_bytes: int, work: str) -> Path:
    """Return a new folder beside `out` with room for the weights; what killed processes left there is
    removed."""
    import psutil

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{out.name}.*.partial"):
            owner = left.name.split(".")[-2]
            if not (owner.isdigit() and psutil.pid_exists(int(owner))):
                shutil.rmtree(left, ignore_errors=True)
        free = shutil.disk_usage(out.parent).free
        needed = weights_bytes + (64 << 20)  # the tokenizer's files are some 20 MB
        if free < needed:
            raise ModelError(
                f"the {work} needs {needed / 1e9:.1f} GB in {out.parent}, {free / 1e9:.1f} GB are free",
                "make room or choose another folder",
            )
        partial = out.parent / f".{out.name}.{os.getpid()}.partial"
        partial.mkdir()
    except OSError as error:
        raise ModelError(f"cannot write in {out.parent}: {error.strerror or error}") from error
    return partial
