"""What the text around a cursor says about its structure: open brackets, blocks, indentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

_PAIRS = {")": "(", "]": "[", "}": "{"}

# Languages whose blocks are made by indentation after a colon. The others have brackets, or `end`.
_COLON = frozenset([".py", ".pyi", ".gd", ".nim"])
_SCRIPTS = frozenset([".rb", ".sh", ".bash", ".zsh", ".pl", ".pm", ".r", ".jl", ".ex", ".exs", ".tf"])
_HASH = _COLON | _SCRIPTS | frozenset([".yaml", ".yml", ".toml", ".cmake"])
_DASHES = frozenset([".sql", ".lua", ".hs", ".elm", ".adb", ".vhd"])
_PROSE = frozenset([".md", ".markdown", ".rst", ".txt", ".tex", ".adoc", ".html", ".htm", ".xml", ".csv"])

_STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
_COMMENT = {
    "hash": r"#[^\n]*",
    "dashes": r"--[^\n]*",
    "slashes": r"//[^\n]*|/\*.*?(?:\*/|\Z)",
}
_TRIPLE = r'"""(?:\\.|[^\\])*?(?:"""|\Z)|\'\'\'(?:\\.|[^\\])*?(?:\'\'\'|\Z)'


_SPACES = "    "


@dataclass(frozen=True)
class Style:
    """The plain rules of a language. `colon`: a line that ends with a colon opens an indented block; `step`:
    one step of indentation where a file shows none."""

    scanner: re.Pattern[str] | None
    colon: bool = False
    step: str = _SPACES

    @property
    def prose(self) -> bool:
        return self.scanner is None


def style_of(path: str) -> Style:
    """Return the rules for a file of this name; a file without one counts as code with brackets."""
    ending = PurePath(path).suffix.lower()
    if ending in _PROSE:
        return Style(None)
    kind = "hash" if ending in _HASH else "dashes" if ending in _DASHES else "slashes"
    parts = [_COMMENT[kind], _STRING, r"[()\[\]{}]", r"\n"]
    if ending in _COLON:
        parts.insert(1, _TRIPLE)
    elif kind == "slashes":
        parts.insert(2, r"`(?:\\.|[^`\\])*(?:`|\Z)")
    scanner = re.compile("|".join(parts), re.DOTALL)
    return Style(
        scanner,
        colon=ending in _COLON,
        step="\t" if ending == ".go" else _SPACES,  # gofmt
    )


@dataclass(frozen=True)
class Nesting:
    """`open` brackets that are not closed, `extra` closing ones that were not opened, `inside` an unfinished
    string or comment, and `statement`: where the line begins on which the outermost open bracket stands (or
    the last line that has something on it)."""

    open: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    inside: Literal["string", "comment"] | None = None
    statement: int = 0


def nesting(text: str, style: Style) -> Nesting:
    """Read `text` from its start, which is taken to be outside of strings and comments."""
    if style.scanner is None:
        return Nesting()
    stack: list[str] = []
    extra: list[str] = []
    inside: Literal["string", "comment"] | None = None
    start = candidate = 0
    end = len(text)
    for match in style.scanner.finditer(text):
        part = match[0]
        if part == "\n":
            if not stack and text[candidate : match.start()].strip():
                start = candidate
            if not stack:
                candidate = match.end()
        elif part in "([{":
            stack.append(part)
        elif part in _PAIRS:
            if stack and stack[-1] == _PAIRS[part]:
                stack.pop()
            else:
                extra.append(part)
        elif match.end() == end:
            inside = _unfinished(part, style)
    if text[candidate:].strip():
        start = candidate
    if inside is None and _in_quotes(text[text.rfind("\n") + 1 :], style):
        inside = "string"
    return Nesting(tuple(stack), tuple(extra), inside, start)


def _unfinished(token: str, style: Style) -> Literal["string", "comment"] | None:
    if token.startswith(('"""', "'''")) and style.colon:
        return None if len(token) >= 6 and token.endswith(token[:3]) else "string"
    if token.startswith("`"):
        return None if len(token) > 1 and token.endswith("`") else "string"
    if token.startswith("/*"):
        return None if token.endswith("*/") and len(token) > 3 else "comment"
    return "comment" if token.startswith(("#", "//", "--")) else None


def _in_quotes(line: str, style: Style) -> bool:
    """Return whether a string in quotes is open at the end of `line`."""
    assert style.scanner
    rest = style.scanner.sub("", line)
    return rest.count('"') % 2 == 1 or (style.colon and rest.count("'") % 2 == 1)


def indent(line: str) -> str:
    """Return the white space that `line` begins with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def width(line: str) -> int:
    """Return the columns of the indentation of `line`; a tab reaches the next multiple of eight."""
    return len(indent(line).expandtabs(8))


def unit(text: str, usual: str) -> str:
    """Return one step of indentation as `text` has it, after lines that open a block: a tab, or the most
    frequent step in spaces (`usual` if there is none)."""
    steps: dict[str, int] = {}
    opener: str | None = None
    for line in text.split("\n"):
        if not line.strip():
            continue
        if opener is not None and indent(line).startswith(opener) and (step := indent(line)[len(opener) :]):
            step = "\t" if step.startswith("\t") else step
            steps[step] = steps.get(step, 0) + 1
        opener = indent(line) if line.rstrip().endswith((":", "{")) else None
    return max(steps, key=lambda step: steps[step]) if steps else usual


# Braces in which many style guides do not indent, and what may stand at the depth of its brace anywhere.
_FLAT = re.compile(r"\s*(?:inline\s+)?(?:namespace|extern|switch|select|module|package)\b")
_AT_BRACE = re.compile(r"\s*(?:case\b|\w+\s*:|[})\]#])")


def out_of_braces(header: str, written: str, following: str) -> bool:
    """Return whether `written`, the first line after the `{` at the end of `header`, stands too far out.

    `following` is the next line of the file: where that stands no deeper, this file does not indent here.
    """
    if not header.rstrip().endswith("{") or width(written) > width(header) or _FLAT.match(header):
        return False
    if not re.match(r"\s*(?:\w+\W|\W)", written) or _AT_BRACE.match(written):
        return False  # half a word: it may become `case`
    return following.lstrip().startswith("}") or width(following) > width(header)


_BRANCHING = re.compile(r"(?:if|elif|for|while|try|except|async for)\b")


def branching(text: str) -> list[str]:
    """Return the indentations at the end of `text` at which a branch can follow, the innermost first."""
    indents: list[str] = []
    least: int | None = None
    for line in reversed(text.split("\n")):
        if line.strip() and (least is None or width(line) < least):
            least = width(line)
            if _BRANCHING.match(line.lstrip()):
                indents.append(indent(line))
    return indents


def code_lines(text: str) -> list[str]:
    """Return the lines of `text` that hold more than a comment, without the comment that may follow."""
    lines = [re.sub(r"(?<!\s)\s+#[^\"']*$", "", line).rstrip() for line in text.split("\n")]
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
