"""Highlighted code, line by line as it comes: a line's colours are final once it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax

from qwen_cli.ui.live import Row, plain, row

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# The sixteen colours of the terminal's own palette: readable on light and dark, which no fixed theme is.
_THEME = ANSISyntaxTheme(Syntax.get_theme("ansi_dark").style_map)  # type: ignore[attr-defined]
_LONGEST_REGION = 100  # lines that are lexed again for each new line, at most


class Highlighter:
    """Colours for the lines of one code block.

    A lexer is not restartable anywhere, so what is kept is the region since the last line that ended in the
    lexer's initial state outside strings and comments; it is lexed again with each line. That is a line or
    two in ordinary code, and bounded in the rest, so the whole is linear.
    """

    def __init__(self, language: str) -> None:
        self._lexer = _lexer(language)
        self._region = ""
        self._lines = 0

    def line(self, text: str) -> Row:
        """Return `text` (one line, no newline) with its colours."""
        text = text.expandtabs(4)
        if self._lexer is None or len(text) > 2000:  # minified text: colours are not worth its time
            return ((text, None),) if text else ()
        start = len(self._region)
        self._region += text + "\n"
        self._lines += 1
        tokens, at_rest = _lex(self._lexer, self._region)
        segments: list[Segment] = []
        position = 0
        for kind, value in tokens:
            end = position + len(value)
            if end > start and (visible := value[max(start - position, 0) :].rstrip("\n")):
                segments.append(Segment(visible, _THEME.get_style_for_token(kind)))
            position = end
        if at_rest or self._lines >= _LONGEST_REGION:
            self._region, self._lines = "", 0
        return row(segments)


def fence(text: str) -> Row:
    """Return the line that opens or closes a block."""
    return plain(text, Style(dim=True))


def lines(code: str, language: str) -> Iterator[Row]:
    """Return the rows of a whole block, as `Highlighter` gives them; each line of `code` ends in a
    newline."""
    highlighter = Highlighter(language)
    return (highlighter.line(line) for line in code.split("\n")[:-1])


def _lex(lexer: Lexer, text: str) -> tuple[list[tuple[Any, str]], bool]:
    """Return the tokens of `text`, and whether the lexer could start afresh behind it."""
    from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer
    from pygments.token import Comment, String

    plain = isinstance(lexer, RegexLexer) and (
        type(lexer).get_tokens_unprocessed is RegexLexer.get_tokens_unprocessed
    )
    if not plain:  # a lexer made of several: its state cannot be seen
        return list(lexer.get_tokens(text)), False
    # RegexLexer keeps its stack to itself; the extended one runs the same rules with the stack outside.
    context = LexerContext(text, 0)
    lexed = ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context)
    tokens = [(kind, value) for _, kind, value in lexed]
    last = next((kind for kind, value in reversed(tokens) if value.strip()), None)
    inside = last in String or (last in Comment and last is not Comment.Single) if last else False
    return tokens, len(context.stack) == 1 and not inside


def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    if not language:
        return None
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
