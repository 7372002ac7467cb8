"""What a person sees while weights are fetched and loaded. All of it on stderr, gone when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from qwen_cli.ui.terminal import draws

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_MOMENT = 1.0  # seconds of reading after which it is told how long it takes


class Waiting:
    """A line that vanishes, one-line remarks above it, and a bar for each download.

    The line is written without rich: it stands on the way to the first token, and rich takes 60 ms to
    import. Where stderr is not a terminal only the remarks appear, which `write` writes.
    """

    def __init__(self, text: str, write: Callable[[str], None]) -> None:
        self._text, self._write = text, write
        self._terminal = draws()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Waiting:
        self._show()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bars:
            self._bars.stop()
        self._hide()

    def say(self, text: str) -> None:
        """Print one remark that stays."""
        self._hide()
        self._write(text)
        self._show()

    def now(self, text: str) -> None:
        """Show another text in the line."""
        self._hide()
        self._text = text
        self._show()

    def confirm(self, question: str) -> bool:
        """Return a yes from the person at the terminal."""
        import typer

        self._hide()
        answer = typer.confirm(question, default=False, err=True)
        self._show()
        return answer

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes of `label` are there (`models.progress.Progress`)."""
        if not self._terminal:
            return
        if self._bars is None:
            self._hide()
            self._bars = _bars()
            self._bars.start()
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)

    def _show(self) -> None:
        if self._terminal and self._bars is None:
            sys.stderr.write(f"\r\x1b[2m{self._text}\x1b[0m")
            sys.stderr.flush()

    def _hide(self) -> None:
        if self._terminal and self._bars is None:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _bars() -> Progress:
    # rich is needed only once something is fetched
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class Reading:
    """A line that tells how much of a long prompt an engine has read, and what time is left; nothing of it
    stays. It is drawn where stderr is a terminal, or by `draw`, for prompts that take longer than a
    moment."""

    def __init__(
        self,
        engine: Any,
        draw: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._draw, self._clock = engine, draw, clock
        self._began: float | None = None
        self._shown = False

    def __enter__(self) -> Reading:
        if self._draw or draws():
            with suppress(AttributeError):  # an engine of another package may take no attributes
                self._engine.reading = self.show
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(AttributeError):
            self._engine.reading = None
        self._hide()

    def show(self, cached: int, done: int, total: int) -> None:
        """Draw that `done` tokens of `total` are read, of which `cached` cost nothing."""
        now = self._clock()
        self._began = now if self._began is None or done <= cached else self._began
        spent, computed = now - self._began, done - cached
        if done >= total:
            if self._draw and self._shown:
                self._draw("…")
            self._hide()
        elif spent >= _MOMENT and computed > 0:
            left = _in_words(spent * (total - done) / computed)
            self._tell(f"read {done:,} of {total:,} tokens, {left} left")

    def _tell(self, words: str) -> None:
        self._shown = True
        if self._draw:
            self._draw(words)
            return
        sys.stderr.write(f"\r\x1b[K\x1b[2m{words}\x1b[0m")
        sys.stderr.flush()

    def _hide(self) -> None:
        if self._shown and not self._draw:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown, self._began = False, None


def _in_words(seconds: float) -> str:
    """Return a duration as a person says it: "40 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
        self._progress = Progress(*columns, console=console, transient=True, disable=not draws())
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
