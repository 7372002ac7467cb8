"""How far a completion goes: where it must begin, when to stop it, and what of it is kept.

A model that fills in tends to go on: it writes the text after the cursor once more, then tests, then prose.
So three things are looked for, in this order: the model's own end, the text after the cursor coming up again,
and the end of the block that the cursor stands in. What is kept must leave a file that parses no worse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwen_cli.tasks.fim import join
from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.fim.syntax import (
    Nesting,
    Style,
    branching,
    code_lines,
    faults,
    indent,
    nesting,
    out_of_braces,
    style_of,
    surplus,
    unit,
    width,
)

Mode: TypeAlias = Literal["line", "block", "auto"]
Why: TypeAlias = Literal["model", "line", "block", "suffix", "length", "context", "time"]

# How many lines of the suffix are looked for: a model that leaves one out meets the text at the next.
_RESYNC_LINES = 4
# A line with fewer letters and digits (`}`, `else:`) may well come twice: it counts with its neighbour.
_TELLING = 6
_MAX_CANDIDATES = 12
# How a function is left for the top level of a Python file: tests and examples of it follow.
_TOP_LEVEL = ("\n# ", "\nprint(", "\ndef ", "\nclass ", "\nif __name__", "\nassert ")
# Ends of statements after which nothing of the same block is reached.
_LEAVES = re.compile(r"(?:return|raise|break|continue|throw|goto)\b")
_CONTINUES = re.compile(
    r"(?:else|elif|except|finally|catch|case|default|when|rescue|ensure|end|fi|done|esac)\b|[)\]}]"
)

# A branch stands under the statement that it belongs to (The Python Language Reference, chapter 8).
_BRANCHES = re.compile(r"(?:else|elif|except|finally)\b")


@dataclass(frozen=True)
class Cut:
    """The completion ends at `at` characters, because of `why`. `whole`: it was all the model had to say."""

    at: int
    why: Why
    whole: bool = False


class Span:
    """The rules for one hole."""

    def __init__(self, hole: Hole, mode: Mode = "auto") -> None:
        self.hole = hole
        self.mode = mode
        self.style: Style = style_of(hole.path)
        self.line = hole.prefix[hole.prefix.rfind("\n") + 1 :]
        self.rest, _, _ = hole.suffix.partition("\n")
        self.before: Nesting = nesting(hole.prefix, self.style)
        self.after: Nesting = nesting(hole.suffix, self.style)
        self.unit = unit(hole.prefix + hole.suffix, self.style.step)
        self.code = code_lines(hole.prefix[self.before.statement :])
        # White space before the cursor is the indentation of the line that follows it.
        following = hole.suffix if self.line.strip() else self.line + hole.suffix
        self.following = [line.rstrip() for line in following.split("\n") if line.strip()][:8]

    @property
    def whole_lines(self) -> bool:
        """Return whether the hole is a place for whole lines: at the start of one, nothing typed yet."""
        return not self.line

    @property
    def suffix_width(self) -> int | None:
        """Return the indentation of the first line after the hole in columns; `None` where the file ends."""
        return width(self.following[0]) if self.following else None

    def indentation(self) -> str | None:
        """Return what the first line has to begin with, where that is certain: after a line that opens a
        block, in a language whose blocks are made by indentation."""
        if not self._indents() or not self.code[-1].endswith(":"):
            return None
        header = indent(self.code[0])
        following = indent(self.following[0]) if self.following else ""
        inner = header + self.unit
        return following if len(header) < len(following) < len(inner) else inner

    def misplaced(self, text: str) -> str | None:
        """Return the indentation that a completion should have begun with, where `text` began with one that
        cannot be: out of its braces, or so far out that the line after the hole would lose what opens its
        block. Known from the first visible character on."""
        written = next((line for line in text.split("\n") if line.strip()), None)
        if written is None or not self.whole_lines or self.before.inside:
            return None
        if self.before.open[-1:] == ("{",):
            header = self.hole.prefix.rstrip().rpartition("\n")[2]
            following = self.following[0] if self.following else "}"
            return indent(header) + self.unit if out_of_braces(header, written, following) else None
        if not self._indents():
            return None
        inner = self.indentation()
        if inner is not None:
            return inner if indent(written) != inner else None
        if _BRANCHES.match(written.lstrip()):
            owners = branching(self.hole.prefix[: self.before.statement] + self.code[0])
            return owners[0] if owners and indent(written) not in owners else None
        if not self.following or self.following[0].lstrip()[:1] in (")", "]", "}"):
            return None
        header, following = indent(self.code[0]), indent(self.following[0])
        least = len(following) - (len(self.unit) if len(following) >= len(header) else 0)
        return header if len(indent(written)) < least else None

    def _indents(self) -> bool:
        """Return whether the hole is a place for lines whose indentation says which block they belong to."""
        outside = not self.before.inside and not self.before.open
        return self.whole_lines and self.style.colon and outside and bool(self.code)

    def ended(self, text: str) -> Cut | None:
        """Return where a completion that is still being written ends, if it has come that far."""
        if self.mode == "line":
            return self._line_end(text)
        if self.rest.strip() and self.line.strip():
            return self._balanced_line_end(text)
        return self._block_end(text)

    def settled(self, text: str, why: Why) -> tuple[str, Why]:
        """Return the text to insert, of what was written until `why`: cut, trimmed, made to fit what it
        meets."""
        whole = why == "model"
        cut = self.ended(text + ("\n" if whole and not text.endswith("\n") else ""))
        if cut:
            text, why, whole = text[: cut.at], cut.why, cut.whole
        if self.mode != "line" and not (self.rest.strip() and self.line.strip()):
            text = self._best(text, whole, cut=why in ("length", "context", "time"))
        return self._joined(text), why

    def _line_end(self, text: str) -> Cut | None:
        start = len(text) - len(text.lstrip("\n")) if not self.line.strip() or text.startswith("\n") else 0
        end = text.find("\n", start)
        return Cut(end, "line") if end > 0 and text[:end].strip() else None

    def _balanced_line_end(self, text: str) -> Cut | None:
        """Find the end of the line on which the brackets opened inside of a line are closed again, and not
        beyond a bracket that the rest of the line closes."""
        room = len(self.before.open) - len(self.after.extra)
        if (at := surplus(text, self.style, max(room, 0))) is not None:
            return Cut(at, "suffix", whole=True)
        end = text.find("\n")
        while end >= 0:
            if not nesting(text[:end], self.style).open:
                return Cut(end, "line")
            end = text.find("\n", end + 1)
        return None

    def _block_end(self, text: str) -> Cut | None:
        """Find the first line that belongs to the text after the hole, or to no block of this one."""
        first: int | None = None
        depth_left = len(self.before.open) - len(self.after.extra)
        for start, line, complete in _lines(self.line, text):
            if not line.strip():
                continue
            if first is None:
                first = width(line)
                if start > 0 or not self.line.strip():
                    if complete and self._repeated(text, start) is not None:
                        return Cut(start, "suffix", whole=True)
                    continue
                continue
            if not complete and re.fullmatch(r"\w*", line.strip()):
                continue  # half a word: it may become `else`
            if line.lstrip().startswith("```") and not self.style.prose:
                return Cut(start, "block")
            if complete and (index := self._repeated(text, start)) is not None:
                return Cut(start, "suffix", whole=index == 0)
            state = nesting(self.line + text[:start], self.style) if not self.style.prose else Nesting()
            if state.inside or state.open:
                continue
            closes = line.lstrip()[:1] in (")", "]", "}")
            if closes and not self.style.prose:
                if len(state.extra) + 1 > max(depth_left, 0) + self.line.count("}"):
                    return Cut(start, "block")
                continue
            if width(line) < self._floor(first):
                return Cut(start, "block")
            if self.mode == "block" and width(line) <= first and not _CONTINUES.match(line.lstrip()):
                return Cut(start, "block")
        return None

    def _floor(self, first: int) -> int:
        """Return the columns that a line must be indented by to be of this hole, whose first line has
        `first`."""
        if self.style.prose:
            return 0
        following = self.suffix_width
        inner = 1 if first > 0 else 0
        if following is None:
            return inner
        return max(min(following, first), inner) if following <= first else inner

    def _repeated(self, text: str, start: int) -> int | None:
        """Return which of the suffix's first lines the line of `text` at `start` is, if it is one."""
        lines = text[start:].split("\n")
        line = ((self.line if start == 0 else "") + lines[0]).rstrip()
        following = next((other.rstrip() for other in lines[1:-1] if other.strip()), None)
        for index, known in enumerate(self.following[: _RESYNC_LINES if start else 1]):
            if line != known:
                continue
            if index and width(line) > width(self.following[0]):
                continue
            if len(re.findall(r"\w", known)) >= _TELLING:
                return index
            after = self.following[index + 1] if index + 1 < len(self.following) else None
            if index == 0 and (after is None or following == after):
                return index
        return None

    def _best(self, text: str, whole: bool, *, cut: bool) -> str:
        """Choose among the places where `text` may end the first, in order of trust, that leaves the fewest
        faults."""
        scored = []
        for order, at in enumerate(self._candidates(text, whole, cut)):
            middle = self._joined(text[:at])
            result = self.hole.prefix + middle + self.hole.suffix
            scored.append((faults(result, self.style) + self._cuts_off(middle), order, at))
        return text[: min(scored)[2]] if scored else ""

    def _joined(self, text: str) -> str:
        if self.mode == "line" and self.whole_lines:
            text = text.lstrip("\n")
        return join.joined(self.hole, text, self.style)

    def _candidates(self, text: str, whole: bool, cut: bool) -> list[int]:
        """Return the ends of lines of `text`, the likeliest first.

        What the model ended itself, or what led straight to the text after the hole, counts as whole. What
        ran into the block of that text without meeting it is the model writing the rest in its own way:
        then the part before that block, or the first statement, or the shortest that leaves no fault.
        """
        ends = [start + len(line) + ended for start, line, ended in _lines("", text) if line.strip()]
        if cut and len(ends) > 1:
            ends.pop()  # half a line
        if not ends:
            return []
        shortest = ends[:_MAX_CANDIDATES]
        if self.suffix_width is None:
            return [ends[-1], *reversed(shortest)]
        trusted = [ends[-1]] if whole else []
        return [*trusted, *self._own_block(text), *shortest]

    def _own_block(self, text: str) -> list[int]:
        """Return where `text` comes out to the indentation of the line after the hole; where it starts
        there, the end of its first statement. Nothing where that line stands deeper: then `text` has to open
        its block."""
        outer = self.suffix_width or 0
        first: int | None = None
        last = 0
        for start, line, complete in _lines(self.line, text):
            if not line.strip():
                continue
            if first is None:
                first = width(line)
                if outer > first:
                    return []
            elif width(line) <= outer and (first > outer or not _CONTINUES.match(line.lstrip())):
                break
            last = start + len(line) + complete - (len(self.line) if start == 0 else 0)
        return [last]

    def stops(self) -> tuple[str, ...]:
        """Stop strings that end most completions of this hole where nobody looks at them while they grow."""
        if self.mode == "line" or (self.rest.strip() and self.line.strip()):
            return ("\n",)
        telling = [line for line in self.following[:2] if len(re.findall(r"\w", line)) >= _TELLING]
        outside = () if self.style.prose else ("\n```",)
        indented = self.style.colon and (self.suffix_width or width(self.line) or self.before.statement)
        return (*(f"\n{line}\n" for line in telling), *outside, *(_TOP_LEVEL if indented else ()))

    def _cuts_off(self, middle: str) -> int:
        """Return 1 where `middle` leaves the block that the text after it stands in: that text would be
        dead."""
        following = self.suffix_width
        if following is None or self.style.prose or _CONTINUES.match(self.following[0].lstrip()):
            return 0
        lines = (self.line + middle).split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return int(width(last) == following and bool(_LEAVES.match(last.lstrip())))


def _lines(head: str, text: str) -> list[tuple[int, str, bool]]:
    """Return (start in `text`, the line, whether its end is there); the first with `head` in front."""
    found = []
    start = 0
    for index, piece in enumerate(text.split("\n")):
        complete = start + len(piece) < len(text)
        found.append((start, head + piece if index == 0 else piece, complete))
        start += len(piece) + 1
    return found
