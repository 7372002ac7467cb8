"""What the whole file is like with a middle in its hole: how much of it a parser, or a lexer, cannot read."""

from __future__ import annotations

import copy
from functools import cache, lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING

from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.repository import languages

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from tree_sitter import Node, Parser, QueryCursor, Tree

# Beyond this the first parse would be felt while typing (0.3 s/MB).
_LARGEST_PARSED = 500_000
# What a lexer reads on each side of a hole, in characters: it has to begin anew for each middle (1
# s/MB).
_LEXED = 1_200

# What these grammars take without an error, though it closes what nothing opened.
_STRAY = {"html": "(erroneous_end_tag) @stray", "ruby": '((identifier) @stray (#eq? @stray "end"))'}

_PAIRS = {")": "(", "]": "[", "}": "{"}
# Names that Pygments gives to other languages.
_LEXERS = {".pl": "perl", ".pm": "perl", ".t": "perl", ".sql": "sql", ".m": "objective-c", ".v": "verilog"}
_PROSE = frozenset([".md", ".markdown", ".rst", ".txt", ".tex", ".adoc", ".csv"])


class Whole:
    """A file with a hole. Parsed once; each middle costs what the parser has to read anew (2 ms in a file of
    2,000 lines)."""

    def __init__(self, hole: Hole) -> None:
        self.path = hole.path
        self._prefix = hole.before + hole.prefix
        self._suffix = hole.suffix + hole.after
        self._before = _bytes(self._prefix)
        self._after = _bytes(self._suffix)
        self._parsed: Tree | None = None
        self._known: dict[str, int] = {}

    def faults(self, middle: str) -> int:
        """Count how much of the file cannot be read with `middle` in it: places that a parser has to skip,
        weighed by their lines, and what it has to add. Without a grammar: brackets and quotes that do not
        meet. 0 where nobody can tell."""
        if middle not in self._known:
            parser = self._parser()
            self._known[middle] = self._errors(parser, middle) if parser else self.imbalance(middle)
        return self._known[middle]

    @property
    def parsed(self) -> bool:
        """Return whether there is a parser for this file; else a lexer counts brackets."""
        return self._parser() is not None

    def imbalance(self, middle: str) -> int:
        """Count the brackets and quotes that do not meet around the hole, as a lexer counts them that knows
        strings and comments."""
        lexer, fits = _lexer(self.path)
        if lexer is None:
            return 0
        start = max(len(self._prefix) - _LEXED, 0)
        line = self._prefix.rfind("\n", 0, start) + 1  # a lexer that begins within a string misreads the rest
        begin = line if start - line < _LEXED else start
        text = self._prefix[begin:] + middle + self._suffix[:_LEXED]
        return _unbalanced(lexer, text, errors=fits)

    def _parser(self) -> Parser | None:
        if len(self._prefix) + len(self._suffix) > _LARGEST_PARSED:
            return None
        grammar = languages.grammar_of(self.path) if self.path else None
        try:
            return languages.parser(grammar) if grammar else None
        except ImportError:  # no wheel of it for this machine
            return None

    def _errors(self, parser: Parser, middle: str) -> int:
        if self._parsed is None:
            self._parsed = parser.parse(self._before + self._after)
        tree, inserted = copy.copy(self._parsed), _bytes(middle)
        start, end = len(self._before), len(self._before) + len(inserted)
        point = _moved((0, 0), self._before)
        tree.edit(start, start, end, point, point, _moved(point, inserted))
        text = self._before + inserted + self._after
        root = parser.parse(text, tree).root_node
        grammar = languages.grammar_of(self.path)
        count = _faults(root)
        if grammar in _STRAY:
            count += len(_stray(grammar).captures(root).get("stray", ()))
        if not count and grammar == "python":
            # tree-sitter's Python takes a colon without a block, and any indentation; the compiler does not.
            count = int(not _compiles(_around(root, text, start, end)))
        return count


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _moved(point: tuple[int, int], text: bytes) -> tuple[int, int]:
    """Return row and column, in bytes, after `text` that begins at `point`."""
    rows = text.count(b"\n")
    column = len(text) - text.rfind(b"\n") - 1
    return point[0] + rows, column if rows else point[1] + len(text)


def _faults(root: Node) -> int:
    count, nodes = 0, [root]
    while nodes:
        node = nodes.pop()
        if node.is_missing:
            count += 1
        elif node.is_error:
            count += 2 + node.end_point.row - node.start_point.row
        elif node.has_error:
            nodes += node.children
    return count


@cache
def _stray(grammar: str) -> QueryCursor:
    from tree_sitter import Query, QueryCursor

    language = languages.parser(grammar).language
    assert language
    return QueryCursor(Query(language, _STRAY[grammar]))


def _around(root: Node, text: bytes, start: int, end: int) -> str:
    """Return the top-level statements that bytes `start` to `end` lie in, with one more on each side."""
    inside = [
        number
        for number, node in enumerate(root.children)
        if node.end_byte >= start and node.start_byte <= end
    ]
    if not inside:
        return text.decode("utf-8", "replace")
    first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, len(root.children) - 1)
    begins = text.rfind(b"\n", 0, root.children[first].start_byte) + 1
    until = text.find(b"\n", root.children[last].end_byte)
    return text[begins : until if until >= 0 else len(text)].decode("utf-8", "replace")


def _compiles(text: str) -> bool:
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


@lru_cache(maxsize=64)
def _lexer(path: str) -> tuple[Lexer | None, bool]:
    """Return the lexer of a file, and whether it is of its language: most others have the brackets and quotes
    of JavaScript, and much else that is wrong there."""
    from pygments.lexers import find_lexer_class_for_filename, get_lexer_by_name
    from pygments.util import ClassNotFound

    name = PurePath(path).name
    ending = PurePath(path).suffix.lower()
    if ending in _PROSE:
        return None, False
    try:
        if ending in _LEXERS:
            return get_lexer_by_name(_LEXERS[ending]), True
        lexer_class = find_lexer_class_for_filename(name) if name else None
        if lexer_class:
            return lexer_class(), True
        return get_lexer_by_name("javascript"), False
    except ClassNotFound:
        return None, False


def _unbalanced(lexer: Lexer, text: str, *, errors: bool) -> int:
    from pygments.token import Comment, Error, String

    open_brackets: list[str] = []
    extra = wrong = 0
    for _, kind, value in lexer.get_tokens_unprocessed(text):
        if kind in Error:
            wrong += errors
        if kind in Comment or kind in String:
            continue
        for char in value:
            if char in "([{":
                open_brackets.append(char)
            elif char in _PAIRS:
                if open_brackets and open_brackets[-1] == _PAIRS[char]:
                    open_brackets.pop()
                else:
                    extra += 1
    return len(open_brackets) + extra + wrong
