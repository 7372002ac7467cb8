"""Whether bytes that foreign code calls a picture are one."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_PIXELS = 1 << 26  # what opens in a viewer with 256 MiB; a figure of matplotlib has 300,000


def is_png(data: bytes) -> bool:
    """Return whether `data` is one whole PNG: signature, chunks with their checksums from IHDR to IEND and
    nothing after it, some pixels but not more than a viewer can hold. Pixels are not unpacked."""
    if not data.startswith(_SIGNATURE):
        return False
    kinds: list[bytes] = []
    view, at = memoryview(data), len(_SIGNATURE)
    while at + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view) or zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end], "big"
        ):
            return False
        if not kinds and (kind != b"IHDR" or not _has_pixels(view[at + 8 : end - 4])):
            return False
        kinds.append(kind)
        at = end
        if kind == b"IEND":
            return at == len(view) and b"IDAT" in kinds
    return False


def _has_pixels(header: memoryview) -> bool:
    if len(header) != 13:
        return False
    width, height = struct.unpack_from(">II", header)
    return bool(0 < width * height <= _MOST_PIXELS)
