"""What a video file says of itself, and what is refused."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import films
import numpy as np
import pytest
from PIL import Image

from qwen_cli.errors import UsageError
from qwen_cli.media import limits, video_probe
from qwen_cli.media.video_probe import Orientation, probe


@pytest.mark.parametrize(
    ("file", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
        ("a.mpg", "mpeg2video"),
    ],
)
def test_every_container_tells_its_size_rate_and_length(tmp_path: Path, file: str, codec: str) -> None:
    film = probe(films.make(tmp_path / file, 50, codec=codec, rate=25))

    assert (film.width, film.height, film.frames, film.fps) == (160, 96, 50, 25.0)
    assert film.duration == pytest.approx(2.0, abs=0.001)


def test_a_rate_that_is_a_fraction_stays_exact(tmp_path: Path) -> None:
    film = probe(films.make(tmp_path / "a.mp4", 30, rate=Fraction(30000, 1001)))

    assert film.fps == 30000 / 1001
    assert film.frames == 30


def test_a_varying_rate_is_averaged_over_the_whole_film(tmp_path: Path) -> None:
    film = probe(films.make(tmp_path / "a.mp4", 4, shown_at=[0, 30, 31, 89]))

    assert film.frames == 4
    assert film.frames / film.fps == pytest.approx(film.duration, abs=0.01)
    assert film.duration == pytest.approx(3.0, abs=0.1)


def test_sound_that_goes_on_does_not_make_the_film_longer(tmp_path: Path) -> None:
    film = probe(films.make(tmp_path / "a.mkv", 30, sound=4.0))

    assert film.frames == 30
    assert film.duration == pytest.approx(1.0, abs=0.01)


def test_fragments_without_a_frame_count_are_measured(tmp_path: Path) -> None:
    file = films.make(tmp_path / "a.mp4", 50, muxing={"movflags": "frag_keyframe+empty_moov"})

    with av.open(str(file)) as container:
        assert container.streams.video[0].frames == 0
    assert probe(file).frames == 50


def test_one_frame_is_a_film(tmp_path: Path) -> None:
    for file in ("a.mp4", "a.mkv"):
        film = probe(films.make(tmp_path / file, 1))

        assert film.frames == 1
        assert film.duration == pytest.approx(1 / 30, abs=0.001)


@pytest.mark.parametrize(
    ("file", "codec", "muxing"),
    [("a.mp4", "libx264", {"movflags": "faststart"}), ("a.mkv", "libx264", {}), ("a.avi", "mpeg4", {})],
)
def test_a_download_that_was_cut_off_is_as_long_as_what_arrived(
    tmp_path: Path, file: str, codec: str, muxing: dict[str, str]
) -> None:
    whole = films.make(tmp_path / file, 240, codec=codec, muxing=muxing)
    film = probe(films.cut(whole, tmp_path / f"cut-{file}", 0.6))

    assert 60 < film.frames < 200
    assert film.duration == pytest.approx(film.frames / 30, abs=0.05)


@pytest.mark.parametrize(
    ("degrees", "mirrored", "orientation"),
    [
        (None, False, Orientation()),
        (90, False, Orientation(transposed=True, upside_down=True)),
        (180, False, Orientation(left_right=True, upside_down=True)),
        (-90, False, Orientation(transposed=True, left_right=True)),
        (None, True, Orientation(left_right=True)),
        (180, True, Orientation(upside_down=True)),
        (90, True, Orientation(transposed=True, left_right=True, upside_down=True)),
        (-90, True, Orientation(transposed=True)),
    ],
)
def test_the_size_is_that_of_the_upright_picture(
    tmp_path: Path, degrees: float | None, mirrored: bool, orientation: Orientation
) -> None:
    film = probe(films.make(tmp_path / "a.mp4", 2, turned=degrees, mirrored=mirrored))

    assert film.orientation == orientation
    assert (film.width, film.height) == ((96, 160) if orientation.transposed else (160, 96))


def test_the_name_given_is_the_one_shown(tmp_path: Path) -> None:
    assert probe(films.make(tmp_path / "a.mp4", 2), "clip\x1b.mp4").name == "clip?.mp4"


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films.make(tmp_path / "a.mp4", 2).rename(tmp_path / "concat:a|b.mp4")
    monkeypatch.chdir(tmp_path)

    assert probe(Path("concat:a|b.mp4")).frames == 2


def test_metadata_in_another_encoding_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    with av.open(str(file), "w") as container:
        container.metadata["title"] = "Titel: Gruesse"
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(films.drawn(0, 32, 32), format="gray")))
        container.mux(stream.encode())
    file.write_bytes(file.read_bytes().replace(b"Gruesse", b"Gr\xfc\xdfe  "))

    assert probe(file).frames == 1


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as error:
        probe(path)
    assert "\n" not in str(error.value)
    assert error.value.hint
    return error.value.message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "no file" in refused(tmp_path / "nothing.mp4")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "is empty (0 bytes)" in refused(tmp_path / "empty.mp4")
    assert "'a?b.mp4'" in refused(Path("a\x00b.mp4"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")

    assert "is not a plain file" in refused(tmp_path / "pipe.mp4")


def test_what_is_not_a_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a video\n" * 100)
    assert "is not a video" in refused(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("text that FFmpeg would show as letters\n" * 100)
    assert "is not a video (tty)" in refused(tmp_path / "a.txt")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert "is not a video (png_pipe)" in refused(tmp_path / "a.png")


def test_a_list_of_other_files_is_refused(tmp_path: Path) -> None:
    films.make(tmp_path / "a.ts", 10)
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile a.ts\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n")

    assert "is not a video" in refused(tmp_path / "list.ffconcat")
    assert "is not a video" in refused(tmp_path / "list.m3u8")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    assert "holds only sound" in refused(films.make_sound(tmp_path / "a.m4a"))


def test_the_cover_of_a_song_is_not_a_film(tmp_path: Path) -> None:
    file = films.make_sound(tmp_path / "a.mp3", codec="mp3", cover=True)

    with av.open(str(file)) as container:
        assert container.streams.video
    assert "holds only sound" in refused(file)


def test_a_film_cut_off_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = films.make(tmp_path / "a.mp4", 60)

    for share in (0.2, 0.6, 0.9):
        assert "was cut off" in refused(films.cut(whole, tmp_path / "cut.mp4", share))


def test_a_film_without_a_whole_frame_is_refused(tmp_path: Path) -> None:
    data = films.make(tmp_path / "a.mp4", 30, muxing={"movflags": "faststart"}).read_bytes()
    begins = data.index(b"mdat") + 4
    (tmp_path / "bad.mp4").write_bytes(data[:begins] + bytes(len(data) - begins))

    assert "can be decoded" in refused(tmp_path / "bad.mp4")


def test_a_stream_without_times_is_refused(tmp_path: Path) -> None:
    assert "does not time its frames" in refused(films.make(tmp_path / "a.h264", 10))


def test_noise_is_refused_in_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 4096, np.uint8).tobytes()
    for number, head in enumerate(
        (b"", b"\x1a\x45\xdf\xa3", b"\x00\x00\x00\x18ftypisom", b"RIFF\0\1\0\0AVI ")
    ):
        (tmp_path / f"{number}.mp4").write_bytes(head + noise)
        refused(tmp_path / f"{number}.mp4")


def test_frames_larger_than_those_of_8k_film_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some kilobytes may say that they are of any size; each thread that decodes would hold one."""
    path = films.make(tmp_path / "film.mp4", 3, size=(160, 96))
    assert probe(path).width == 160
    monkeypatch.setattr(limits, "DECODED", 160 * 96 - 1)
    with pytest.raises(UsageError, match="frames of 160 × 96 pixels, more than those of 8K film"):
        probe(path)
    # A header that says less: the decoder finds out.
    monkeypatch.setattr(limits, "DECODED", 160 * 64)
    monkeypatch.setattr(video_probe, "_video_stream", lambda one, label: video_probe.video_stream(one))
    with pytest.raises((UsageError, av.FFmpegError)):
        probe(path)
