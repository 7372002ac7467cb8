"""A bar for work of known length, on stderr where that is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType


class Bar:
    """So many of `total` are done, and a few words about them. Nothing of it stays."""

    def __init__(self, total: int) -> None:
        self._total = total

    def __enter__(self) -> Bar:
        # rich takes 60 ms to import, which matters nowhere as little as here
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("", total=self._total)
        self._progress.start()
        return self

    def show(self, done: int, words: str) -> None:
        """Draw it anew."""
        self._progress.update(self._task, completed=done, description=words)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
