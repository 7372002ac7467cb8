"""From words to pictures and films."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from PIL import Image

from qwen_cli.errors import UsageError
from qwen_cli.media import file_types, inputs, limits
from qwen_cli.media.inputs import Film, Picture, expand, gather, is_input

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomavc1" + bytes(200)
MKV = b"\x1a\x45\xdf\xa3" + bytes(200)
TS = (b"\x47" + bytes(187)) * 5


def picture(colour: str = "red", size: tuple[int, int] = (8, 6), form: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, form, **options)
    return written.getvalue()


def animation(form: str = "GIF") -> bytes:
    return picture(
        form=form,
        save_all=True,
        append_images=[Image.new("RGB", (8, 6), colour) for colour in ("green", "blue")],
        duration=[100, 200, 300],
    )


def document(count: int) -> bytes:
    written = io.BytesIO()
    pages = pypdfium2.PdfDocument.new()
    for number in range(1, count + 1):
        pages.new_page(72 * number, 72)
    pages.save(written)
    return written.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def look(here: Path, tmp_path: Path) -> Callable[..., list[Picture | Film]]:
    def at(*words: str, **options: Any) -> list[Picture | Film]:
        return gather(words, scratch=tmp_path / "scratch", **options)

    return at


Look = Callable[..., list[Picture | Film]]


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_inputs_come_in_the_order_of_the_words(
    here: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "b.png").write_bytes(picture("blue"))
    (here / "a.jpg").write_bytes(picture("red", form="JPEG"))
    (here / "clip.mp4").write_bytes(MP4)
    (here / "report.pdf").write_bytes(document(3))
    pipe(monkeypatch, picture("white"))

    found = look("b.png", "clip.mp4", "report.pdf#2-", "-", "a.jpg")

    assert [item.name for item in found] == [
        "b.png",
        "clip.mp4",
        "report.pdf#2",
        "report.pdf#3",
        "standard input",
        "a.jpg",
    ]
    assert [type(item) for item in found] == [Picture, Film, Picture, Picture, Picture, Picture]
    assert found[1] == Film("clip.mp4", Path("clip.mp4"))


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("clip.png", MP4, "film"),
        ("clip", MKV, "film"),
        ("clip.ts", TS, "film"),
        ("old.avi", b"RIFF\0\0\0\0AVI LIST" + bytes(99), "film"),
        ("odd.mpg", b"who knows", "film"),
        ("picture.mp4", picture(), "picture"),
        ("picture", picture(form="WEBP"), "picture"),
        ("picture.txt", picture(form="BMP"), "picture"),
        ("picture.pdf", picture(form="TIFF"), "picture"),
        ("report.png", document(1), "picture"),
        ("moving.jpg", animation(), "frames"),
        ("moving.png", animation("PNG"), "frames"),
        ("still.gif", picture(form="GIF"), "picture"),
    ],
)
def test_a_file_is_what_its_bytes_say(here: Path, look: Look, name: str, data: bytes, kind: str) -> None:
    (here / name).write_bytes(data)

    (found,) = look(name)

    if isinstance(found, Picture):
        assert kind == "picture" and found.image.mode == "RGB"
    else:
        assert kind == ("frames" if found.frames else "film")
        assert found.path == (None if found.frames else Path(name))


@pytest.mark.parametrize("brand", [b"qt  ", b"M4V ", b"3gp5", b"iso6"])
def test_the_brands_of_videos_are_known(brand: bytes) -> None:
    assert file_types.kind_of(b"\0\0\0\x10ftyp" + brand + bytes(4)) == "video"


@pytest.mark.parametrize(
    "head",
    [b"", b"import x\n", b"BMW is a car", b"<html>", b"\0\0\0\x10ftypM4A \0\0\0\0", b"Gone. " * 130, b"P5"],
)
def test_other_files_are_of_no_known_kind(head: bytes) -> None:
    assert file_types.kind_of(head, "file.ts") is None


def test_an_animation_is_a_film_with_times(here: Path, look: Look) -> None:
    (here / "moving.gif").write_bytes(animation())

    (film,) = look("moving.gif")

    assert isinstance(film, Film) and film.path is None
    assert len(film.frames) == 3 and film.times == pytest.approx((0, 0.1, 0.3))


def test_a_folder_is_a_film_of_its_pictures_in_natural_order(here: Path, look: Look) -> None:
    (here / "shots").mkdir()
    for number, colour in ((10, "blue"), (9, "green"), (1, "red")):
        (here / "shots" / f"frame {number}.png").write_bytes(picture(colour))
    (here / "shots" / "notes.txt").write_text("not a picture")
    (here / "shots" / ".hidden.png").write_text("not a picture")

    (film,) = look("shots")

    assert isinstance(film, Film) and (film.name, film.path, film.times) == ("shots", None, ())
    assert [frame.getpixel((0, 0)) for frame in film.frames] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ([], "the folder 'shots' holds no pictures, a film needs 2"),
        (["a.png"], "the folder 'shots' holds 1 picture, a film needs 2"),
        (["a.png", "b.txt"], "the folder 'shots' holds 1 picture, a film needs 2"),
    ],
)
def test_a_folder_without_two_pictures_is_no_film(
    here: Path, look: Look, names: list[str], fault: str
) -> None:
    (here / "shots").mkdir()
    for name in names:
        (here / "shots" / name).write_bytes(picture())

    with pytest.raises(UsageError, match=re.escape(fault)):
        look("shots")


def test_a_folder_of_photographs_is_no_film(here: Path, look: Look) -> None:
    (here / "shots").mkdir()
    (here / "shots" / "a.png").write_bytes(picture(size=(8, 6)))
    (here / "shots" / "b.png").write_bytes(picture(size=(6, 8)))

    with pytest.raises(UsageError, match=r"b\.png is 6 × 8, the frames before it are 8 × 6"):
        look("shots")


def test_a_folder_of_too_many_pictures_is_refused_unread(here: Path, look: Look) -> None:
    (here / "shots").mkdir()
    for number in range(limits.MOST_FRAMES + 1):
        (here / "shots" / f"{number}.png").touch()

    with pytest.raises(UsageError, match="shots has 4,097 frames, more than 4,096"):
        look("shots")


def test_a_scan_of_many_pages_is_a_picture_for_each(here: Path, look: Look) -> None:
    (here / "scan.tif").write_bytes(
        picture(form="TIFF", save_all=True, append_images=[Image.new("RGB", (8, 6), "blue")])
    )

    assert [item.name for item in look("scan.tif")] == ["scan.tif#1", "scan.tif#2"]


@pytest.mark.parametrize("words", [("*.png",), ("shot[1-9]*.png",), ("shot?.png", "shot10.png")])
def test_patterns_are_expanded_where_the_shell_has_not(here: Path, words: tuple[str, ...]) -> None:
    for name in ("shot10.png", "shot9.png", "Shot1.PNG", "shot2.png"):
        (here / name).write_bytes(picture())

    assert [name for name in expand(words) if name != "Shot1.PNG"] == ["shot2.png", "shot9.png", "shot10.png"]


def test_a_pattern_keeps_the_pages_and_looks_into_folders(here: Path) -> None:
    (here / "deep" / "down").mkdir(parents=True)
    (here / "deep" / "down" / "a.pdf").touch()
    (here / "b.pdf").touch()

    assert expand(["**/*.pdf#1-2"]) == ["b.pdf#1-2", str(Path("deep", "down", "a.pdf#1-2"))]


def test_what_is_no_pattern_stays_as_it_is(here: Path) -> None:
    (here / "odd[1].png").touch()
    words = [
        "odd[1].png",
        "missing.png",
        "https://example.org/a.png?size=*",
        "data:image/png;base64,A*?",
        "-",
    ]

    assert expand(words) == words


def test_the_home_folder_is_known(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(here))
    (here / "a.png").write_bytes(picture())

    assert expand(["~/a.png", "~/*.png"]) == [str(here / "a.png")] * 2
    assert is_input("~/a.png") and is_input("~/*.png")
    (here / "~a.png").touch()
    assert expand(["~a.png"]) == ["~a.png"]


def test_what_was_expanded_expands_to_itself(here: Path) -> None:
    for name in ("a[1].png", "b c.png", "r.pdf"):
        (here / name).touch()
    once = expand(["*.png", "*.pdf#1"])

    assert expand(once) == once == ["a[1].png", "b c.png", "r.pdf#1"]


@pytest.mark.parametrize("word", ["*.gif", "nothing/*", "[ab].png"])
def test_a_pattern_that_matches_nothing_is_told(here: Path, word: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"no file matches {word!r}")):
        expand(["-", word])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("here.png", True),
        ("shots", True),
        ("*.png", True),
        ("report.pdf#1-3", True),
        ("missing.pdf#2", True),
        ("missing.jpeg", True),
        ("missing*.mp4", True),
        ("-", True),
        ("https://example.org/a", True),
        ("HTTP://example.org/a", True),
        ("file:///tmp/a.png", True),
        ("data:image/png;base64,AAAA", True),
        ("", False),
        (" ", False),
        ("What", False),
        ("What is this?", False),
        ("What is in missing.png", False),
        ("data: what do you see, and where", False),
        ("see https://example.org/a.png", False),
        ("is https://example.org/a.png a cat?", False),
        ("[a-z", False),
        ("why?", False),
        ("a\0b*", False),
        ("x" * 5000, False),
        ("~nobody-of-that-name/a", False),
    ],
)
def test_what_is_looked_at_is_told_from_the_question(here: Path, word: str, expected: bool) -> None:
    (here / "here.png").touch()
    (here / "report.pdf").touch()
    (here / "shots").mkdir()

    assert is_input(word) is expected


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("missing.png", "no file 'missing.png'"),
        ("missing.pdf#2", "no file 'missing.pdf'"),
        ("notes.txt", "notes.txt is not a whole picture of a known format"),
        ("empty.png", "empty.png is empty (0 bytes)"),
        ("empty.mp4", "empty.mp4 is empty (0 bytes)"),
        ("report.pdf#7", "report.pdf has 2 pages, there is no page 7"),
        ("report.pdf#", "'' chooses no pages of report.pdf"),
        ("really.pdf#1", "really.pdf is not a PDF, it has no pages to choose"),
        ("file:///tmp/a.png", "'file:///tmp/a.png' is the address of a file"),
        ("ftp://example.org/a.png", "not http or https"),
        ("http://127.0.0.1:1/a.png", "its network (127.0.0.1). Give `allow_local_urls` to allow it"),
        ("data:image/png;base64,AAAA", "data: address is not a whole picture"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_line(here: Path, look: Look, word: str, fault: str) -> None:
    (here / "notes.txt").write_text("not a picture")
    (here / "empty.png").touch()
    (here / "empty.mp4").touch()
    (here / "really.pdf").write_bytes(picture())
    (here / "report.pdf").write_bytes(document(2))

    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        look(word)
    assert error.value.hint and "\n" not in str(error.value)


def test_a_file_that_is_called_like_pages_is_that_file(here: Path, look: Look) -> None:
    (here / "a.pdf#1").write_bytes(picture())

    assert [item.name for item in look("a.pdf#1")] == ["a.pdf#1"]


def test_an_unknown_file_is_a_video_where_that_is_said(here: Path, look: Look) -> None:
    (here / "capture.bin").write_bytes(b"some container")

    assert look("capture.bin", video=True) == [Film("capture.bin", Path("capture.bin"))]
    with pytest.raises(UsageError, match="not a whole picture"):
        look("capture.bin")


@pytest.mark.parametrize(
    ("data", "kind"), [(picture(), Picture), (document(1), Picture), (animation(), Film)]
)
def test_what_is_piped_in_is_known_by_its_bytes(
    look: Look, monkeypatch: pytest.MonkeyPatch, data: bytes, kind: type
) -> None:
    pipe(monkeypatch, data)

    (found,) = look("-")
    assert isinstance(found, kind) and found.name.startswith("standard input")


def test_a_video_that_is_piped_in_becomes_a_file(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, MP4)

    (film,) = look("-")

    assert isinstance(film, Film) and film.path
    assert film.path.parent == tmp_path / "scratch" and film.path.read_bytes() == MP4


def test_nothing_piped_in_is_told(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"")
    with pytest.raises(UsageError, match=r"standard input is empty \(0 bytes\)"):
        look("-")
    with pytest.raises(UsageError, match="standard input is named 2 times"):
        look("-", "-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        look("-")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("data", [picture(), MP4, document(1)])
def test_a_named_pipe_is_read_once(here: Path, look: Look, data: bytes) -> None:
    """As `qwen vision <(curl …)` gives."""
    os.mkfifo(here / "pipe")
    threading.Thread(target=(here / "pipe").write_bytes, args=(data,), daemon=True).start()

    (found,) = look("pipe")

    assert isinstance(found, Film) == (data == MP4)
    assert not isinstance(found, Film) or (found.path and found.path.read_bytes() == MP4)


def test_a_data_address_is_a_picture(look: Look) -> None:
    (found,) = look(f"data:;base64,{base64.b64encode(picture('blue')).decode()}")

    assert isinstance(found, Picture) and found.image.getpixel((0, 0)) == (0, 0, 255)


PAGES = {
    "/cat.jpg": ("image/jpeg", picture(form="JPEG")),
    "/wrong": ("text/html", picture()),
    "/clip.webm": ("application/octet-stream", MKV),
    "/stream": ("video/mp2t", b"who knows"),
    "/report": ("application/pdf", document(3)),
    "/File:cat.jpg": ("text/html; charset=utf-8", b"<!DOCTYPE html><html>a cat</html>"),
    "/slow.jpg": ("image/jpeg", picture(form="JPEG")),
}


SLOW = 5.0  # seconds until a slow address answers


@pytest.fixture
def web() -> Iterator[str]:
    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content_type, data = PAGES[self.path]
            if "slow" in self.path:
                time.sleep(SLOW)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *anything: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.handle_error = lambda *anything: None  # type: ignore[method-assign]  # who asked has left
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/cat.jpg", ["cat.jpg"]),
        ("/cat.jpg#top", ["cat.jpg"]),
        ("/wrong", ["wrong"]),
        ("/report#2-3", ["report#2", "report#3"]),
        ("/report#page=3", ["report#3"]),
        ("/report#chapter", ["report#1", "report#2", "report#3"]),
    ],
)
def test_addresses_give_pictures_and_pages(web: str, look: Look, path: str, names: list[str]) -> None:
    found = look(web + path, allow_local_urls=True)

    assert [item.name for item in found] == names and all(isinstance(item, Picture) for item in found)


@pytest.mark.parametrize(("path", "suffix"), [("/clip.webm", ".webm"), ("/stream", ".mp4")])
def test_a_video_from_the_web_becomes_a_file(web: str, look: Look, path: str, suffix: str) -> None:
    (film,) = look(web + path, allow_local_urls=True)

    assert isinstance(film, Film) and film.path and film.path.suffix == suffix
    assert film.path.read_bytes() == PAGES[path][1]


def test_a_web_page_is_not_a_picture(web: str, look: Look) -> None:
    with pytest.raises(UsageError, match="is a web page, not a picture"):
        look(f"{web}/File:cat.jpg", allow_local_urls=True)


def test_a_slow_address_is_given_up_on(web: str, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "PATIENCE", 0.2)
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"took longer than 0\.2 seconds|did not answer in time"):
        look(f"{web}/slow.jpg", allow_local_urls=True)
    assert time.monotonic() - started < SLOW
