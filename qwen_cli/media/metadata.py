"""Picture files without what they tell beside the picture: places, times, names, thumbnails.

The compressed picture stays as it is, byte for byte. What follows its end goes too: cameras append films and
second pictures there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

Form: TypeAlias = Literal["jpeg", "png", "webp"]

# JPEG (ITU-T T.81, B.1.1.3): end of the picture, start of a scan, comments, segments of applications.
_END, _SCAN, _COMMENT = 0xD9, 0xDA, 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
_JFIF, _ICC, _ADOBE = 0xE0, 0xE2, 0xEE  # APP0; APP2 (also MPF, which holds pictures); APP14, colours' meaning
_JFIF_HEADER = 14  # bytes before its thumbnail
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)

# PNG (W3C, third edition, 5.6): what a picture's pixels and colours need.
_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNKS = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"iCCP", b"sBIT", b"cICP"}
)


def stripped(data: bytes, form: Form) -> bytes | None:
    """Return a picture file without its metadata, `data` itself where it has none; None where it is not built
    as its form says: then nobody knows what is in it."""
    without = {"jpeg": _jpeg, "png": _png, "webp": _webp}[form]
    try:
        kept = b"".join(without(data))
    except (IndexError, ValueError):
        return None
    return data if kept == data else kept


def _jpeg(data: bytes) -> Iterator[bytes]:
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("no JPEG")
    yield data[:2]
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        while data[at + 1] == 0xFF:  # bytes that fill
            at += 1
        marker = data[at + 1]
        if marker == _END:
            yield b"\xff\xd9"
            return
        length = int.from_bytes(_exactly(data, at + 2, 2), "big")
        segment, end = _exactly(data, at, length + 2), at + 2 + length
        yield _kept(marker, segment)
        if marker == _SCAN:
            following = _NEXT_MARKER.search(data, end)
            if following is None:
                raise ValueError("no end")
            yield data[end : following.start()]
            end = following.start()
        at = end


def _kept(marker: int, segment: bytes) -> bytes:
    """Return what stays of a segment, which begins with its marker and length."""
    content = segment[4:]
    if marker == _JFIF and content.startswith(b"JFIF\0") and len(content) >= _JFIF_HEADER:
        if len(content) == _JFIF_HEADER:
            return segment
        return segment[:2] + (_JFIF_HEADER + 2).to_bytes(2, "big") + content[: _JFIF_HEADER - 2] + b"\0\0"
    if (marker == _ICC and content.startswith(b"ICC_PROFILE\0")) or (
        marker == _ADOBE and content.startswith(b"Adobe")
    ):
        return segment
    return b"" if marker in _APPLICATIONS or marker == _COMMENT else segment


def _png(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_PNG):
        raise ValueError("no PNG")
    yield _PNG
    at = len(_PNG)
    while True:
        length, name = int.from_bytes(_exactly(data, at, 4), "big"), _exactly(data, at + 4, 4)
        chunk = _exactly(data, at, length + 12)
        if name in _CHUNKS:
            yield chunk
        if name == b"IEND":
            return
        at += len(chunk)


def _webp(data: bytes) -> Iterator[bytes]:
    """Yield the file with its one picture alone: the simple layout of WebP's container specification."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("no WebP")
    at = 12
    while True:
        name, length = _exactly(data, at, 4), int.from_bytes(_exactly(data, at + 4, 4), "little")
        chunk = _exactly(data, at, 8 + length) + b"\0" * (length % 2)
        if name in (b"VP8 ", b"VP8L"):
            yield b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
            return
        at += len(chunk)


def _exactly(data: bytes, start: int, length: int) -> bytes:
    part = data[start : start + length]
    if len(part) != length or not part:
        raise ValueError("cut off")
    return part
