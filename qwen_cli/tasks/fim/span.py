"""How far a completion goes: where it must begin, when to stop it, and what of it is kept.

Where the model ends by itself, that is the end, unless a shorter text is clearly better: the text after the
hole said once more, or brackets that the whole file closes twice. A model that goes on writes the text after
the hole again, so the end is where that comes up, the longer the surer. Where it never does, or only as a
bracket, ends of lines are ranked by what a parser makes of the whole file with them.

While the model writes, text is compared at ends of lines; the weaker a sign is, the longer it is waited.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qwen_cli.engines.core.prompt import common_length
from qwen_cli.tasks.fim import join
from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.fim.syntax import (
    Nesting,
    Style,
    branching,
    code_lines,
    indent,
    nesting,
    out_of_braces,
    style_of,
    unit,
    width,
)
from qwen_cli.tasks.fim.whole import Whole

Mode: TypeAlias = Literal["line", "block", "auto"]
Why: TypeAlias = Literal["model", "line", "block", "suffix", "length", "context", "time"]

# How many lines of the suffix are looked for: a model that leaves one out meets the text at the next.
_RESYNC_LINES = 4
# A line with fewer letters and digits (`}`, `else:`) may well come twice: it counts with its neighbours.
_TELLING = 6
# The text after the hole, said again, and not lines that look like it: in lines, or in letters of two lines.
_STRONG_LINES = 3
_STRONG_WORDS = 30
# Lines of it after which the model need not go on, and as many more where the file has these twice: functions
# may begin or end alike.
_ENOUGH_LINES = 4
_MOST_LINES = 16
# Lines to wait where the whole rest of the file was said, which is shorter: as words, or but as brackets. A
# right middle may hold the same. Less than the whole is no sign while the model writes.
_AFTER_WHOLE = 4
_AFTER_BRACKETS = 10
_MAX_CANDIDATES = 12
_LONGEST_OVERLAP = 400
_FENCE = re.compile(r"^```", re.MULTILINE)
# Ends of statements after which nothing of the same block is reached.
_LEAVES = re.compile(r"(?:return|raise|break|continue|throw|goto)\b")
_CONTINUES = re.compile(
    r"(?:else|elif|elsif|elseif|except|finally|catch|case|default|when|rescue|ensure|end|fi|done|esac)\b|[)\]}]"
)
# What goes on after a closing bracket: a file may close there only once this has been written.
_GOES_ON = re.compile(r"\s*(?:else|elif|elsif|elseif|except|finally|catch|while|[.,;)\]])")
# A branch stands under the statement that it belongs to (The Python Language Reference, chapter 8).
_BRANCHES = re.compile(r"(?:else|elif|except|finally)\b")


@dataclass(frozen=True)
class Meeting:
    """The text after the hole, come up in a completion at character `at`: as much of it as `shared`.

    `whole`: all of it. `aligned`: its first line stands where it stands in the file, not further in.
    """

    at: int
    shared: str
    whole: bool
    aligned: bool

    @property
    def words(self) -> int:
        """Count the letters and digits of what is shared."""
        return len(re.findall(r"\w", self.shared))

    @property
    def lines(self) -> int:
        """Count the lines of it that hold something and have ended."""
        return _visible(self.shared)

    @property
    def strong(self) -> bool:
        """Return whether this is the text after the hole, and not lines that look like it."""
        telling = self.words >= (_TELLING if self.lines >= _STRONG_LINES else _STRONG_WORDS)
        return telling and self.lines >= 2

    @property
    def sure(self) -> bool:
        """Return whether this ends the hole where nothing stronger came."""
        told = self.words >= _TELLING or self.lines >= 2
        return self.strong or (self.whole and self.aligned and told)


class Span:
    """The rules for one hole."""

    def __init__(self, hole: Hole, mode: Mode = "auto") -> None:
        self.hole = hole
        self.mode = mode
        self.whole = Whole(hole)
        self.style: Style = style_of(hole.path)
        self.prefix = hole.before + hole.prefix
        self.line = hole.prefix[hole.prefix.rfind("\n") + 1 :]
        self.rest, _, _ = hole.suffix.partition("\n")
        self.before: Nesting = nesting(self.prefix, self.style)
        self.after: Nesting = nesting(hole.suffix + hole.after, self.style)
        self.unit = unit(hole.prefix + hole.suffix, self.style.step)
        self.code = code_lines(self.prefix[self.before.statement :])
        # White space before the cursor is the indentation of the line that follows it.
        following = hole.suffix if self.line.strip() else self.line + hole.suffix
        self.following = [line.rstrip() for line in following.split("\n") if line.strip()][:8]
        first = re.match(r"\s*\S[^\n]*\n?", hole.suffix)
        self._head = first[0] if first else ""
        self._enough_lines = self._telling_lines()
        self._looked_at = -1
        self._sign: Why | None = None

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

    def misfit(self, text: str, kept: str) -> str | None:
        """Return the indentation that `text` should have begun with, where it began so far out that the file
        cannot be read with what is `kept` of it."""
        return self.misplaced(text, whole=True) if self._faults(kept) else None

    def reads_better(self, middle: str, other: str) -> bool:
        """Return whether the file can be read better with `middle` than with `other`."""
        return self._faults(middle) < self._faults(other)

    def misplaced(self, text: str, *, whole: bool = False) -> str | None:
        """Return the indentation that a completion should have begun with, where `text` began with one that
        cannot be: out of its braces or its block. Known from the first visible character on. One that is
        `whole` may also be so far out that the line after the hole loses what opens its block."""
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
            owners = branching(self.prefix[: self.before.statement] + self.code[0])
            return owners[0] if owners and indent(written) not in owners else None
        if not self.following or self.following[0].lstrip()[:1] in (")", "]", "}"):
            return None
        if not whole:
            return None  # what is still to come may open a block or a bracket for it
        header, following = indent(self.code[0]), indent(self.following[0])
        least = len(following) - (len(self.unit) if len(following) >= len(header) else 0)
        return header if len(indent(written)) < least else None

    def _indents(self) -> bool:
        """Return whether the hole is a place for lines whose indentation says which block they belong to."""
        outside = not self.before.inside and not self.before.open
        return self.whole_lines and self.style.colon and outside and bool(self.code)

    def ended(self, text: str) -> Why | None:
        """Return why a completion that is still being written is to be stopped, if it has come that far."""
        if self.mode == "line":
            return "line" if self._line_end(text) is not None else None
        written = text[: text.rfind("\n") + 1]
        if len(written) != self._looked_at:
            self._looked_at = len(written)
            self._sign = self._enough(written)
        return self._sign

    def _enough(self, written: str) -> Why | None:
        """Return why nothing more is needed after these lines, if so."""
        if self._fence(written) is not None or (
            self.mode == "block" and self._block_end(written) is not None
        ):
            return "block"
        for met in self._meetings(written):
            goes_on = met.at + len(met.shared) == len(written) and met.lines >= self._enough_lines
            if met.strong and (met.whole or goes_on):
                return "suffix"
            patience = _AFTER_WHOLE if met.sure and met.words >= _TELLING else _AFTER_BRACKETS
            after = _visible(written[met.at + len(met.shared) :])
            if met.whole and after >= patience and self._closes(written[: met.at]):
                return "suffix"
        return None

    def _fence(self, text: str) -> int | None:
        """Return where a line ends code in prose, of a model that explains what it wrote."""
        for match in () if self.style.prose or self.before.inside else _FENCE.finditer(text):
            if nesting(self.line + text[: match.start()], self.style).inside is None:
                return match.start()
        return None

    def _telling_lines(self) -> int:
        """Count the lines at the start of the text after the hole that stand nowhere else in the file."""
        start = number = 0
        # The end of a line may be missed in vain but once: the last one can be a megabyte without it.
        for line in re.finditer(r"[^\n]*\n?", self.hole.suffix):
            if not line[0].strip() or not line[0].endswith("\n"):
                continue
            start, number = line.end(), number + 1
            if number % _ENOUGH_LINES == 0:
                lines = self.hole.suffix[:start].lstrip("\n")
                again = lines in self.hole.suffix[1:] or lines in self.prefix
                if not again or number >= _MOST_LINES:
                    return number
        return _MOST_LINES

    def _closes(self, middle: str) -> bool:
        """Return whether the file is no worse with `middle` than with nothing: no bracket of it is left
        open."""
        return self._faults(middle) <= self._faults("")

    def settled(self, text: str, why: Why) -> tuple[str, Why]:
        """Return the text to insert, of what was written until `why`, and why it ends there."""
        if (fence := self._fence(text)) is not None:
            text, why = text[:fence], "block"
        if not text.strip():
            return "", why
        if self.mode == "line":
            return self._one_line(text, why)
        if self.mode == "block" and (left := self._block_end(text)) is not None:
            text, why = text[: left[0]], "block"
        if why == "model":
            return self._trusted(text)
        return self._found(text, why)

    # What the model ended by itself.

    def _trusted(self, text: str) -> tuple[str, Why]:
        """Return `text` as it is, unless something shorter is clearly better."""
        text = self._without_its_newline(text)
        for met in self._meetings(text):
            said = met.whole or not text[met.at + len(met.shared) :].strip()
            again = met.words >= _STRONG_WORDS or (met.whole and met.words >= 2 * _TELLING)
            if said and again and met.aligned and self._faults(text[: met.at]) <= self._faults(text):
                return text[: met.at], "suffix"
        wrong = self._faults(text)
        if wrong and not text.endswith("\n") and self._faults(text + "\n") < wrong:
            text += "\n"
            wrong = self._faults(text)
        # A grammar that misreads right code cuts nothing by itself: brackets have to meet better, too.
        loose = self.whole.imbalance(text) if wrong else 0
        better = [
            (faults, order, at)
            for order, at in enumerate(self._shorter(text) if loose else ())
            if (faults := self._faults(text[:at])) < wrong and self.whole.imbalance(text[:at]) < loose
        ]
        if better:
            return text[: min(better)[2]], "suffix"
        return self._with_last_newline(text), "model"

    def _shorter(self, text: str) -> list[int]:
        """Return where `text` may have gone too far, the likeliest first: at what it has in common with the
        text after the hole, and before brackets that close at its end."""
        suffix = self.hole.suffix
        sizes = range(min(len(text), len(suffix), _LONGEST_OVERLAP), 0, -1)
        closing = re.search(r"[\s)\]};,]*\Z", text)
        assert closing
        brackets = [match.start() for match in re.compile(r"[)\]}]").finditer(text, closing.start())]
        return [*(len(text) - size for size in sizes if text.endswith(suffix[:size])), *reversed(brackets)]

    def _without_its_newline(self, text: str) -> str:
        """Return `text` without the newlines at its end that stand after the hole already, where it is the
        rest of one line."""
        ends_line = self.line.strip() and not self.rest.strip() and self.hole.suffix
        body = text.rstrip("\n")
        if not ends_line or "\n" in body or not body.strip():
            return text
        common = min(len(text) - len(body), len(self.hole.suffix) - len(self.hole.suffix.lstrip("\n")))
        return text[: len(text) - common]

    def _with_last_newline(self, text: str) -> str:
        """Return `text`, with a newline where it ends a file whose lines all end with one."""
        ends = not self.hole.suffix and not self.line and not text.endswith("\n")
        return text + "\n" if ends else text

    # What went on until something ended it.

    def _found(self, text: str, why: Why) -> tuple[str, Why]:
        """Return the part of `text` that belongs in the hole, where the model went on."""
        meetings = [m for m in self._meetings(text) if not _GOES_ON.match(text[m.at + len(m.shared) :])]
        met = [m.at for m in meetings if m.aligned]
        sure = [m for m in meetings if m.sure]
        if sure:
            most = max((len(m.shared), m.aligned) for m in sure)
            at = self._best(text, [m.at for m in sure if (len(m.shared), m.aligned) == most])
            certain = any(m.strong for m in sure) or not self.whole.parsed
            if certain or not self._faults(text[:at]):
                return text[:at] if text[:at].strip() else "", "suffix"
            met.insert(0, at)
        if self.rest.strip() and self.line.strip():
            return self._within_line(text, met)
        return self._whole_lines(text, met, why)

    def _within_line(self, text: str, met: list[int]) -> tuple[str, Why]:
        """Choose of the first lines of `text` what the rest of the line goes on from best."""
        lines = [match.start() for match in re.finditer(r"\n|\Z", text)][:_MAX_CANDIDATES]
        first = text[: lines[0]]
        overlaps = [
            len(first) - size for size in range(len(self.rest), 0, -1) if first.endswith(self.rest[:size])
        ]
        closing = [match.start() for match in re.finditer(r"[)\]}]", first)][-_MAX_CANDIDATES:]
        at = self._best(text, [*met, lines[0], *overlaps, *reversed(closing), *lines[1:]])
        return text[:at], "suffix" if at in met else "line"

    def _whole_lines(self, text: str, met: list[int], why: Why) -> tuple[str, Why]:
        """Choose of the lines of `text` those of the block that the hole is in, as far as the file can be
        read."""
        block, whole = text, self.suffix_width is None
        if (left := self._block_end(text)) is not None:
            block, whole = text[: left[0]], whole or left[1]
            why = "suffix" if left[1] else "block"
        ends = [at for at in _line_ends(block) if block[:at].strip()]
        trusted = ends[-1:] if whole else self._own_block(block)
        at = self._best(text, [*met, *trusted, *ends[:_MAX_CANDIDATES]])
        if at in met:
            return text[:at], "suffix"
        return self._joined(text[:at]), why

    def _best(self, text: str, candidates: Iterable[int]) -> int:
        """Return the candidate that leaves the fewest faults in the file, of equal ones the first."""
        best, fewest = 0, None
        for at in dict.fromkeys(candidates):
            cost = self._faults(text[:at]) + self._costs(text[:at])
            if fewest is None or cost < fewest:
                best, fewest = at, cost
            if not cost:
                break
        return best

    def _faults(self, middle: str) -> int:
        return self.whole.faults(middle)

    def _line_end(self, text: str) -> int | None:
        start = len(text) - len(text.lstrip("\n")) if not self.line.strip() or text.startswith("\n") else 0
        end = text.find("\n", start)
        return end if end > 0 and text[:end].strip() else None

    def _one_line(self, text: str, why: Why) -> tuple[str, Why]:
        if (end := self._line_end(text)) is not None:
            text, why = text[:end], "line"
        elif why == "model":
            return self._trusted(text)
        if self.rest.strip() and (self.line.strip() or text.endswith(self.rest)):
            return self._within_line(text, [met.at for met in self._meetings(text + "\n")])
        return self._joined(text.lstrip("\n") if self.whole_lines else text), why

    def _block_end(self, text: str) -> tuple[int, bool] | None:
        """Return where `text` leaves the block that the hole is in, and whether for the text after the hole:
        a line of that, one that closes a bracket which that closes, or one that stands further out than the
        block, but for braces."""
        first: int | None = None
        depth_left = max(len(self.before.open) - len(self.after.extra), 0) + self.line.count("}")
        braces = self.before.open[-1:] == ("{",)
        for start, line, complete in _lines(self.line, text):
            if not line.strip():
                continue
            if first is None:
                first = width(line)
                if complete and not self.line.strip() and self._repeated(text, start) is not None:
                    return start, True
                continue
            if not complete and re.fullmatch(r"\w*", line.strip()):
                continue  # half a word: it may become `else`
            if complete and (index := self._repeated(text, start)) is not None:
                return start, index == 0
            state = Nesting() if self.style.prose else nesting(self.line + text[:start], self.style)
            if state.inside or self.style.prose:
                continue
            if state.open:
                continue
            if line.lstrip()[:1] in (")", "]", "}"):
                if len(state.extra) + 1 > depth_left:
                    return start, False
                continue
            if not braces and width(line) < self._floor(first) and not self._branches(line, text[:start]):
                return start, False
            if self.mode == "block" and width(line) <= first and not _CONTINUES.match(line.lstrip()):
                return start, False
        return None

    def _branches(self, line: str, text: str) -> bool:
        """Return whether `line` is a branch of a statement before it."""
        return bool(_BRANCHES.match(line.lstrip())) and indent(line) in branching(self.prefix + text)

    def _floor(self, first: int) -> int:
        """Return the columns that a line must be indented by to be of this hole, whose first line has
        `first`."""
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

    def _meetings(self, text: str) -> list[Meeting]:
        """Return where the text after the hole comes up in `text`, letter by letter, with its first visible
        line."""
        suffix, meetings = self.hole.suffix, []
        at = text.find(self._head) if self._head else -1
        while at >= 0:
            rest = text[at:]
            shared = rest[: common_length(rest, suffix)]
            whole = len(shared) >= len(suffix.rstrip("\n")) and not self.hole.after
            deeper = self.whole_lines and suffix[0] in " \t" and not text[:at].endswith("\n") and at > 0
            meetings.append(Meeting(at, shared, whole, not deeper))
            at = text.find(self._head, at + 1)
        return meetings

    def _joined(self, text: str) -> str:
        return join.joined(self.hole, text, self.style)

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
        """Return a stop string that ends most completions of this hole where nobody looks at them."""
        if self.mode == "line":
            return ("\n",)
        head = re.match(r"(?:\s*\S[^\n]*\n){2,3}", self.hole.suffix)
        telling = head is not None and len(re.findall(r"\w", head[0])) >= _STRONG_WORDS
        return (head[0],) if head and telling else ()

    def _costs(self, middle: str) -> int:
        """Return 1 where `middle` makes the text after it void and no parser sees it: it leaves the block
        that this stands in, or ends in a comment that takes in the rest of the line."""
        if self.style.prose or not self.following:
            return 0
        if self.rest.strip() and self.line.strip():
            return int(not self.before.inside and nesting(self.line + middle, self.style).inside == "comment")
        if _CONTINUES.match(self.following[0].lstrip()):
            return 0
        lines = (self.line + middle).split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return int(width(last) == self.suffix_width and bool(_LEAVES.match(last.lstrip())))


def _visible(text: str) -> int:
    """Count the lines of `text` that hold something and have ended."""
    return sum(bool(line.strip()) for line in text.split("\n")[:-1])


def _line_ends(text: str) -> list[int]:
    """Return where the lines of `text` end, behind their newlines; the end of `text` where it is but half a
    line."""
    return [match.end() for match in re.finditer(r"\n", text)] or [len(text)]


def _lines(head: str, text: str) -> list[tuple[int, str, bool]]:
    """Return (start in `text`, the line, whether its end is there); the first with `head` in front."""
    lines = []
    start = 0
    for index, piece in enumerate(text.split("\n")):
        complete = start + len(piece) < len(text)
        lines.append((start, head + piece if index == 0 else piece, complete))
        start += len(piece) + 1
    return lines
