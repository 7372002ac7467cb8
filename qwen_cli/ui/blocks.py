"""Markdown as top-level blocks, and their rows on the screen: markdown-it's parser, rich's elements.

What models write is not quite CommonMark, so the rules differ where text would get lost or bent: HTML,
link definitions and underlined headings are text, LaTeX keeps its backslashes (or is shown as Unicode), a
line break is a line break, a link shows its address.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich import markdown
from rich.segment import Segment
from rich.text import Text

from qwen_cli.sanitize import strip_escapes
from qwen_cli.ui import highlight, latex
from qwen_cli.ui.live import Row, rendered

if TYPE_CHECKING:
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult

LISTS = ("bullet_list_open", "ordered_list_open")
_FENCE_BEGIN = re.compile(r" {0,3}(`{3,}|~{3,})")
_FENCE_END = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*$")
# What ends a word, and the words and parts of words whose signs are no emphasis: a path of Windows, a name of
# Python's own, a product or power, the wildcards of a path.
_APART = " \t\n[](){}<>\"'`,|"
_WORD = re.compile(rf"[^{re.escape(_APART)}]+")
_PATH = re.compile(r"[A-Za-z]:\\|\\\\[A-Za-z0-9]|\w[\w.\-]*\\[A-Za-z0-9]")
_NAME = re.compile(r"(?<![^\W_])__[a-z][a-z0-9_]*?__(?!\w)")
_FACTOR = re.compile(r"(?<=[A-Za-z0-9)])\*{1,2}(?=[A-Za-z0-9(])")
_GLOB = re.compile(r"(?<=[\w.*~]/)\*{1,2}(?![^\W_]|\*)|(?<!\S)\*{1,2}(?=/)")
_MATH = re.compile(r"\\\(.*?\\\)|\\\[.*?\\\]|\$\$.+?\$\$|\\[(\[]", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One top-level block, or one item of a top-level list: lines `start` to before `end`, and its tokens."""

    tokens: list[Token]
    start: int
    end: int

    @property
    def kind(self) -> str:
        return self.tokens[0].type

    def items(self) -> list[Block]:
        """Return the items of a list, each as a list of one; of another block, itself."""
        if self.kind not in LISTS:
            return [self]
        opening, closing = self.tokens[0], self.tokens[-1]
        return [
            Block([opening, *item.tokens, closing], item.start, item.end)
            for item in _grouped(self.tokens[1:-1])
        ]

    def first_number(self) -> int:
        """Return the number a list starts with (1 where it has none)."""
        return int(self.tokens[0].attrs.get("start", 1))

    def numbered_from(self, number: int) -> Block:
        """Return the same list, its first item numbered `number`."""
        opening = self.tokens[0].copy(attrs={**self.tokens[0].attrs, "start": number})
        return replace(self, tokens=[opening, *self.tokens[1:]])


def parse(source: str, *, formulas: bool = False, goes_on: bool = False) -> list[Block]:
    """Parse `source` into its top-level blocks. `formulas`: those that can be are Unicode text. `goes_on`:
    more is to come, so a display formula that is open at the end takes what follows."""
    source = _barless(source) if formulas and "|" in source and "$" in source else source
    return list(_grouped(_parser(formulas).parse(source, {"goes_on": goes_on})))


def _barless(source: str) -> str:
    """Return `source` with the bars of formulas in rows of tables written out: any other bar ends a cell."""
    lines, fence = source.split("\n"), ""
    for at, line in enumerate(lines):
        if opening := _FENCE_BEGIN.match(line):
            fence = opening[1] if not fence else "" if ends_fence(line, fence) else fence
        elif not fence and line.lstrip().startswith("|") and "`" not in line:
            lines[at] = latex.without_bars(line)
    return "\n".join(lines)


def rows(console: Console, block: Block, width: int) -> list[Row]:
    """Return the block as it stands on the screen, `width` columns wide."""
    if block.kind in ("fence", "code_block"):
        token = block.tokens[0]
        return code_rows(token.content, token.info, token.markup)
    tokens = [_with_plain_inlines(token) for token in block.tokens]
    rendered_rows = rendered(console, _Blocks.of(tokens), width)
    # an entity such as &#x202E; has become a character only now
    return [tuple((strip_escapes(text), style) for text, style in line) for line in rendered_rows]


def code_rows(content: str, info: str, markup: str) -> list[Row]:
    """Return a code block: its lines, between its fences if it has any."""
    highlighted = list(highlight.lines(content, language(info)))
    return [highlight.fence(markup + info), *highlighted, highlight.fence(markup)] if markup else highlighted


def language(info: str) -> str:
    """Return the language in a fence's info string: "python" in "python title=x" and in "{.python}"."""
    words = info.strip().strip("{}.").split()
    return words[0] if words else ""


def ends_fence(line: str, markup: str) -> bool:
    """Return whether `line` closes the code block that `markup` opened."""
    match = _FENCE_END.match(line)
    return match is not None and match[1][0] == markup[0] and len(match[1]) >= len(markup)


@cache
def _parser(formulas: bool) -> MarkdownIt:
    parser = MarkdownIt().enable(["strikethrough", "table"])
    parser.disable(["html_block", "html_inline", "reference", "lheading"])
    parser.inline.ruler.before("escape", "signs", _signs)
    parser.inline.ruler.before("signs", "math", _formula if formulas else _math)
    if formulas:
        parser.block.ruler.before("fence", "math", _display, {"alt": ["paragraph", "blockquote", "list"]})
    return parser


def _math(state: StateInline, silent: bool) -> bool:
    """Keep LaTeX between its delimiters as text: no escapes, no emphasis."""
    match = _MATH.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("text", "", 0).content = match[0]
    state.pos = match.end()
    return True


def _signs(state: StateInline, silent: bool) -> bool:
    """Keep the signs of products, names and paths: `5*3*2`, `__init__.py`, `src/**/*.py`, `C:\\_x_\\new`."""
    if state.src[state.pos] not in "*_\\":
        return False
    words = _words(state.src)
    word = words[bisect.bisect(words, state.pos, key=lambda one: one.start) - 1]
    if word.is_path:
        end = word.end
    elif match := next((m for p in (_NAME, _FACTOR, _GLOB) if (m := p.match(state.src, state.pos))), None):
        end = match.end()
        if state.pos > word.start and match[0] == word.opening:
            return False  # **bold**er
    elif word.slash < state.pos and state.src[state.pos] == "_" and state.src[word.start] != "_":
        end = state.pos + 1
    else:
        return False
    if not silent:
        state.push("text", "", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


@dataclass(frozen=True)
class _Word:
    """Characters `start` to before `end` of a paragraph. `opening` are the stars that it begins with, `slash`
    is where its first one stands, `end` where there is none."""

    start: int
    end: int
    is_path: bool
    opening: str
    slash: int


@lru_cache(maxsize=1)
def _words(source: str) -> list[_Word]:
    """Return the words of a paragraph in their order: read once for all signs in it."""
    words = []
    for match in _WORD.finditer(source):
        word, start, end = match[0], match.start(), match.end()
        opening = word[: len(word) - len(word.lstrip("*"))]
        slash = start + word.find("/") if "/" in word else end
        words.append(_Word(start, end, _PATH.match(word) is not None, opening, slash))
    return words


def _formula(state: StateInline, silent: bool) -> bool:
    """Render a formula between its delimiters as Unicode text, or else as it is written."""
    formula = latex.at(state.src, state.pos, state.posMax)
    if formula is None:
        return _math(state, silent)
    if not silent:
        for number, line in enumerate(formula.text.split("\n")):
            if number:
                state.push("hardbreak", "br", 0)
            state.push("text", "", 0).content = line.strip()
    state.pos = formula.end
    return True


def _display(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """Take the lines from one that begins a display formula to the one that ends it as a paragraph, whatever
    its lines begin with."""
    if state.is_code_block(first):
        return False
    last, indent = first, min(state.blkIndent, state.sCount[first])
    text = state.src[state.bMarks[first] + state.tShift[first] : state.eMarks[first]]
    if not latex.begins_display(text):
        return False
    while latex.display_is_open(text):
        if last + 1 >= end or (state.sCount[last + 1] < indent and not state.isEmpty(last + 1)):
            break
        last += 1
        text += "\n" + state.src[state.bMarks[last] + state.tShift[last] : state.eMarks[last]]
        if len(text) > latex.LONGEST_DISPLAY:
            return False
    is_open = latex.display_is_open(text)
    if (is_open and not (state.env["goes_on"] and last + 2 == len(state.bMarks))) or (
        last == first and not is_open
    ):
        return False  # of one line: what is written on the next belongs to its paragraph
    if silent:
        return True
    state.line = last + 1
    state.push("paragraph_open", "p", 1).map = [first, state.line]
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = text, [first, state.line], []
    state.push("paragraph_close", "p", -1)
    return True


def _grouped(tokens: list[Token]) -> Iterator[Block]:
    """Yield the tokens up to each return to the outermost level."""
    first = depth = 0
    for index, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            start, end = tokens[first].map or (0, 0)
            yield Block(tokens[first : index + 1], start, end)
            first = index + 1


def _with_plain_inlines(token: Token) -> Token:
    """Return an inline token as text that hides nothing: line breaks kept, addresses shown."""
    if token.type != "inline" or not token.children:
        return token
    tokens: list[Token] = []
    targets: list[tuple[str, int]] = []
    for child in token.children:
        if child.type == "link_open":
            targets.append((str(child.attrs.get("href", "")), len(tokens)))
        elif child.type == "link_close":
            href, first = targets.pop()
            label = "".join(part.content for part in tokens[first:])
            if href and href not in (label, f"mailto:{label}"):
                tokens.append(Token("text", "", 0, content=f" ({href})" if label else href))
        elif child.type == "image":
            tokens.append(Token("text", "", 0, content=f"{child.content} ({child.attrs.get('src', '')})"))
        elif child.type == "softbreak":
            tokens.append(child.copy(type="hardbreak"))
        else:
            tokens.append(child)
    return token.copy(children=tokens)


class _Heading(markdown.Heading):
    """rich centres the first level, which jumps while it grows."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class _ListItem(markdown.ListItem):
    """rich sizes the numbers by the last of the list, which is not known while it streams."""

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        label = f" {number}. "
        inner = options.update(width=max(options.max_width - len(label), 1))
        style = console.get_style("markdown.item.number")
        for index, line in enumerate(console.render_lines(self.elements, inner, style=self.style)):
            yield Segment(" " * len(label) if index else label, style)
            yield from line
            yield Segment.line()


class _Cell(markdown.TableDataElement):
    """A cell that folds what is too long for its column: rich cuts it."""

    def __init__(self, justify: JustifyMethod) -> None:
        super().__init__(justify)
        self.content.overflow = "fold"


class _CodeBlock(markdown.CodeBlock):
    """Code inside a list or quotation, in the looks of code outside."""

    markup = ""

    @classmethod
    def create(cls, markdown: markdown.Markdown, token: Token) -> _CodeBlock:
        block = cls(token.info, markdown.code_theme)
        block.markup = token.markup
        return block

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in code_rows(str(self.text), self.lexer_name, self.markup):
            yield Text.assemble(*((text, style or "") for text, style in line), overflow="fold")


class _Blocks(markdown.Markdown):
    """rich's Markdown from tokens that are parsed already."""

    elements: ClassVar[dict[str, type[markdown.MarkdownElement]]] = {
        **markdown.Markdown.elements,
        "heading_open": _Heading,
        "list_item_open": _ListItem,
        "td_open": _Cell,
        "th_open": _Cell,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
    }

    @classmethod
    def of(cls, tokens: list[Token]) -> _Blocks:
        """Return these tokens; rich builds a parser for each text, which here is one for each drawing."""
        made = copy(_no_blocks())
        made.parsed = tokens
        return made


@cache
def _no_blocks() -> _Blocks:
    return _Blocks("", hyperlinks=False)
