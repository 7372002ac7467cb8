"""Text files that a question is about: read whole or refused, laid out so that nothing in them ends them."""

from __future__ import annotations

import codecs
import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

from qwen_cli import reading
from qwen_cli.errors import UsageError
from qwen_cli.media import io as media_io
from qwen_cli.sanitize import clean_name

LARGEST = 8 << 20
"""Bytes. More than the longest context of the family holds (1M tokens, about 4 bytes each)."""

# Byte order marks; UTF-32's little-endian one begins with UTF-16's, so it is looked at first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Code fence tags where they differ from the suffix.
_LANGUAGES = {
    "": "",
    "bash": "bash",
    "cc": "cpp",
    "cs": "csharp",
    "cxx": "cpp",
    "h": "c",
    "hpp": "cpp",
    "htm": "html",
    "jl": "julia",
    "js": "javascript",
    "kt": "kotlin",
    "log": "",
    "markdown": "markdown",
    "md": "markdown",
    "mjs": "javascript",
    "pl": "perl",
    "ps1": "powershell",
    "py": "python",
    "pyi": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "bash",
    "tex": "latex",
    "ts": "typescript",
    "txt": "",
    "yml": "yaml",
    "zsh": "bash",
}
_NAMES = {"dockerfile": "dockerfile", "makefile": "makefile", "cmakelists.txt": "cmake"}


def read_text(path: Path | str) -> str:
    """Return the text of a file ("-" is standard input), UTF-8 or with a UTF-16/32 byte order mark.

    Other encodings are refused rather than guessed: a wrong guess would be silent nonsense in the prompt.
    Line ends become "\\n". Raises `UsageError` for what is missing, a folder, unreadable, binary or
    above 8 MB.
    """
    label = "standard input" if str(path) == "-" else clean_name(str(path))
    data = _bytes(path, label)
    if len(data) > LARGEST:
        raise _too_large(label)
    mark, encoding = next((known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if b"\x00" in data:
            raise _binary(label) from error
        raise UsageError(
            f"{label} is not UTF-8 text (byte {error.start:,} is 0x{data[error.start]:02x})",
            "convert it, as with `iconv -f ENCODING -t UTF-8`",
        ) from error
    if "\x00" in text:
        raise _binary(label)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def as_prompt(files: Sequence[tuple[str, str]], question: str) -> str:
    """Return each file as a named code block, then the question.

    The files come first: another question about them finds them in the KV cache.
    """
    blocks = [f"{_heading(name)}{fenced(text, language(name))}" for name, text in files]
    return "\n\n".join([*blocks, question] if question.strip() else blocks)


def fenced(text: str, tag: str = "") -> str:
    """Return `text` in a code block that nothing in it can end: its fence is longer than any run of
    backticks."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{tag}\n{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{fence}"


def language(name: str) -> str:
    """Return the code fence's tag for a file of this name, "" for prose."""
    path = PurePath(name)
    if path.name.lower() in _NAMES:
        return _NAMES[path.name.lower()]
    suffix = path.suffix[1:].lower()
    return _LANGUAGES.get(suffix, suffix if re.fullmatch(r"[a-z0-9+#]{1,12}", suffix) else "")


def _heading(name: str) -> str:
    return f"`{clean_name(name).replace('`', '?')}`:\n" if name else ""


def _bytes(path: Path | str, label: str) -> bytes:
    """Read at most one byte more than may be sent, so that an endless device ends too."""
    with media_io.faults(label):
        if str(path) == "-":
            source: BinaryIO | None = getattr(sys.stdin, "buffer", None)
            if source is None:
                raise UsageError("standard input is closed", "give a file name")
            return source.read(LARGEST + 1)
        try:
            return reading.read(path, LARGEST)
        except OSError as fault:
            if fault.errno == errno.EFBIG:
                raise _too_large(label) from None
            raise


def _too_large(label: str) -> UsageError:
    return UsageError(
        f"{label} is larger than {LARGEST >> 20} MB, more than any context holds", "send a part of it"
    )


def _binary(label: str) -> UsageError:
    return UsageError(f"{label} is a binary file, not text", "convert it to text first")
