"""Pages of a PDF as pictures."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from qwen_cli.errors import UsageError
from qwen_cli.media import io, limits
from qwen_cli.media.smart_resize import MAX_RATIO, MAX_TOKENS
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 200
"""Dots per inch of a page, what scanners use for text. A4 has 1,654 × 2,339 and costs 3,800 tokens of 32²."""

LARGEST = MAX_TOKENS * 32 * 32
"""Pixels of a page; a poster gets fewer dots per inch. No model of the family sees more of a picture."""

_POINT = 72  # PDF 32000-1, 8.3.2.3: units of a page in an inch
_PART = re.compile(r"\s*([0-9]{1,9})\s*(?:(-)\s*([0-9]{1,9})?\s*)?")

_ONE = threading.Lock()  # PDFium is for one thread at a time


def pages(source: bytes | Path, selection: str | None, name: str) -> list[tuple[int, Image]]:
    """Return (number, picture) of the chosen pages of a PDF, all of them by default, in the order of
    `selection`.

    `selection` is "2", "1-3" or "1,4-", counted from 1. Raises `UsageError` for a PDF that is broken or
    locked, for pages that are not there, and for more than 64 at once.
    """
    with _opened(source, name) as document:
        return _rendered(document, selection, clean_name(name))


def pixels(source: bytes | Path, selection: str | None, name: str) -> int:
    """Return the pixels of all the pages that `pages` would give; nothing is drawn. Raises `UsageError` as it
    does."""
    with _opened(source, name) as document:
        return sum(wide * high for _, _, (wide, high) in _sizes(document, selection, clean_name(name)))


def texts(source: bytes | Path, selection: str | None, name: str) -> list[tuple[int, str]]:
    """Return (number, text) of the chosen pages, "" for one that has no text layer: a scan, a drawing. Raises
    `UsageError` as `pages` does."""
    label = clean_name(name)
    read = []
    with _opened(source, name) as document:
        for number in chosen(selection, len(document), label):
            with _whole(number, label):
                page = document[number - 1]
                layer = page.get_textpage()
                # PDFium writes U+FFFE for a hyphen that a line break made.
                read.append((number, layer.get_text_range().replace("\r\n", "\n").replace("\ufffe", "")))
                layer.close()
                page.close()
    return [(number, text.strip()) for number, text in read]


@contextmanager
def _opened(source: bytes | Path, name: str) -> Iterator[Any]:
    """Open the document, for one thread at a time. Raises `UsageError`."""
    from pypdfium2 import PdfDocument, PdfiumError

    label = clean_name(name)
    opened = nullcontext(BytesIO(source)) if isinstance(source, bytes) else io.opened(source)
    with opened as file, _ONE:
        _not_empty(file, label)
        try:
            document = PdfDocument(file)
        except PdfiumError as error:
            if "password" in str(error).lower():  # before 5.0 the text is all it says
                raise UsageError(
                    f"{label} is locked with a password", "save it without one: `qpdf --decrypt`"
                ) from None
            raise UsageError(f"{label} is a broken PDF ({error})", "get a whole copy of it") from None
        with document:
            yield document


def _sizes(document: Any, selection: str | None, label: str) -> list[tuple[int, float, tuple[int, int]]]:
    """Return (number, scale, size of its picture) of the chosen pages."""
    selected = []
    for number in chosen(selection, len(document), label):
        with _whole(number, label):
            wide, high = document.get_page_size(number - 1)
        selected.append((number, *_scale(wide, high, f"page {number} of {label}")))
    sizes = [size for _, _, size in selected]
    limits.for_pages(sizes, label, f"choose some, as in `{label}#1-{limits.MOST_PAGES}`")
    return selected


def _rendered(document: Any, selection: str | None, label: str) -> list[tuple[int, Image]]:
    sizes = _sizes(document, selection, label)
    rendered = []
    with _whole(sizes[0][0], label):
        document.init_forms()  # or what was filled in does not show
    for number, scale, _ in sizes:
        with _whole(number, label):
            page = document[number - 1]
            rendered.append((number, page.render(scale=scale).to_pil()))
            page.close()
    return rendered


@contextmanager
def _whole(number: int, label: str) -> Iterator[None]:
    from pypdfium2 import PdfiumError

    try:
        yield
    except PdfiumError as error:
        raise UsageError(f"page {number} of {label} is broken ({error})", "choose the others") from None


def chosen(selection: str | None, count: int, label: str) -> list[int]:
    """Return the page numbers, from 1, that `selection` names of `count` pages. Raises `UsageError`."""
    numbers: list[int] = []
    for part in ["1-"] if selection is None else selection.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise UsageError(f"{clean_name(selection or '')!r} chooses no pages of {label}", _HOW)
        first = int(match[1])
        last = first if not match[2] else int(match[3]) if match[3] else max(first, count)
        if first > last:
            raise UsageError(f"pages {first}-{last} of {label} run backwards", f"write {last}-{first}")
        for number in (first, last):
            if not 1 <= number <= count:
                has = "1 page" if count == 1 else f"{count:,} pages"
                raise UsageError(f"{label} has {has}, there is no page {number:,}", _HOW)
        numbers += range(first, last + 1)
    return list(dict.fromkeys(numbers))


_HOW = "choose as in `#2`, `#1-3` or `#1,4-`, counted from 1"


def _scale(wide: float, high: float, label: str) -> tuple[float, tuple[int, int]]:
    """Return the pixels for a unit of a page, and the size of its picture. Raises `UsageError` for impossible
    pages."""
    if not (0 < wide < math.inf and 0 < high < math.inf):
        raise UsageError(f"{label} has no size ({wide:g} × {high:g})", "choose the others")
    if max(wide, high) > MAX_RATIO * min(wide, high):
        raise UsageError(f"{label} is more than {MAX_RATIO} times as long as wide", "choose the others")
    scale = min(DPI / _POINT, math.sqrt(LARGEST / (wide * high)))
    return scale, (math.ceil(wide * scale), math.ceil(high * scale))


def _not_empty(file: BinaryIO, label: str) -> None:
    if not file.read(1):
        raise UsageError(f"{label} is empty (0 bytes)", "give another file")
    file.seek(0)
