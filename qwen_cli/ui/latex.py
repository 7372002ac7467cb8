r"""Mathematics for a terminal: LaTeX between `$ $`, `$$ $$`, `\( \)` and `\[ \]` shown as Unicode text."""

from __future__ import annotations

import re

from qwen_cli.ui.formula import as_text

# Code passes as it is. Then Pandoc's rule for single dollars (manual, `tex_math_dollars`): no space right
# inside them, no digit after them; and no letter beside them, so that "$5 and $10" and `$A$B` stay.
_INLINE = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))|\\(?P<escaped>[\\$`])"
    r"|\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>.+?)\\\)"
    r"|(?<![\w$])\$(?P<d>(?=[^\s$])(?:[^$\\\n]|\\.)*?(?<!\s))\$(?![\w$])"
    r"|(?P<e>\\boxed\{[^{}\n]*(?:\{[^{}\n]*(?:\{[^{}\n]*\}[^{}\n]*)*\}[^{}\n]*)*\})",
    re.DOTALL,
)
# Between dollars: words, as in "$5 for tea, 10$", and what shells and scripts name.
_WORDS = re.compile(r"[a-z]{3,}|[A-Z_]{2}\w*_|[\"#;]")
_LONGEST = 600  # characters held back for a formula that has not ended


def unicode(formula: str) -> str:
    """One formula as text that means the same (`a/b`, `x^(2/3)`); as it is where there is none."""
    text = as_text(formula)
    return formula if text is None else text


def shown(text: str) -> str:
    """`text` with every formula as Unicode; code, and formulas that have no such text, as written."""

    def formula(found: re.Match[str]) -> str:
        inside = next((found[group] for group in "abcde" if found[group] is not None), None)
        if inside is None or (found["d"] and _is_prose(found["d"])):
            return found[0]
        text = as_text(inside)
        return found[0] if text is None else text

    return _INLINE.sub(formula, text)


def _is_prose(inside: str) -> bool:
    """Whether what stands between two dollars is no formula."""
    bare = re.sub(r"\\(?:text|mathrm|operatorname|textbf|mbox)\s*\{[^{}]*\}|\\[A-Za-z]+", "", inside)
    return _WORDS.search(bare) is not None and "\\" not in inside


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
