"""Files that code is filled into: where the hole is, and what the file becomes.

A file is read as bytes and written as bytes: what is not the middle stays as it was, whatever its newlines,
byte order mark or last line.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from qwen_cli import reading
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.fim.prompt import Hole

# As a text may be marked at its start (RFC 3629, RFC 2781). The 32-bit marks come first: theirs begin with
# the 16-bit one.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Source:
    """A text with a place in it. `text` is decoded, with the newlines of the file; `at` counts characters.

    `marker` characters at `at` are not part of the file any more. `data` is what was read, byte for byte.
    """

    text: str
    at: int = 0
    marker: int = 0
    path: Path | None = None
    data: bytes = b""
    encoding: str = "utf-8"
    bom: bytes = b""

    @property
    def newline(self) -> str:
        """Return the file's line end: the one that most lines have."""
        crlf = self.text.count("\r\n")
        lf = self.text.count("\n") - crlf
        cr = self.text.count("\r") - crlf
        return "\r\n" if crlf > max(lf, cr) else "\r" if cr > max(lf, crlf) else "\n"

    @property
    def before(self) -> str:
        return self.text[: self.at]

    @property
    def after(self) -> str:
        return self.text[self.at + self.marker :]

    def hole(self, name: str = "") -> Hole:
        """Return the hole as the model sees it: with `\\n` newlines. `name` is the path it is known by."""
        return Hole(_plain(self.before), _plain(self.after), name)

    def inserted(self, middle: str) -> str:
        """Return `middle` with this file's newlines."""
        return middle.replace("\n", self.newline)

    def filled(self, middle: str) -> str:
        """Return the whole text with `middle` in its place."""
        return self.before + self.inserted(middle) + self.after


def read(path: Path) -> Source:
    """Return the text of a file. Raises `UsageError` for what is no readable text."""
    try:
        data = reading.read(path)
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder", "give a file") from None
    except FileNotFoundError:
        raise UsageError(f"no file at {path}", "check the name") from None
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror}", reading.advice(fault)) from None
    return replace(decoded(data, str(path)), path=path)


def decoded(data: bytes, name: str) -> Source:
    """Decode `data`: UTF-8, or what its byte order mark says. Raises `UsageError` naming `name`."""
    marked = (known for known in _MARKS if data.startswith(known[0]))
    bom, encoding = next(marked, (b"", "utf-8"))
    try:
        text = data[len(bom) :].decode(encoding)
    except UnicodeDecodeError as fault:
        raise UsageError(
            f"{name} is not text: byte {fault.start + len(bom):,} is not {encoding.upper()}"
        ) from None
    if "\0" in text:
        raise UsageError(f"{name} is not text: it has a null byte", "give a source file")
    return Source(text, data=data, encoding=encoding, bom=bom)


def at_position(source: Source, position: str) -> Source:
    """Return `source` with the cursor at LINE[:COL], both from 1; without COL at the end of the line.

    A column is a character, one past the last being the end of the line. Raises `UsageError`.
    """
    parsed = re.fullmatch(r"(\d+)(?::(\d+))?", position.strip())
    if not parsed or int(parsed[1]) < 1 or (parsed[2] and int(parsed[2]) < 1):
        raise UsageError(f"`at` takes LINE or LINE:COL counted from 1, got {position!r}")
    name = source.path or "the text"
    line = int(parsed[1])
    ends = [match.end() for match in re.finditer(r"\r\n|\n|\r", source.text)]
    starts = [0, *ends]
    if line > len(starts):
        lines = len(starts) - (source.text.endswith(("\n", "\r")) or not source.text)
        raise UsageError(
            f"{name} has {lines:,} line{'' if lines == 1 else 's'}, `at` asks for line {line:,}",
            "count from 1",
        )
    start = starts[line - 1]
    length = len(re.split(r"\r\n|\n|\r", source.text[start:], maxsplit=1)[0])
    column = int(parsed[2]) if parsed[2] else length + 1
    if column > length + 1:
        raise UsageError(
            f"line {line:,} of {name} has {length:,} characters, `at` asks for column {column:,}",
            f"the last is {length + 1:,}, the end of the line",
        )
    if _splits_character(source.text, start + column - 1):
        raise UsageError(
            f"column {column:,} of line {line:,} is inside of a character that is made of several",
            "move it by one",
        )
    return replace(source, at=start + column - 1, marker=0)


def at_marker(source: Source, marker: str) -> Source:
    """Return `source` with the cursor where `marker` stands, once. Raises `UsageError`."""
    name = source.path or "the text"
    if not marker:
        raise UsageError("the marker is empty", "give `marker` some text")
    count = source.text.count(marker)
    if count != 1:
        says = f"has no {marker}" if not count else f"has {marker} {count:,} times"
        raise UsageError(
            f"{name} {says}", "put it once where code is missing, or say where with `at=LINE:COL`"
        )
    return replace(source, at=source.text.index(marker), marker=len(marker))


def write(source: Source, middle: str) -> None:
    """Put `middle` into the file of `source`, at once or not at all: mode, encoding and newlines stay.

    Raises `QwenError` where the file is another than was read, or cannot be written.
    """
    replace_text(source, source.filled(middle))


def replace_text(source: Source, text: str) -> None:
    """Make `text` what the file of `source` holds, at once or not at all: mode and encoding stay.

    Raises `QwenError` where the file is another than was read, or cannot be written.
    """
    assert source.path is not None
    path = source.path.resolve()  # through a link to the file itself
    try:
        data = source.bom + text.encode(source.encoding)
    except UnicodeEncodeError as fault:
        bad = fault.object[fault.start]
        raise QwenError(f"{source.path} is {source.encoding.upper()}, which has no {bad!r}") from None
    draft: str | None = None
    try:
        if path.read_bytes() != source.data:
            raise QwenError(f"{source.path} changed meanwhile", "nothing was written; run it again")
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
        kept = path.stat()
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".qwen")
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        _like(Path(draft), kept)
        if path.read_bytes() != source.data:
            raise QwenError(f"{source.path} changed meanwhile", "nothing was written; run it again")
        Path(draft).replace(path)
        draft = None
    except OSError as fault:
        full = fault.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space; it is as it was" if full else "check its permissions"
        raise QwenError(f"cannot write {source.path}: {fault.strerror}", hint) from None
    finally:
        if draft:
            Path(draft).unlink(missing_ok=True)


def _like(draft: Path, kept: os.stat_result) -> None:
    draft.chmod(stat.S_IMODE(kept.st_mode))
    if hasattr(os, "chown") and os.geteuid() == 0:
        os.chown(draft, kept.st_uid, kept.st_gid)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _splits_character(text: str, at: int) -> bool:
    """Return whether `at` is between a base character and what belongs to it: accents, joiners, half a line
    end."""
    import unicodedata

    if not 0 < at < len(text):
        return False
    here, before = text[at], text[at - 1]
    return bool(unicodedata.combining(here)) or here in "\u200d\ufe0e\ufe0f" or before == "\u200d"
