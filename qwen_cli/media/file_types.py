"""What a file is: by its first bytes, then by what a server calls it, then by its name."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["picture", "pdf", "video"]

HEAD = 4096
"""Bytes that `kind_of` wants to see."""

PICTURE_NAME = re.compile(
    r"\.(apng|avif|bmp|gif|hei[cf]|ico|icns|j2k|jfif|jp2|jpe|jpe?g|p[bgnp]m|png|psd|qoi|tiff?|webp)$",
    re.IGNORECASE,
)
# Not ".ts": more of those files are TypeScript. A transport stream is known by its bytes.
VIDEO_NAME = re.compile(r"\.(3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|vob|webm|wmv)$", re.IGNORECASE)

_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",  # TIFF, little-endian, big-endian, and above 4 GB
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\x00\x00\x00\x0cjP  ",  # JPEG 2000, in a container and bare
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x01\x00",  # ICO
    b"icns",
    b"qoif",
    b"8BPS",  # Photoshop
)
_VIDEOS = (
    b"\x1a\x45\xdf\xa3",  # Matroska and WebM
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG elementary stream
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
)
# BMP has only two bytes of magic; the reserved ones and the size of the next header tell it from text.
_BMP = re.compile(rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}", re.DOTALL)
_PNM = re.compile(rb"P[1-6]\s")

# ISO 14496-12 file types (mp4ra.org), the ones that hold pictures. AVIF is Pillow's, the others libheif's.
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_NEITHER = frozenset({b"M4A ", b"M4B ", b"crx "})  # sound; raw photographs of Canon's cameras
_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # what began a file before `ftyp` did


def kind_of(head: bytes, name: str = "", content_type: str = "") -> Kind | None:
    """Return what a file is whose first `HEAD` bytes are `head`; None where neither they nor its name say."""
    if kind := _by_content(head):
        return kind
    group, _, form = content_type.lower().partition("/")
    if form == "pdf" or name.lower().endswith(".pdf"):
        return "pdf"
    if group == "video" or VIDEO_NAME.search(name):
        return "video"
    return "picture" if group == "image" or PICTURE_NAME.search(name) else None


def is_heif(head: bytes) -> bool:
    """Return whether `head` begins a HEIC or HEIF picture."""
    brands = _brands(head)
    return bool(_HEIF & brands) and not _AVIF & brands


def _by_content(head: bytes) -> Kind | None:
    if head.startswith(_PICTURES) or _BMP.match(head) or _PNM.match(head):
        return "picture"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "picture", b"AVI ": "video"}.get(head[8:12])  # type: ignore[return-value]
    if head.startswith(_VIDEOS) or head[4:8] in _QUICKTIME or _is_transport_stream(head):
        return "video"
    if brands := _brands(head):
        if (_HEIF | _AVIF) & brands:
            return "picture"
        return None if _NEITHER & brands else "video"
    # Within the first 1,024 bytes is where readers of PDF look for it (PDF 1.7, implementation note 13).
    return "pdf" if b"%PDF-" in head[:1024] else None


def _brands(head: bytes) -> set[bytes]:
    """Return the file types that an ISO file says it is of, the major one and those it is compatible with."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _is_transport_stream(head: bytes) -> bool:
    """Recognise MPEG-TS: a 0x47 every 188 bytes, or every 192 after 4 bytes of time (Blu-ray, AVCHD)."""
    return any(
        len(head) > start + 3 * step and all(head[start + n * step] == 0x47 for n in range(4))
        for start, step in ((0, 188), (4, 192))
    )
