"""Drawing what was found: by the pixels."""

from __future__ import annotations

from itertools import combinations

import pytest
from PIL import Image, ImageChops

from qwen_cli.media import annotate
from qwen_cli.media.annotate import Place, draw

GREY = (128, 128, 128)
RED, BLUE = (230, 25, 75), (0, 130, 200)  # the first two colours


def blank(width: int = 400, height: int = 300) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    """The smallest box round all pixels that differ."""
    return ImageChops.difference(before, after).getbbox()


def test_a_box_is_drawn_on_its_edge_and_nowhere_else() -> None:
    image = blank()
    out = draw(image, [("", (100, 80, 200, 160))])
    for corner in ((100, 80), (199, 80), (100, 159), (199, 159), (101, 100), (150, 81)):
        assert out.getpixel(corner) == RED
    for untouched in ((99, 80), (200, 100), (150, 160), (150, 79), (150, 120), (102, 82)):
        assert out.getpixel(untouched) == GREY
    assert changed(image, out) == (100, 80, 200, 160)


def test_the_original_is_untouched() -> None:
    image = blank()
    out = draw(image, [("cat", (10, 10, 50, 50))])
    assert changed(image, blank()) is None
    assert out.size == image.size
    assert draw(image, []) is not image


def test_a_label_is_written_above_its_box_in_its_colour() -> None:
    image = blank()
    left, top, right, bottom = changed(image, draw(image, [("cat", (100, 80, 200, 160))])) or (0, 0, 0, 0)
    assert (left, right, bottom) == (100, 200, 160)
    assert 50 < top < 80
    out = draw(image, [("cat", (100, 80, 200, 160))])
    label = out.crop((100, top, 140, 80))
    colors = {color for _, color in label.getcolors(10_000) or ()}
    assert RED in colors
    assert any(sum(color) < 60 for color in colors)  # black letters: this red is a light one


def test_things_of_one_label_have_one_colour_and_others_another() -> None:
    out = draw(blank(), [("cat", (10, 50, 60, 90)), ("dog", (100, 50, 160, 90)), ("cat", (200, 50, 260, 90))])
    assert out.getpixel((59, 89)) == out.getpixel((259, 89)) == RED
    assert out.getpixel((159, 89)) == BLUE


def test_twenty_labels_have_colours_that_differ() -> None:
    out = draw(blank(2100, 300), [(f"label {i}", (100 * i + 20, 150, 100 * i + 80, 200)) for i in range(20)])
    colors = [out.getpixel((100 * i + 79, 199)) for i in range(20)]
    for one, other in combinations(colors, 2):
        assert isinstance(one, tuple) and isinstance(other, tuple)
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 30, (one, other)


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (370, 0, 400, 30), (370, 270, 400, 300), (0, 270, 30, 300), (0, 0, 400, 300)]
)
def test_labels_stay_inside_the_picture(box: tuple[int, int, int, int]) -> None:
    """A label in a corner has as many of its pixels as one in the middle."""
    label = "a label"
    middle = draw(blank(), [(label, (150, 150, 180, 180))])
    corner = draw(blank(), [(label, box)])
    text = [sum(n for n, c in image.getcolors(100_000) or () if sum(c) < 60) for image in (middle, corner)]
    assert text[0] == text[1] > 0


def test_labels_keep_off_each_other() -> None:
    """Two things at one place: both labels can be read."""
    one, two = (
        draw(blank(), [("", (0, 0, 1, 1)), (label, (100, 100, 200, 200))]) for label in ("cat", "dog")
    )
    both = draw(blank(), [("cat", (100, 100, 200, 200)), ("dog", (100, 100, 200, 200))])
    dark = [sum(n for n, c in image.getcolors(100_000) or () if c == (0, 0, 0)) for image in (one, two, both)]
    assert dark[2] == dark[0] + dark[1]


def test_a_label_wider_than_the_picture_is_shortened() -> None:
    image = blank(80, 60)
    out = draw(image, [("a very long description of a thing", (10, 30, 70, 50))])
    assert out.size == (80, 60)
    assert changed(image, out) is not None


def test_lines_and_letters_grow_with_the_picture() -> None:
    small, large = (
        draw(blank(400, 300), [("", (100, 100, 300, 200))]),
        draw(blank(4000, 3000), [("", (1000, 1000, 3000, 2000))]),
    )

    def thickness(image: Image.Image, x: int, y: int) -> int:
        return next(n for n in range(100) if image.getpixel((x + n, y)) != RED)

    assert (thickness(small, 100, 150), thickness(large, 1000, 1500)) == (2, 10)
    heights = []
    for scale in (1, 10):
        image = blank(400 * scale, 300 * scale)
        place = (100 * scale, 100 * scale, 300 * scale, 200 * scale)
        _, top, _, _ = changed(image, draw(image, [("cat", place)])) or (0, 0, 0, 0)
        heights.append(100 * scale - top)
    assert 4 * heights[0] < heights[1]


def test_a_point_is_a_dot_with_a_rim() -> None:
    image = blank()
    out = draw(image, [("", (200, 150))])
    assert out.getpixel((200, 150)) == RED
    assert out.getpixel((200, 145)) == (0, 0, 0)
    assert changed(image, out) == (194, 144, 207, 157)


def test_small_things_are_not_hidden_by_large_ones() -> None:
    small, large = ("small", (100, 100, 130, 130)), ("large", (100, 100, 300, 280))
    for order in ([small, large], [large, small]):
        out = draw(blank(), order)
        colors = {"small": out.getpixel((129, 129)), "large": out.getpixel((299, 279))}
        assert out.getpixel((101, 115)) == colors["small"] != colors["large"]


@pytest.mark.parametrize("place", [(390, 290, 400, 300), (0, 0, 1, 1), (399, 299), (0, 0)])
def test_things_at_the_very_edge(place: Place) -> None:
    assert draw(blank(), [("x", place)]).size == (400, 300)


@pytest.mark.parametrize(
    ("mode", "drawn"),
    [("L", "RGB"), ("1", "RGB"), ("P", "RGB"), ("CMYK", "RGB"), ("RGBA", "RGBA"), ("LA", "RGBA")],
)
def test_pictures_of_every_mode(mode: str, drawn: str) -> None:
    image = Image.new(mode, (60, 60))
    out = draw(image, [("", (10, 10, 50, 50))])
    assert out.mode == drawn
    assert out.getpixel((10, 10)) == (RED if drawn == "RGB" else (*RED, 255))
    assert image.mode == mode


def test_transparency_stays() -> None:
    image = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    assert draw(image, [("", (10, 10, 50, 50))]).getpixel((5, 5)) == (0, 0, 0, 0)


def test_a_system_font_writes_what_the_default_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")  # has DejaVu Sans with it
    font = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    monkeypatch.setattr(annotate, "_SYSTEM_FONTS", ("no such font.ttf", font))
    place = (100, 100, 200, 200)
    armenian = draw(blank(), [("կատու", place)])
    assert changed(armenian, draw(blank(), [("?????", place)])) is not None
    assert changed(armenian, draw(blank(), [("շունիկ", place)])) is not None


def test_without_a_font_signs_become_question_marks_and_accents_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotate, "_SYSTEM_FONTS", ())
    place = (100, 100, 200, 200)
    assert changed(draw(blank(), [("猫 cat", place)]), draw(blank(), [("? cat", place)])) is None
    assert changed(draw(blank(), [("ệ", place)]), draw(blank(), [("e", place)])) is None
