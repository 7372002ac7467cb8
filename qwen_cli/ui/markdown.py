"""An answer on the terminal as it comes: Markdown, rendered once, never printed twice.

What can no longer change is written for good: blocks once another follows, items of a list, lines of code.
Only the block that is still open is drawn again, and of it only the rows that differ. So the work is in
proportion to the answer, and the scroll-back holds each line once.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text

from qwen_cli.sanitize import EscapeFilter
from qwen_cli.ui import blocks, highlight
from qwen_cli.ui.live import Region, Row, plain, rendered

if TYPE_CHECKING:
    from rich.console import Console

_DIM = Style(dim=True)
_THINKING_ROWS = 5  # of the thoughts, while they are folded
_SHARE = 4  # drawing waits this many times what it took: at most a fifth of the time goes into it
# A line that may become a list, a heading, a fence or a rule is shown once it is clear what it is.
_UNCLEAR = re.compile(r"[ \t]*([-=*_#>+`~|:]+[-=*_#>+`~|: ]*|\d{1,9}[.)]?)[ \t]*\Z")
# A line that starts so goes on with the paragraph or table before it, so no block can have ended.
_GOES_ON = re.compile(r"[^\W\d_]|\|")


class MarkdownStream:
    """One answer. `feed` its text and `thinking` its thoughts as they come, then `finish`.

    Where the console is no terminal (or a dumb one) the text passes unrendered, and thoughts are left out.
    `formulas`: LaTeX is shown as Unicode where that means the same. `fold`: thoughts are shown while they
    come and become one line after. `interval`: least seconds between two drawings of the open block.
    """

    def __init__(
        self, console: Console, *, formulas: bool = False, fold: bool = True, interval: float = 0.04
    ) -> None:
        self._console = console
        self._renders = console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows
        self._region = Region(console)
        self._filter, self._thought_filter = EscapeFilter(), EscapeFilter()
        self._formulas, self._fold, self._interval = formulas, fold, interval
        self._next_drawing = 0.0

        self._fresh = True  # nothing stands on the row, where nothing is rendered
        self._open = ""  # source that is not written for good
        self._started = False  # something is written: the next block is set off by a blank row
        self._number: int | None = None  # the open source goes on with a list; its next number, -1: bullets
        self._code: highlight.Highlighter | None = None  # the open source is inside a code block
        self._fence = ("", 0)  # what opened it, and how far it is indented

        self._thought = ""  # not written for good
        self._thought_pieces = 0
        self._thought_since: float | None = None

    def status(self, text: str) -> None:
        """Show a dim line that vanishes with whatever comes next."""
        if self._renders and not self._open and self._thought_since is None:
            self._region.update([], [plain(text[: self._region.width], _DIM)])

    def feed(self, text: str) -> None:
        """Append some text of the answer."""
        self._append(self._filter.feed(text))

    def thinking(self, text: str) -> None:
        """Append some text of the model's thoughts; one call is taken for one token."""
        if not self._renders:
            return
        if self._thought_since is None:
            self._thought_since = time.monotonic()
        self._thought_pieces += 1
        self._thought += self._thought_filter.feed(text)
        finished: list[Row] = []
        if not self._fold and "\n" in self._thought:
            whole, _, self._thought = self._thought.rpartition("\n")
            finished = self._thought_rows(whole)
            self._started = True
        if finished or self._due():
            self._draw(finished, self._live_thought())

    def finish(self) -> None:
        """Write what is left. The cursor then stands at the start of a fresh row."""
        self._append(self._filter.finish())
        if not self._renders:
            self._append("" if self._fresh else "\n")
            return
        finished = self._end_thinking() + self._settle(final=True)
        self._region.update(finished, [])
        self._started = False

    def _append(self, text: str) -> None:
        if not text:
            return
        if not self._renders:
            self._console.file.write(text)
            self._console.file.flush()
            self._fresh = text.endswith("\n")
            return
        finished = self._end_thinking()
        before, self._open = self._open, self._open + text
        if "\n" in text and not self._only_adds(before, text):
            finished += self._settle()
        if finished or self._due():
            self._draw(finished, self._live())

    def _only_adds(self, before: str, text: str) -> bool:
        """Return whether the lines that `text` completes can only add to the block that is open.

        Parsing again at every line of a long paragraph or table would be quadratic in its length.
        """
        whole_before, _, begun = before.rpartition("\n")
        if self._code is not None or not whole_before.rpartition("\n")[2].strip():
            return False
        return all(_GOES_ON.match(line) for line in (begun + text).split("\n")[:-1])

    def _due(self) -> bool:
        return time.monotonic() >= self._next_drawing

    def _draw(self, finished: list[Row], live: list[Row]) -> None:
        began = time.monotonic()
        self._region.update(finished, live[-self._region.height :])
        now = time.monotonic()
        self._next_drawing = now + max(self._interval, _SHARE * (now - began)) if self._interval else 0.0

    def _settle(self, final: bool = False) -> list[Row]:
        """Write off everything in the open source that can no longer change; its rows."""
        if final and self._open:
            self._open += "\n"
        settled: list[Row] = []
        while True:
            in_code = self._code is not None
            settled += self._settle_code() if in_code else self._settle_blocks(final)
            if (self._code is not None) == in_code:
                return settled

    def _settle_code(self) -> list[Row]:
        """Return the whole lines of the open code block, up to its end."""
        assert self._code is not None
        settled: list[Row] = []
        markup, indent = self._fence
        while "\n" in self._open:
            line, _, self._open = self._open.partition("\n")
            if blocks.ends_fence(line, markup):
                self._code = None
                return [*settled, highlight.fence(markup)]
            settled.append(self._code.line(_unindented(line, indent)))
        return settled

    def _settle_blocks(self, final: bool) -> list[Row]:
        """Return every block but the last, which may go on; of a last list every item but the last."""
        lines = self._open.split("\n")[:-1]
        parsed = blocks.parse("\n".join(lines), formulas=self._formulas, goes_on=not final)
        settled: list[Row] = []
        end = 0
        for block in parsed:
            if block.kind == "fence" and block is parsed[-1]:
                settled += self._begin_code(block, lines[block.start])
                end = block.start + 1
            elif final or block is not parsed[-1]:
                settled += self._placed(block.items())
                self._number = None
                end = block.end
            elif len(items := block.items()) > 1:
                settled += self._placed(items[:-1])
                end = items[-1].start
        if final and self._code is None:
            end = len(lines)
        self._open = self._open[sum(len(line) + 1 for line in lines[:end]) :]
        return settled

    def _begin_code(self, block: blocks.Block, opening: str) -> list[Row]:
        token = block.tokens[0]
        gap: list[Row] = [()] if self._started else []
        self._started, self._number = True, None
        self._code = highlight.Highlighter(blocks.language(token.info))
        self._fence = token.markup, len(opening) - len(opening.lstrip(" "))
        return [*gap, highlight.fence(token.markup + token.info)]

    def _placed(self, items: list[blocks.Block]) -> list[Row]:
        """Return the rows of blocks and list items: a blank row before each, but not inside a list."""
        placed: list[Row] = []
        for item in items:
            if self._number is not None:
                item = item.numbered_from(self._number)
            elif self._started:
                placed.append(())
            self._started = True
            self._number = item.first_number() + 1 if item.kind in blocks.LISTS else None
            placed += blocks.rows(self._console, item, self._region.width)
        return placed

    def _live(self) -> list[Row]:
        """Return the rows of the source that is still open."""
        width = self._region.width
        if self._code is not None:
            line = self._open.expandtabs(4)
            visible = "" if _UNCLEAR.match(line) else _unindented(line, self._fence[1])
            return [plain(visible[at : at + width]) for at in range(0, len(visible), width)]
        before = self._started, self._number
        live: list[Row] = []
        for block in blocks.parse(_presentable(self._open), formulas=self._formulas, goes_on=True):
            placed = self._placed(block.items())
            # the fence that has been opened, without the one that will close it
            live += placed[:-1] if block.kind == "fence" else placed
            self._number = None
        self._started, self._number = before
        return live

    def _end_thinking(self) -> list[Row]:
        """Close the thoughts, if there are any open; what stays of them."""
        if self._thought_since is None:
            return []
        seconds = time.monotonic() - self._thought_since
        self._thought += self._thought_filter.finish()
        rows = [] if self._fold else self._thought_rows(self._thought.rstrip())
        rows.append(plain(f"thought for {seconds:.1f} s, ~{self._thought_pieces:,} tokens", _DIM))
        self._thought, self._thought_pieces, self._thought_since = "", 0, None
        self._started = True
        return rows

    def _live_thought(self) -> list[Row]:
        if not self._fold:
            return self._thought_rows(self._thought)
        self._thought = "\n".join(self._thought.split("\n")[-_THINKING_ROWS:])
        rows = self._thought_rows(self._thought.strip("\n"))[-_THINKING_ROWS:]
        return [plain("thinking …", _DIM), *rows]

    def _thought_rows(self, text: str) -> list[Row]:
        rows: list[Row] = []
        for line in text.split("\n"):
            rows += rendered(self._console, Text(line, _DIM, overflow="fold"), self._region.width) or [()]
        return rows


def _unindented(line: str, columns: int) -> str:
    """Return `line` without as many of its leading spaces as its fence has."""
    return line[min(columns, len(line) - len(line.lstrip(" "))) :]


def _presentable(source: str) -> str:
    """Open source as it is going to look, as far as one can tell: markers are shown once they are clear,
    bold and code are closed."""
    head, newline, line = source.rpartition("\n")
    if _UNCLEAR.match(line):
        return head + newline
    paragraph = source.rpartition("\n\n")[2]
    if "```" in paragraph or "~~~" in paragraph:
        return source
    if paragraph.count("`") % 2:
        return source[:-1] if source.endswith("`") else source + "`"
    bare = source.rstrip("*")
    return bare.rstrip(" ") + "**" if paragraph.rstrip("*").count("**") % 2 else bare
