r"""Mathematics for a terminal: LaTeX between `$ $`, `$$ $$`, `\( \)` and `\[ \]` shown as Unicode text."""

from __future__ import annotations

import re

# Pandoc's rule for single dollars (manual, `tex_math_dollars`): none beside a space inside, no digit after
# the closing one. So "$5 and $10" stays money.
_INLINE = re.compile(
    r"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)|(?<![\\$])\$(?P<d>(?=[^\s$])[^$\n]*?(?<=[^\s\\]))\$(?!\d)"
    r"|(?P<e>\\boxed\{[^{}\n]*(?:\{[^{}\n]*\}[^{}\n]*)*\})",
    re.DOTALL,
)
_SCRIPT = re.compile(r"(?P<mark>[\^_])(?:\{(?P<inner>(?:[^{}]|\{[^{}]*\})*)\}|[A-Za-z0-9+\-])")
_LONGEST = 600  # characters held back for a formula that has not ended


def unicode(formula: str) -> str:
    """One formula as text. What has no Unicode form is left readable: `a/b`, `x^(2/3)`."""
    if formula.count("{") != formula.count("}"):
        return formula
    import unicodeit  # 20 ms
    from pylatexenc.latex2text import LatexNodes2Text  # 60 ms

    def script(found: re.Match[str]) -> str:
        high = str(unicodeit.replace(found[0]))
        if not re.search(r"[\^_\\]", high):
            return f"{{}}{high}"  # or it would become a part of a command's name before it
        return f"{found['mark']}({found['inner']})" if found["inner"] else found[0]

    bare = re.sub(r"\\(?:left|right|displaystyle|,|;|!)(?![A-Za-z])", "", formula)
    text = LatexNodes2Text(math_mode="text").latex_to_text(_SCRIPT.sub(script, bare))
    return re.sub(r"[ \t]+", " ", text).strip()


def shown(text: str) -> str:
    """`text` with every formula in it as Unicode."""

    def formula(found: re.Match[str]) -> str:
        return unicode(next(group for group in found.groups() if group is not None))

    return _INLINE.sub(formula, text)


class Formulas:
    """`shown` for text that comes in pieces; code blocks pass as they are."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False  # the beginning of the line that is held has been given out
        self._in_code = False

    def feed(self, piece: str) -> str:
        """What can be shown now: whole lines, and a last one in which no formula or fence may begin."""
        self._held += piece
        ready = ""
        while "\n" in self._held and (line := self._line()) is not None:
            ready += line
        if self._held and "\n" not in self._held and not self._unclear():
            ready, self._held, self._begun = ready + self._held, "", True
        return ready

    def finish(self) -> str:
        """What was held back."""
        rest, self._held = self._held, ""
        return rest if self._in_code else shown(rest)

    def _unclear(self) -> bool:
        if self._in_code:
            return not self._begun and self._held.lstrip(" ")[:1] in ("", "`")
        return bool(re.search(r"[\\$`]", self._held))

    def _line(self) -> str | None:
        """The first line that is held, or the several a display formula takes; `None` while one is open."""
        line, _, rest = self._held.partition("\n")
        if not self._begun and line.lstrip(" ").startswith("```"):
            self._in_code = not self._in_code
        elif not self._in_code:
            while _opened(line) and len(line) <= _LONGEST:
                if "\n" not in rest:
                    return None
                more, _, rest = rest.partition("\n")
                line += f"\n{more}"
            line = shown(line)
        self._held, self._begun = rest, False
        return line + "\n"


def _opened(text: str) -> bool:
    """Whether a display formula begins in `text` and does not end there."""
    return text.count("$$") % 2 == 1 or text.count(r"\[") > text.count(r"\]")
