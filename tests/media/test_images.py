"""Pictures as a model sees them."""

from __future__ import annotations

import re
import struct
import sys
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageChops, features

from qwen_cli import install_hint
from qwen_cli.errors import UsageError
from qwen_cli.media import images, limits
from qwen_cli.media.images import Encoded, decode, frames, load, pages, stills

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
ORIENTATION = 0x0112
AVIF = pytest.param(
    "AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    written = BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """The same greys each time: what is cut off a JPEG depends on its last bits."""
    values = numpy.random.default_rng(seed).normal(128, 90, (height, width)).clip(0, 255)
    return Image.fromarray(values.astype(numpy.uint8)).convert("RGB")


def held(way: int) -> Image.Exif:
    """Metadata that say how the camera was held."""
    about = Image.Exif()
    about[ORIENTATION] = way
    return about


def corners(image: Image.Image) -> list[str]:
    """The colours of the four corners, clockwise from the upper left."""
    wide, high = image.width - 1, image.height - 1
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    seen = [image.getpixel(at) for at in ((0, 0), (wide, 0), (wide, high), (0, high))]
    return [names[tuple(round(value / 255) for value in pixel)] for pixel in seen]  # type: ignore[union-attr]


def four_corners() -> Image.Image:
    """Red, green, blue and white quarters, wider than high."""
    image = Image.new("RGB", (96, 64))
    for colour, at in ((RED, (0, 0)), (GREEN, (48, 0)), (BLUE, (48, 32)), (WHITE, (0, 32))):
        image.paste(colour, (*at, at[0] + 48, at[1] + 32))
    return image


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that claims a size, with no pixels but those in `more`."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", AVIF]
)
def test_the_usual_formats_are_read_by_content(tmp_path: Path, form: str) -> None:
    file = tmp_path / "picture.dat"
    file.write_bytes(saved(four_corners().resize((96, 96)), form))

    seen = load(file)

    assert (seen.mode, corners(seen)) == ("RGB", ["red", "green", "blue", "white"])


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (1, "red green blue white"),
        (2, "green red white blue"),
        (3, "blue white red green"),
        (4, "white blue green red"),
        (5, "red white blue green"),
        (6, "white red green blue"),
        (7, "blue green red white"),
        (8, "green blue white red"),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photograph_stands_as_the_camera_was_held(form: str, turn: int, expected: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn

    seen = decode(saved(four_corners(), form, exif=exif), "photo")

    assert corners(seen) == expected.split()
    assert seen.size == ((64, 96) if turn > 4 else (96, 64))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_nonsense_in_its_metadata_does_not_lose_a_picture(exif: bytes) -> None:
    assert corners(decode(saved(four_corners(), "JPEG", exif=exif), "photo")) == [
        "red",
        "green",
        "blue",
        "white",
    ]


def test_a_camera_that_writes_nonsense_still_says_how_it_was_held() -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = 6, "a camera"
    # Its name becomes the width of the picture, as text: Pillow reads that and cannot write it again.
    data = exif.tobytes().replace(struct.pack(">HH", 0x010F, 2), struct.pack(">HH", 0x0100, 2))

    assert corners(decode(saved(four_corners(), "JPEG", exif=data), "photo")) == [
        "white",
        "red",
        "green",
        "blue",
    ]


def test_where_a_picture_was_taken_is_forgotten() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"

    seen = decode(saved(four_corners(), "JPEG", exif=exif, icc_profile=b"profile", comment=b"mine"), "photo")

    assert not seen.info and not seen.getexif()


def _palette() -> Image.Image:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    return image


def _pixels(mode: str, *values: Any) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    for at, value in enumerate(values):
        image.putpixel((at, 0), value)
    return image


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            saved(_pixels("RGBA", (255, 0, 0, 0), (255, 0, 0, 255))), [WHITE, RED], id="transparent"
        ),
        pytest.param(saved(_pixels("RGBA", (0, 0, 0, 128), (0, 0, 0, 0))), [(127,) * 3, WHITE], id="half"),
        pytest.param(saved(_pixels("LA", (0, 0), (90, 255))), [WHITE, (90,) * 3], id="grey and alpha"),
        pytest.param(saved(_pixels("RGB", RED, GREEN), transparency=RED), [WHITE, GREEN], id="a key colour"),
        pytest.param(saved(_palette()), [RED, GREEN], id="palette"),
        pytest.param(saved(_palette(), transparency=0), [WHITE, GREEN], id="transparent palette"),
        pytest.param(saved(_palette(), "GIF", transparency=1), [RED, WHITE], id="transparent GIF"),
        pytest.param(
            saved(_palette(), transparency=b"\x80\xff"), [(255, 127, 127), GREEN], id="half palette"
        ),
        pytest.param(saved(_pixels("1", 0, 1)), [BLACK, WHITE], id="1 bit"),
        pytest.param(saved(_pixels("L", 7, 250)), [(7,) * 3, (250,) * 3], id="grey"),
        pytest.param(saved(_pixels("CMYK", (0, 255, 255, 0), (0, 0, 0, 0)), "TIFF"), [RED, WHITE], id="CMYK"),
        pytest.param(saved(_pixels("I;16", 65535, 32896)), [WHITE, (128,) * 3], id="16 bits, PNG"),
        pytest.param(saved(_pixels("I;16", 257, 32896), "TIFF"), [(1,) * 3, (128,) * 3], id="16 bits, TIFF"),
        pytest.param(
            saved(_pixels("I;16B", 0, 32896), "TIFF"), [BLACK, (128,) * 3], id="16 bits, big-endian"
        ),
        pytest.param(saved(_pixels("I", 0, 32896), "PPM"), [BLACK, (128,) * 3], id="16 bits, PGM"),
        pytest.param(saved(_pixels("I", -1000, 1000), "TIFF"), [BLACK, WHITE], id="32 bits, stretched"),
        pytest.param(saved(_pixels("F", 0.0, 0.5), "TIFF"), [BLACK, (128,) * 3], id="floats to 1"),
        pytest.param(saved(_pixels("F", 0.0, 128.0), "TIFF"), [BLACK, (128,) * 3], id="floats to 255"),
        pytest.param(saved(_pixels("F", -4.0, 900.0), "TIFF"), [BLACK, WHITE], id="floats, stretched"),
        pytest.param(saved(_pixels("F", 3e9, 3e9), "TIFF"), [BLACK, BLACK], id="floats, all alike"),
    ],
)
def test_every_mode_becomes_rgb_over_white(data: bytes, expected: list[tuple[int, ...]]) -> None:
    seen = decode(data, "picture")

    assert seen.mode == "RGB"
    assert [seen.getpixel((x, 0)) for x in range(seen.width)] == expected


def test_twelve_bits_in_sixteen_are_not_near_black() -> None:
    # 4 pixels of 12 bits: black, white, white, half. Tags: width, height, bits, compression, grey, strip.
    strip = bytes.fromhex("000ffffff800")
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (278, 1), (279, len(strip))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 3, 1, n) for tag, n in tags)
    data = b"II*\0" + struct.pack("<I", 14) + strip + directory + bytes(4)

    seen = decode(data, "scan.tif")

    assert [seen.getpixel((x, 0)) for x in range(4)] == [BLACK, WHITE, WHITE, (128,) * 3]


def test_one_pixel_is_a_picture() -> None:
    assert decode(saved(Image.new("RGB", (1, 1), RED)), "dot").size == (1, 1)


@pytest.mark.parametrize(
    "form", ["PNG", "JPEG", "progressive", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", AVIF]
)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_half_a_picture_is_refused(form: str, part: float) -> None:
    whole = (
        saved(noise(120, 90), "JPEG", progressive=True)
        if form == "progressive"
        else saved(noise(120, 90), form)
    )

    with pytest.raises(UsageError, match=r"half\.dat is (damaged or cut off|not a whole picture)") as error:
        decode(whole[: int(len(whole) * part)], "half.dat")
    assert "\n" not in str(error.value)


class TestCutJpegs:
    """A camera or a download that stopped early."""

    # Of the second and third, which end 80 3f and 00 7f, the decoder does not say that nothing follows.
    @pytest.mark.parametrize("seed", [0, 9, 20])
    @pytest.mark.parametrize("progressive", [False, True])
    @pytest.mark.parametrize("end", [b"", b"\xff", b"\0" * 64])
    def test_without_its_end_it_is_whole(self, progressive: bool, end: bytes, seed: int) -> None:
        whole = saved(noise(120, 90, seed), "JPEG", progressive=progressive)
        (seen,) = stills(whole[:-2] + end, "photo.jpg")
        assert (seen.remark, seen.whole) == ("photo.jpg lacks its last bytes, the picture is whole", True)
        assert not ImageChops.difference(seen.image, decode(whole, "photo.jpg")).getbbox()
        assert not ImageChops.difference(decode(whole[:-2] + end, "photo.jpg"), seen.image).getbbox()
        assert seen.encoded is None, "a server might refuse it"

    @pytest.mark.parametrize("width", range(24, 40))
    def test_data_that_end_in_zeros_are_told_from_filling(self, width: int) -> None:
        """The last bytes of grey pictures are often 8a 00, those of some others ff 00."""
        whole = saved(noise(width, 18), "JPEG")
        (seen,) = stills(whole[:-2] + bytes(64), "photo.jpg")
        assert seen.whole
        assert not ImageChops.difference(seen.image, decode(whole, "photo.jpg")).getbbox()

    def test_half_of_it_is_read_as_far_as_it_goes(self) -> None:
        whole = saved(noise(640, 480), "JPEG")
        (seen,) = stills(whole[: len(whole) // 2], "photo.jpg")
        wide, high = seen.image.size
        assert wide == 640
        assert 200 < high < 250
        assert seen.remark == f"photo.jpg is cut off: {high} of its 480 rows are read"
        assert not seen.whole
        upper = decode(whole, "photo.jpg").crop((0, 0, wide, high))
        assert not ImageChops.difference(seen.image, upper).getbbox(), "not a row of guesses"

    def test_held_sideways_it_is_turned_after_that(self) -> None:
        whole = saved(noise(640, 480), "JPEG", exif=held(6))
        (seen,) = stills(whole[: len(whole) // 2], "photo.jpg")
        assert seen.image.height == 640
        assert seen.image.width < 250

    def test_a_progressive_one_is_less_sharp(self) -> None:
        whole = saved(noise(640, 480), "JPEG", progressive=True)
        (seen,) = stills(whole[: len(whole) // 2], "photo.jpg")
        assert seen.image.size == (640, 480)
        assert seen.remark == "photo.jpg is cut off: it is read less sharp than it was"

    def test_zeros_for_the_rest_are_no_picture(self) -> None:
        whole = saved(noise(640, 480), "JPEG")
        half = whole[: len(whole) // 2]
        (seen,) = stills(half + bytes(len(half)), "photo.jpg")
        assert seen.image.height < 250
        with pytest.raises(UsageError, match="cut off"):
            decode(half + bytes(len(half)), "photo.jpg")

    def test_what_stands_after_its_end_is_no_fault(self) -> None:
        (seen,) = stills(saved(noise(64, 48), "JPEG") + b"a film" + bytes(9), "photo.jpg")
        assert seen.remark is None

    @pytest.mark.parametrize("part", [0.01, 0.2])
    def test_too_little_of_it_is_refused(self, part: float) -> None:
        whole = saved(noise(640, 480), "JPEG")
        with pytest.raises(UsageError, match=r"damaged or cut off|not a whole picture"):
            stills(whole[: int(len(whole) * part)], "photo.jpg")


class TestAsTheyAre:
    """Files that a server may be sent."""

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
    def test_a_plain_picture_is_its_file(self, form: str) -> None:
        (seen,) = stills(data := saved(noise(64, 48), form), "photo")
        assert seen.encoded == Encoded(form.lower(), data)
        assert seen.lossy == (form == "JPEG")

    def test_the_second_pictures_of_a_telephone_are_not_sent(self) -> None:
        written = BytesIO()
        noise(64, 48).save(written, "MPO", save_all=True, append_images=[noise(32, 24)])
        (seen,) = stills(written.getvalue(), "photo.jpg")
        assert seen.encoded and len(seen.encoded.data) < len(written.getvalue()) * 0.9
        again = Image.open(BytesIO(seen.encoded.data))
        assert (again.format, getattr(again, "n_frames", 1)) == ("JPEG", 1)

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(saved(noise(64, 48), "BMP"), id="another format"),
            pytest.param(saved(noise(64, 48).convert("CMYK"), "JPEG"), id="CMYK"),
            pytest.param(saved(_pixels("RGBA", (0, 0, 0, 128), (0, 0, 0, 0))), id="transparent"),
            pytest.param(
                saved(noise(64, 48), "PNG", save_all=True, append_images=[noise(64, 48, 1)]), id="moving"
            ),
            pytest.param(saved(noise(64, 48), "JPEG", exif=held(6)), id="sideways"),
        ],
    )
    def test_what_a_server_might_show_otherwise_is_not(self, data: bytes) -> None:
        assert stills(data, "photo")[0].encoded is None


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "x.png is empty (0 bytes)"),
        (b"<!DOCTYPE html><html>", "(it begins with b'<!DOCTYP')"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a whole picture of a known format"),
        (b"\x00" * 4096, "not a whole picture of a known format"),
        (png(50_000, 50_000), "has 2,500,000,000 pixels, more than 178,956,970"),
        (png(13_378, 13_378), "has 178,970,884 pixels, more than 178,956,970"),
        (png(201, 1), "is 201 × 1, more than 200 times as long as wide"),
        (png(1, 4_021), "is 1 × 4,021, more than 200 times as long as wide"),
        (png(8, 8), "is damaged or cut off"),
        (png(8, 8, chunk(b"IDAT", zlib.compress(bytes(range(200)))[:60])), "is damaged or cut off"),
        (png(8, 8, chunk(b"IDAT", b"nonsense")), "is damaged or cut off"),
    ],
)
def test_what_is_no_picture_to_look_at_is_refused_in_a_line(data: bytes, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        decode(data, "x.png")
    assert error.value.hint and "x.png" in error.value.message and "\n" not in str(error.value)


def test_two_hundred_times_as_long_as_wide_is_still_a_picture() -> None:
    assert decode(saved(Image.new("RGB", (1, 200))), "line").size == (1, 200)


def test_a_large_picture_is_no_fault_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    # Pillow warns from 89 million pixels on; phones take pictures of 108 million.
    with pytest.raises(UsageError, match=r"damaged or cut off"):
        decode(png(12_000, 9_000), "phone.png")
    assert not recwarn.list


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file '.*nothing\.png'"):
        load(tmp_path / "nothing.png")


def test_an_escape_sequence_in_a_name_is_not_shown() -> None:
    with pytest.raises(UsageError) as error:
        decode(b"nothing", "a\x1b]0;owned\x07.png")
    assert not set("\x1b\x07") & set(str(error.value))


def test_heic_is_read_where_its_package_is() -> None:
    heif = pytest.importorskip("pillow_heif")
    written = BytesIO()
    heif.from_pillow(four_corners()).save(written, quality=-1)

    assert corners(decode(written.getvalue(), "phone.heic")) == ["red", "green", "blue", "white"]
    with pytest.raises(UsageError, match=r"damaged or cut off|not a whole picture"):
        decode(written.getvalue()[:-50], "phone.heic")


def test_heic_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    with pytest.raises(UsageError, match=re.escape(f"Run `{install_hint.command('heif')}`")):
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99), "phone.heic")


def animated(form: str, milliseconds: int | Sequence[int] = (100, 250, 50), **options: Any) -> bytes:
    shown = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    return saved(shown[0], form, save_all=True, append_images=shown[1:], duration=milliseconds, **options)


def _hues(shown: Sequence[Image.Image]) -> list[str]:
    return ["rgb"[max(range(3), key=image.getpixel((4, 4)).__getitem__)] for image in shown]  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", AVIF])
def test_an_animation_is_frames_and_the_times_they_begin(form: str) -> None:
    found = frames(animated(form), "moving")

    assert found
    shown, times = found
    assert _hues(shown) == ["r", "g", "b"]
    assert {image.mode for image in shown} == {"RGB"}
    assert times == pytest.approx([0, 0.1, 0.35])


@pytest.mark.parametrize("milliseconds", [0, 10])
def test_frames_without_a_time_come_ten_a_second_as_in_browsers(milliseconds: int) -> None:
    found = frames(animated("GIF", milliseconds), "moving.gif")

    assert found and found[1] == pytest.approx([0, 0.1, 0.2])


def test_a_picture_for_programs_that_do_not_animate_is_not_a_frame() -> None:
    found = frames(animated("PNG", (200, 300), default_image=True), "moving.png")

    assert found and (_hues(found[0]), found[1]) == (["g", "b"], pytest.approx([0, 0.2]))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "JPEG", "TIFF"])
def test_a_still_has_no_frames(form: str) -> None:
    assert frames(saved(four_corners(), form), "still") is None


def test_the_first_frame_is_the_picture_of_an_animation() -> None:
    assert _hues([decode(animated("GIF"), "moving.gif")]) == ["r"]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_half_an_animation_is_refused(form: str) -> None:
    moving = [noise(60, 60, seed) for seed in range(3)]
    whole = saved(moving[0], form, save_all=True, append_images=moving[1:], duration=100)

    with pytest.raises(UsageError, match=r"damaged or cut off|not a whole picture"):
        frames(whole[: int(len(whole) * 0.8)], "moving")


def test_more_frames_than_are_held_are_refused() -> None:
    with pytest.raises(UsageError, match=r"x\.gif has 4,097 frames, more than 4,096"):
        limits.for_frames(limits.MOST_FRAMES + 1, iter(()), "x.gif")
    with pytest.raises(UsageError, match=r"the 4,096 frames of x\.gif are too large to hold together"):
        limits.for_frames(limits.MOST_FRAMES, [(640, 480)] * limits.MOST_FRAMES, "x.gif")


def test_frames_shrink_only_where_they_do_not_fit_as_they_are() -> None:
    assert limits.for_frames(24, [(3840, 2160)] * 24, "clip") is None
    most = limits.for_frames(240, [(3840, 2160)] * 240, "clip")

    assert most == 786_432
    assert limits.shrunk(Image.new("RGB", (3840, 2160)), most).size == (1182, 665)
    assert limits.shrunk(Image.new("RGB", (640, 480)), most).size == (640, 480)


def test_every_page_of_a_scan_is_seen_and_its_small_copies_are_not() -> None:
    scan = [Image.new("L", (8, 8), shade) for shade in (10, 20, 30)]
    data = saved(scan[0], "TIFF", save_all=True, append_images=scan[1:])
    scan[1].encoderinfo = {"tiffinfo": {254: 1}}
    thumbnailed = saved(scan[0], "TIFF", save_all=True, append_images=scan[1:])

    assert [page.getpixel((0, 0)) for page in pages(data, "scan.tif")] == [(10,) * 3, (20,) * 3, (30,) * 3]
    assert [page.getpixel((0, 0)) for page in pages(thumbnailed, "scan.tif")] == [(10,) * 3, (30,) * 3]
    assert len(pages(saved(four_corners()), "one.png")) == 1


def test_a_scan_of_too_many_pages_is_refused() -> None:
    scan = [Image.new("1", (8, 8))] * (limits.MOST_PAGES + 1)

    with pytest.raises(UsageError, match=r"65 pages of scan\.tif are more than 64 at once"):
        pages(saved(scan[0], "TIFF", save_all=True, append_images=scan[1:]), "scan.tif")


def test_a_size_is_read_without_the_pixels(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(12_000, 9_000))

    assert images.size(tmp_path / "large.png") == (12_000, 9_000)
