"""What an answer says, and what it only shows: its code blocks and quotations, as Markdown marks them."""

from __future__ import annotations

import re

# CommonMark 0.31, fenced code blocks; in quotations and list items, too.
_FENCE = re.compile(r"[\s>]*(?:(?:[-*+]|\d+[.)])\s+)?(`{3,}(?!.*`)|~{3,})")
_QUOTED = re.compile(r"\s*>|.*[\"'“”‘’«»‹›(]\s*\Z")
_INDENTED = re.compile(r"(?: {4}|\t)\s*\Z")


class Quoting:
    """Follows the text of an answer, and says whether what comes next is shown by it."""

    def __init__(self) -> None:
        self._fence = ""  # what opened the code block that the text is in
        self._line = ""

    @property
    def at_start(self) -> bool:
        """Return whether a line begins."""
        return not self._line.strip()

    @property
    def open(self) -> bool:
        """Return whether the text ends in a code block, in code within a line, or in a quotation."""
        within_line = self._line.count("`") % 2 or _QUOTED.match(self._line) or _INDENTED.match(self._line)
        return bool(self._fence or within_line)

    def feed(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if not self._fence:
                fence = _FENCE.match(line)
                self._fence = fence[1] if fence else ""
            elif (closing := line.strip(" \t\r>")).startswith(self._fence) and set(closing) == {
                self._fence[0]
            }:
                self._fence = ""

    def end_line(self) -> None:
        """Begin a new line, after something that is no text."""
        self._line = ""
