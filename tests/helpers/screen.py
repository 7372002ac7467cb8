"""What a terminal shows after some output, from a terminal emulator."""

from __future__ import annotations

from collections.abc import Callable

import pyte


class Screen:
    """A terminal of `columns` × `lines`, with its scroll-back."""

    def __init__(
        self, columns: int = 80, lines: int = 24, *, answer: Callable[[str], object] | None = None
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=100_000, ratio=0.5)
        if answer is not None:  # a program may ask where the cursor is
            self._screen.write_process_input = answer
        self._stream = pyte.Stream(self._screen)

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal another size; what it showed stays, cut where it is too wide."""
        self._screen.resize(lines, columns)

    def write(self, text: str, *, newlines: bool = True) -> None:
        # a tty turns \n into \r\n; \u200d: pyte drops what follows a zero-width character
        text = text.replace("\u200d", "").replace("\ufe0f", "")
        self._stream.feed(text.replace("\n", "\r\n") if newlines else text)

    @property
    def text(self) -> list[str]:
        """Every row from the first of the scroll-back to the last that holds something."""
        above = [self._row(line) for line in self._screen.history.top]
        rows = above + [self._row(self._screen.buffer[y]) for y in range(self._screen.lines)]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @property
    def visible(self) -> list[str]:
        return [self._row(self._screen.buffer[y]) for y in range(self._screen.lines)]

    @property
    def cursor(self) -> tuple[int, int]:
        return self._screen.cursor.x, self._screen.cursor.y

    def _row(self, line: dict[int, pyte.screens.Char]) -> str:
        return "".join(line[x].data for x in range(self._screen.columns)).rstrip()
