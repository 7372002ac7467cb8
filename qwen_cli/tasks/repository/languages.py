"""Which language a file is written in, and the tree-sitter grammar for it."""

from __future__ import annotations

from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Parser

_BY_SUFFIX = {
    ".py": "python",
    ".pyi": "python",
    ".c": "c",
    ".h": "cpp",  # read as C++: its grammar takes C headers as well, C's fails on classes
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hh": "cpp",
    ".hpp": "cpp",
    ".hxx": "cpp",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
}

# Grammars that tell right text from wrong, for languages whose definitions are found by plain rules.
_READ_ONLY = {
    ".sh": "bash",
    ".bash": "bash",
    ".css": "css",
    ".html": "html",
    ".htm": "html",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".rb": "ruby",
    ".rake": "ruby",
    ".gemspec": "ruby",
    ".php": "php",
    ".kt": "kotlin",
    ".kts": "kotlin",
    ".lua": "lua",
    ".mk": "make",
    ".cs": "c_sharp",
    ".swift": "swift",
    ".scala": "scala",
    ".sbt": "scala",
}
_READ_ONLY_NAMES = {"makefile": "make", "gnumakefile": "make", "rakefile": "ruby", "gemfile": "ruby"}

# Source files without a grammar here: their definitions are found by plain rules.
# fmt: off
_PLAIN = frozenset((
    ".rb", ".php", ".swift", ".kt", ".kts", ".scala", ".cs", ".m", ".mm", ".lua", ".sh", ".bash",
    ".zsh", ".pl", ".pm", ".r", ".jl", ".ex", ".exs", ".erl", ".hs", ".ml", ".mli", ".dart", ".zig",
    ".nim", ".v", ".sv", ".vhd", ".f90", ".sql", ".vue", ".svelte", ".cu", ".cuh", ".metal",
    ".proto", ".groovy", ".clj", ".el", ".vim", ".ps1",
))
# fmt: on


def language_of(path: str | PurePath) -> str | None:
    """Return the name of the grammar for this file: "python", "c", "cpp", "javascript", "typescript", "tsx",
    "go", "rust", "java". None where there is none."""
    return _BY_SUFFIX.get(_suffix(path))


def grammar_of(path: str | PurePath) -> str | None:
    """Return the name of the grammar that can read this file, of more languages than `language_of` knows.
    None where there is none."""
    suffix = _suffix(path)
    name = PurePath(path).name.lower()
    return _BY_SUFFIX.get(suffix) or _READ_ONLY.get(suffix) or _READ_ONLY_NAMES.get(name)


def is_source(path: str | PurePath) -> bool:
    """Return whether a file of this name holds program text."""
    suffix = _suffix(path)
    return suffix in _BY_SUFFIX or suffix in _PLAIN


def _suffix(path: str | PurePath) -> str:
    # Asked for every file of a repository: a `PurePath` for each would take longer than the rest of the look.
    _, dot, ending = str(path).rpartition(".")
    return dot + ending.lower()


@cache
def parser(language: str) -> Parser:
    """Return a parser for one of the names that `grammar_of` returns. Not to be used by two threads at
    once."""
    # 20 ms and a shared library for each grammar: nothing outside code completion needs them
    import importlib

    from tree_sitter import Language, Parser

    package = "typescript" if language == "tsx" else language
    grammar = importlib.import_module(f"tree_sitter_{package}")
    name = f"language_{language}" if hasattr(grammar, f"language_{language}") else "language"
    return Parser(Language(getattr(grammar, name)()))
