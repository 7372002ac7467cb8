"""Which frame is read: at any time, of any codec, wherever keyframes lie, by whatever reader there is."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import films
import pytest

from qwen_cli.errors import UsageError
from qwen_cli.media import pyav_reader as screen_module
from qwen_cli.media import video_backends
from qwen_cli.media.pyav_reader import Screen
from qwen_cli.media.video import read
from qwen_cli.media.video_probe import Film, probe

FRAMES = 62


@pytest.fixture(autouse=True)
def by_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader that every machine has, whatever else is installed."""
    monkeypatch.setenv(video_backends.FORCED, "pyav")


def shown(film: Film, wanted: list[int]) -> list[int]:
    """The numbers that the frames read say of themselves."""
    return films.numbers(read(film, wanted, size=(film.height, film.width)))


FORMATS = {
    "h264.mp4": ("libx264", {}),
    "h264.mkv": ("libx264", {}),
    "h264.ts": ("libx264", {}),
    "h264.flv": ("libx264", {}),
    "ntsc.mp4": ("libx264", {"rate": Fraction(30000, 1001)}),
    "film.mkv": ("libx264", {"rate": Fraction(24000, 1001)}),
    "open.mp4": ("libx264", {"options": {"x264-params": "open-gop=1:scenecut=0"}}),
    "open.ts": ("libx264", {"options": {"x264-params": "open-gop=1:scenecut=0"}}),
    "fragments.mp4": ("libx264", {"muxing": {"movflags": "frag_keyframe+empty_moov"}}),
    "one-keyframe.mp4": ("libx264", {"keyframes": 1000}),
    "all-keyframes.mp4": ("libx264", {"keyframes": 1}),
    "sound.mp4": ("libx264", {"sound": 3.0}),
    "sound.ts": ("libx264", {"sound": 3.0}),
    "hevc.mp4": ("libx265", {}),
    "vp9.webm": ("libvpx-vp9", {}),
    "vp9.mp4": ("libvpx-vp9", {}),
    "mpeg4.avi": ("mpeg4", {}),
    "mpeg4.mp4": ("mpeg4", {}),
    "mpeg2.mpg": ("mpeg2video", {}),
    "jpeg.mov": ("mjpeg", {"pixels": "yuvj420p"}),
    "left.mov": ("libx264", {"turned": 90}),
    "right.mov": ("libx264", {"turned": -90}),
    "over.mov": ("libx264", {"turned": 180}),
    "mirrored.mov": ("libx264", {"turned": 90, "mirrored": True}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_frame_asked_for_is_the_one_read(tmp_path: Path, name: str) -> None:
    codec, options = FORMATS[name]
    film = probe(films.make(tmp_path / name, FRAMES, codec=codec, upright=True, **options))
    every = list(range(FRAMES))

    assert film.frames == FRAMES
    assert shown(film, every) == every
    assert shown(film, every[::7]) == every[::7]
    for lonely in (0, 1, 30, 35, 36, 37, FRAMES - 1):
        assert shown(film, [lonely]) == [lonely]


def test_any_order_and_repeats(tmp_path: Path) -> None:
    film = probe(films.make(tmp_path / "a.mp4", FRAMES))
    wanted = random.Random(0).choices(range(FRAMES), k=40)

    assert shown(film, wanted) == wanted


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv"])
def test_where_the_rate_varies_the_frame_is_the_one_on_the_screen(tmp_path: Path, file: str) -> None:
    """The time that a model is told is n / fps: the picture must be that of this time."""
    at, gaps = [0], [1, 5, 2, 20, 1, 40]
    for number in range(1, 40):
        at.append(at[-1] + gaps[number % len(gaps)])
    film = probe(films.make(tmp_path / file, len(at), shown_at=at))

    # Half a frame later, and not on the border between two frames: a Matroska clock has whole milliseconds.
    ticks = [(number + 0.5) / film.fps * 30 for number in range(film.frames)]
    wanted = [number for number, tick in enumerate(ticks) if abs(tick - round(tick)) > 0.04]

    assert len(wanted) > film.frames * 0.8
    expected = [sum(1 for begins in at if begins <= ticks[number]) - 1 for number in wanted]
    assert shown(film, wanted) == expected
    assert [shown(film, [number]) for number in wanted[::9]] == [[number] for number in expected[::9]]


def test_the_decoder_jumps_only_over_keyframes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = probe(films.make(tmp_path / "a.mp4", 96, keyframes=24, options={"sc_threshold": "0"}))
    jumps = []
    from_there = Screen._from

    def counted(screen: Screen, sought: int, key: int | None) -> object:
        jumps.append(key)
        return from_there(screen, sought, key)

    monkeypatch.setattr(Screen, "_from", counted)

    assert shown(film, [2, 10, 20, 23]) == [2, 10, 20, 23]
    assert len(jumps) == 1
    assert shown(film, [2, 80, 90]) == [2, 80, 90]
    assert len(jumps) == 3


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv", "a.ts"])
def test_a_long_film_is_not_read_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    film = probe(films.make(tmp_path / file, 1500, rate=10, size=(64, 64)))
    looked_at = 0
    packets = screen_module.video_probe.packets

    def counted(container: Any, stream: Any) -> Iterator[Any]:
        nonlocal looked_at
        for packet in packets(container, stream):
            looked_at += 1
            yield packet

    monkeypatch.setattr(screen_module.video_probe, "packets", counted)
    wanted = list(range(0, 1500, 15))

    assert shown(film, wanted) == wanted
    assert looked_at < 4 * film.frames


def test_a_film_that_was_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    whole = films.make(tmp_path / "a.mp4", 240, muxing={"movflags": "faststart"})
    film = probe(films.cut(whole, tmp_path / "cut.mp4", 0.6))
    wanted = list(range(0, film.frames - 12, 9))

    assert shown(film, wanted) == wanted
    assert film.frames - 12 <= shown(film, [film.frames - 1])[0] < film.frames


def test_damage_is_stepped_over(tmp_path: Path) -> None:
    """A third of the file is noise: the frames around it are right, those in it are near."""
    file = films.make(tmp_path / "a.mkv", 240)
    data = bytearray(file.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = random.Random(0).randbytes(third)
    file.write_bytes(data)
    film = probe(file)
    read_there = shown(film, [0, 20, 40, film.frames // 2, film.frames - 20, film.frames - 1])

    assert read_there[:3] == [0, 20, 40]
    assert read_there == sorted(read_there)
    assert read_there[-1] >= film.frames - 12


def test_a_file_that_vanishes_is_said_in_one_line(tmp_path: Path) -> None:
    file = films.make(tmp_path / "a.mp4", 10)
    film = probe(file)
    file.unlink()

    with pytest.raises(UsageError, match=r"cannot be decoded at 0\.02 s \(pyav: No such file") as error:
        shown(film, [0])
    assert "\n" not in str(error.value)


# A torchcodec that behaves as the real one does where it cannot load FFmpeg, and one that gives up midway.
USELESS = """
class VideoDecoder:
    def __init__(self, *arguments, **options):
        raise OSError("Could not load libtorchcodec. Likely causes:\\n 1. no FFmpeg\\n" + "trace" * 99)
"""
TIRED = """
import torch, types
class VideoDecoder:
    def __init__(self, source, num_ffmpeg_threads, dimension_order):
        self.metadata = types.SimpleNamespace(begin_stream_seconds=0.0, end_stream_seconds=99.0)
        self.left = 2
    def get_frame_played_at(self, seconds):
        if not self.left:
            raise RuntimeError("decoder is tired")
        self.left -= 1
        return types.SimpleNamespace(data=torch.zeros(3, 96, 160, dtype=torch.uint8))
"""


@pytest.fixture
def torchcodec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of `torchcodec.decoders`, to be written."""
    package = tmp_path / "site" / "torchcodec"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("torchcodec", "torchcodec.decoders"):  # what the test imports is forgotten after it
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delenv(video_backends.FORCED)
    importlib.invalidate_caches()
    return package / "decoders.py"


def test_an_installed_reader_that_cannot_work_is_passed_over(tmp_path: Path, torchcodec: Path) -> None:
    torchcodec.write_text(USELESS)
    film = probe(films.make(tmp_path / "a.mp4", FRAMES))

    assert video_backends.order()[:2] == ["torchcodec", "pyav"]
    assert shown(film, [0, 33, 61]) == [0, 33, 61]

    film.path.unlink()
    with pytest.raises(
        UsageError, match=r"torchcodec: Could not load libtorchcodec\. Likely causes; pyav: No"
    ):
        shown(film, [0])


def test_a_reader_that_gives_up_is_followed_where_it_stopped(tmp_path: Path, torchcodec: Path) -> None:
    torchcodec.write_text(TIRED)
    film = probe(films.make(tmp_path / "a.mp4", FRAMES))

    assert shown(film, [5, 15, 25, 35]) == [-1, -1, 25, 35]


def test_turned_films_and_old_containers_are_left_to_pyav(tmp_path: Path, torchcodec: Path) -> None:
    torchcodec.write_text(TIRED)

    turned = probe(films.make(tmp_path / "a.mp4", 10, turned=90, upright=True))
    assert shown(turned, [0, 9]) == [0, 9]
    assert shown(probe(films.make(tmp_path / "a.ts", 20)), [0, 9]) == [0, 9]


@pytest.mark.parametrize("asked", ["pyav", "torchvision"])
def test_the_reader_can_be_forced(
    tmp_path: Path, torchcodec: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    torchcodec.write_text(TIRED)
    monkeypatch.setenv(video_backends.FORCED, asked)

    assert video_backends.order()[:2] == ["pyav", "torchcodec"]
    assert shown(probe(films.make(tmp_path / "a.mp4", 10)), [1, 2]) == [1, 2]


def test_a_forced_reader_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(video_backends.FORCED, "opencv")

    with pytest.raises(UsageError, match="FORCE_QWENVL_VIDEO_READER is 'opencv', which is not installed"):
        video_backends.order()


MEASURED = """
import resource, sys
from pathlib import Path
from qwen_cli.media import video

def peak():
    megabyte = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // megabyte

film = video.probe(Path(sys.argv[1]))
video.read(film, [0], size=(32, 32))  # whatever is imported, is
before = peak()
frames = video.read(film, video.choose(film, fps=4, max_frames=64), size=(320, 576))
print(len(frames), peak() - before)
"""


@pytest.mark.slow
def test_memory_is_that_of_the_resized_frames_and_a_few_full_ones(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    fast = {"preset": "ultrafast", "bf": "0", "threads": "2"}
    file = films.make(tmp_path / "a.mp4", 200, rate=10, size=(1920, 1080), keyframes=17, options=fast)
    done = subprocess.run([sys.executable, "-c", MEASURED, file], capture_output=True, text=True, check=True)
    frames, megabytes = map(int, done.stdout.split())

    assert frames == 64
    # Resized they are 35 MB, at full size 398 MB, and all of the film would be 1,244 MB.
    assert megabytes < 300
