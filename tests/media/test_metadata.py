"""Picture files as servers are sent them: the same picture, and nothing else."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms
from PIL.PngImagePlugin import PngInfo

from qwen_cli.media.metadata import Form, stripped

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SECRET = b"48 deg 51 min north"


def picture() -> Image.Image:
    return Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 40).convert("RGB")


def saved(form: str, **settings: object) -> bytes:
    written = BytesIO()
    picture().save(written, form, **settings)
    return written.getvalue()


def exif() -> Image.Exif:
    about = Image.Exif()
    about[0x010E] = SECRET.decode()  # ImageDescription
    about.get_ifd(0x8825)[1] = "N"  # GPS
    return about


def same(one: bytes, other: bytes) -> bool:
    first, second = (Image.open(BytesIO(data)).convert("RGB") for data in (one, other))
    return ImageChops.difference(first, second).getbbox() is None


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("jpeg", saved("JPEG")),
        ("jpeg", saved("JPEG", progressive=True)),
        ("jpeg", saved("JPEG", icc_profile=SRGB)),
        ("png", saved("PNG")),
        ("webp", saved("WEBP")),
        ("webp", saved("WEBP", lossless=True)),
    ],
)
def test_a_file_without_metadata_is_sent_as_it_is(form: Form, data: bytes) -> None:
    assert stripped(data, form) is data


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("jpeg", saved("JPEG", exif=exif())),
        ("jpeg", saved("JPEG", comment=SECRET)),
        ("jpeg", saved("JPEG", xmp=b"<x:xmpmeta>" + SECRET)),
        ("jpeg", saved("JPEG", exif=exif(), progressive=True)),
        ("jpeg", saved("JPEG") + b"....ftypmp42" + SECRET),  # a phone's moving photograph
        ("png", saved("PNG", exif=exif())),
        ("png", saved("PNG") + SECRET),
        ("webp", saved("WEBP", exif=exif())),
        ("webp", saved("WEBP", lossless=True, xmp=SECRET)),
    ],
)
def test_nothing_but_the_picture_is_sent(form: Form, data: bytes) -> None:
    assert SECRET in data
    kept = stripped(data, form)
    assert kept is not None and len(kept) < len(data)
    assert SECRET not in kept
    assert not Image.open(BytesIO(kept)).getexif()
    assert same(kept, data)


def test_what_is_written_into_a_png_is_not_sent() -> None:
    about = PngInfo()
    about.add_text("parameters", SECRET.decode())
    about.add_itxt("prompt", SECRET.decode(), zip=True)
    kept = stripped(saved("PNG", pnginfo=about), "png")
    assert kept == saved("PNG")


def test_a_thumbnail_in_the_header_of_a_jpeg_is_not_sent() -> None:
    plain = saved("JPEG")
    length = int.from_bytes(plain[4:6], "big")
    header = plain[6 : 4 + length - 2] + bytes([2, 1]) + b"SECRET"  # 2 × 1 pixels
    data = plain[:4] + (len(header) + 2).to_bytes(2, "big") + header + plain[4 + length :]
    assert stripped(data, "jpeg") == plain


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("jpeg", saved("JPEG")[:-2]),
        ("jpeg", saved("JPEG")[:30]),
        ("jpeg", b"\xff\xd8\x00"),
        ("png", saved("PNG")[:-4]),
        ("png", saved("JPEG")),
        ("webp", saved("WEBP")[:40]),
        ("webp", b"RIFF\x04\0\0\0WEBP"),
        ("jpeg", b""),
    ],
)
def test_what_is_not_built_so_is_not_sent(form: Form, data: bytes) -> None:
    assert stripped(data, form) is None


@given(st.sampled_from(["jpeg", "png", "webp"]), st.binary(max_size=400), st.integers(0, 2**32))
def test_any_bytes_are_read_without_a_fault(form: Form, noise: bytes, at: int) -> None:
    whole = saved({"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}[form])
    place = at % len(whole)
    kept = stripped(whole[:place] + noise + whole[place:], form)
    assert kept is None or len(kept) <= len(whole) + len(noise) + 2
