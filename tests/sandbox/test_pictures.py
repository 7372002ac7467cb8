"""What counts as a picture: a whole PNG and nothing else."""

from __future__ import annotations

import io
import struct
import zlib

import pytest

from qwen_cli.sandbox.pictures import is_png

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int = 1, height: int = 1) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


PIXEL = chunk(b"IDAT", zlib.compress(b"\0\0"))
WHOLE = SIGNATURE + header() + PIXEL + chunk(b"IEND")


def test_a_whole_png_is_one() -> None:
    assert is_png(WHOLE)
    assert is_png(SIGNATURE + header() + chunk(b"tEXt", b"a\0b") + PIXEL + PIXEL + chunk(b"IEND"))


def test_what_matplotlib_and_pillow_write_is_one() -> None:
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (640, 480), "red").save(file, "PNG")
    assert is_png(file.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"FORGED",
        SIGNATURE,
        SIGNATURE + b"<script>alert(1)</script>",
        WHOLE[:-1],
        WHOLE + b"\n",
        WHOLE + b"<?php evil(); ?>",
        WHOLE[:40] + b"X" + WHOLE[41:],
        SIGNATURE + PIXEL + chunk(b"IEND"),
        SIGNATURE + header() + chunk(b"IEND"),
        SIGNATURE + header(0, 5) + PIXEL + chunk(b"IEND"),
        SIGNATURE + header(1 << 31, 1 << 31) + PIXEL + chunk(b"IEND"),
        SIGNATURE + header(20_000, 20_000) + PIXEL + chunk(b"IEND"),
        SIGNATURE + chunk(b"IHDR", b"short") + PIXEL + chunk(b"IEND"),
        SIGNATURE + struct.pack(">I", 1 << 31) + b"IHDR",
        b"\xff\xd8\xff\xe0JFIF",
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    assert not is_png(data)
