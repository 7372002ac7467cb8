"""An open document as the editor has it: changes applied, positions turned into places in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from qwen_cli.tasks.repository import secret_files

# Lines as the protocol counts them: only these three end one. Python's `splitlines` also breaks at form
# feeds and other separators, and every later position in such a file (GNU's C sources) would be off.
_LINE_END = re.compile(r"\r\n|\n|\r")


# Languages by which editors know files of secrets.
_SECRET_LANGUAGES = frozenset(("dotenv", "env", "netrc", "pem"))


@dataclass
class Document:
    """`cursor` is where something was last done, as far as the protocol tells: an index into `text`.
    `language` is the editor's word for the language, empty if it has none."""

    uri: str
    text: str
    version: int
    language: str = ""
    cursor: int = 0

    @cached_property
    def file(self) -> Path | None:
        """Return the file that the URI names. None for a document that is on no disk."""
        from pygls.uris import to_fs_path

        path = to_fs_path(self.uri) if self.uri.startswith("file:") else None
        return Path(path) if path else None

    @property
    def secret(self) -> bool:
        """Return whether nothing of the document may reach a model: it is a file of secrets, or holds a
        key."""
        return self._secret_by_name or secret_files.holds_key(self.text)

    @cached_property
    def _secret_by_name(self) -> bool:
        if self.file is not None and secret_files.is_secret_file(self.file):
            return True
        # Documents on no disk have paths too: `untitled:/home/ada/.env`, `vscode-remote://…`
        named = unquote(urlsplit(self.uri).path).replace("\\", "/")
        return secret_files.is_secret(named) or self.language.lower() in _SECRET_LANGUAGES


def offset(text: str, line: int, character: int, encoding: str = "utf-16") -> int:
    """Return where a position of the protocol is in `text`, both counted from 0.

    `character` counts code units of `encoding` ("utf-8", "utf-16", "utf-32"). A position past the end of a
    line means its end, one past the last line the end of the text, one inside a character its start.
    """
    start = 0
    for _ in range(line):
        end = _LINE_END.search(text, start)
        if end is None:
            return len(text)
        start = end.end()
    end = _LINE_END.search(text, start)
    return start + _column(text[start : end.start() if end else len(text)], character, encoding)


def _column(line: str, character: int, encoding: str) -> int:
    if encoding == "utf-32" or line.isascii():
        return min(character, len(line))
    seen = 0
    for column, char in enumerate(line):
        seen += units(char, encoding)
        if seen > character:
            return column
    return len(line)


def units(text: str, encoding: str) -> int:
    """Return how many code units a text takes."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) + sum(char > "\uffff" for char in text)
