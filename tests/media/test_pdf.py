"""Pages of a PDF as pictures."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest

from qwen_cli.errors import UsageError
from qwen_cli.media import limits
from qwen_cli.media.pdf import LARGEST, chosen, pages

INCH = 72


def blank(*sizes: tuple[float, float]) -> bytes:
    """Empty pages of these sizes, in points."""
    document = pypdfium2.PdfDocument.new()
    for wide, high in sizes:
        document.new_page(wide, high)
    written = BytesIO()
    document.save(written)
    return written.getvalue()


def drawn(content: str, *, page: str = "", trailer: str = "", more: tuple[str, ...] = ()) -> bytes:
    """A page of one by two inches with this content, as written by hand; `more` are objects from 5 on."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] >> >>"
        if more
        else "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 144] /Contents 4 0 R {page} >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        *more,
    ]
    data, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    count = len(objects) + 1
    return (
        data
        + (
            f"xref\n0 {count}\n0000000000 65535 f \n{table}"
            f"trailer\n<< /Size {count} /Root 1 0 R {trailer} >>\nstartxref\n{len(data)}\n%%EOF\n"
        ).encode()
    )


def test_a_page_is_what_is_drawn_on_white_at_200_dots_per_inch() -> None:
    ((number, page),) = pages(drawn("1 0 0 rg 0 0 36 72 re f"), None, "red.pdf")

    assert (number, page.mode, page.size) == (1, "RGB", (200, 400))
    assert page.getpixel((20, 380)) == (255, 0, 0)  # below on the left, where a page begins
    assert page.getpixel((180, 380)) == page.getpixel((20, 20)) == (255, 255, 255)


def test_a_page_that_is_turned_stands_upright() -> None:
    ((_, page),) = pages(drawn("1 0 0 rg 0 0 36 72 re f", page="/Rotate 90"), None, "turned.pdf")

    assert page.size == (400, 200)
    assert page.getpixel((20, 20)) == (255, 0, 0)


def test_what_was_filled_into_a_form_is_seen() -> None:
    field = "<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /Rect [0 72 72 144] /F 4 /AP << /N 6 0 R >> >>"
    paint = "0 0 1 rg 0 0 72 72 re f"
    head = f"<< /Type /XObject /Subtype /Form /BBox [0 0 72 72] /Length {len(paint)} >>"
    look = f"{head}\nstream\n{paint}\nendstream"

    ((_, page),) = pages(drawn("", page="/Annots [5 0 R]", more=(field, look)), None, "form.pdf")

    red, green, blue = page.getpixel((100, 100))  # type: ignore[misc]
    assert blue > 200 and red < 255 and green < 255
    assert page.getpixel((100, 300)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (None, [1, 2, 3, 4, 5]),
        ("2", [2]),
        ("1-3", [1, 2, 3]),
        ("1,4-", [1, 4, 5]),
        ("5,1", [5, 1]),
        ("2-3,3,2", [2, 3]),
        (" 1 - 2 , 5", [1, 2, 5]),
        ("5-", [5]),
    ],
)
def test_pages_are_chosen_in_the_order_that_is_asked_for(selection: str | None, expected: list[int]) -> None:
    found = pages(blank(*((INCH * n, INCH) for n in range(1, 6))), selection, "five.pdf")

    assert [number for number, _ in found] == expected
    assert [round(page.width / 200) for _, page in found] == expected


@pytest.mark.parametrize(
    ("selection", "fault"),
    [
        ("4", "x.pdf has 3 pages, there is no page 4"),
        ("2-9", "x.pdf has 3 pages, there is no page 9"),
        ("7-", "x.pdf has 3 pages, there is no page 7"),
        ("0", "there is no page 0"),
        ("1-999999999", "there is no page 999,999,999"),
        ("3-1", "pages 3-1 of x.pdf run backwards"),
        ("", "'' chooses no pages of x.pdf"),
        ("-3", "'-3' chooses no pages of x.pdf"),
        ("1,,2", "'1,,2' chooses no pages of x.pdf"),
        ("two", "'two' chooses no pages of x.pdf"),
        ("1--2", "'1--2' chooses no pages of x.pdf"),
        ("٣", "chooses no pages of x.pdf"),
        ("9" * 5000, "chooses no pages of x.pdf"),
    ],
)
def test_pages_that_are_not_there_are_named(selection: str, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        chosen(selection, 3, "x.pdf")
    assert error.value.hint


def test_a_document_is_read_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "página 1.pdf"
    file.write_bytes(blank((INCH, INCH)))

    assert [page.size for _, page in pages(file, None, file.name)] == [(200, 200)]
    file.unlink()
    with pytest.raises(UsageError, match=r"no file '.*\.pdf'"):
        pages(file, None, file.name)


def test_a_poster_gets_fewer_dots_and_not_more_pixels() -> None:
    ((_, page),) = pages(blank((100 * INCH, 50 * INCH)), None, "poster.pdf")

    assert LARGEST * 0.99 < page.width * page.height < LARGEST * 1.01
    assert page.width / page.height == pytest.approx(2, rel=0.01)


def test_too_many_pages_are_refused_with_a_way_to_choose() -> None:
    long = blank(*[(INCH, INCH)] * (limits.MOST_PAGES + 1))

    with pytest.raises(UsageError, match=r"65 pages of long\.pdf are more than 64 at once.*`long\.pdf#1-64`"):
        pages(long, None, "long.pdf")
    assert len(pages(long, "1-64", "long.pdf")) == 64


def test_posters_that_would_fill_the_memory_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(UsageError, match=r"the 60 pages of posters\.pdf are too large to hold together"):
        pages(blank(*[(3000, 3000)] * 60), None, "posters.pdf")


LOCKED = f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'41' * 32}> /U <{'42' * 32}> >> /ID [<00> <00>]"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "x.pdf is empty (0 bytes)"),
        (b"%PDF-1.7\nnothing", "x.pdf is a broken PDF"),
        (b"no PDF at all", "x.pdf is a broken PDF"),
        (blank((INCH, INCH))[:200], "x.pdf is a broken PDF"),
        (drawn("", trailer=LOCKED), "x.pdf is locked with a password"),
        (blank((INCH, 201 * INCH)), "page 1 of x.pdf is more than 200 times as long as wide"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(data: bytes, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        pages(data, None, "x.pdf")
    assert error.value.hint and "\n" not in str(error.value)
