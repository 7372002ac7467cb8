"""Videos for a model: the frames, sizes and values of `fetch_video`, which runs beside ours."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import films
import numpy as np
import pytest
import torch
from PIL import Image
from qwen_vl_utils import vision_process

from qwen_cli.errors import UsageError
from qwen_cli.media import video_backends
from qwen_cli.media.video import choose, clip, clip_of, frame_size, probe, read
from qwen_cli.media.video_probe import Film

Reference = Callable[..., tuple[torch.Tensor, dict[str, Any], float]]


@pytest.fixture(autouse=True)
def by_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader that every machine has, whatever else is installed."""
    monkeypatch.setenv(video_backends.FORCED, "pyav")


@pytest.fixture
def fetch_video(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reference]:
    """The `fetch_video` of qwen_vl_utils on a film of `frames` (all of them decoded), `rate` a second.

    Its code runs as it is: torchcodec, which it reads with, is replaced by the frames themselves.
    """
    film: dict[str, Any] = {}

    class VideoDecoder:
        def __init__(self, path: str, num_ffmpeg_threads: int) -> None:
            self.metadata = types.SimpleNamespace(average_fps=film["fps"], num_frames=len(film["frames"]))

        def get_frames_at(self, indices: list[int]) -> Any:
            return types.SimpleNamespace(data=film["frames"][indices])

    module = types.SimpleNamespace(VideoDecoder=VideoDecoder)
    modules: Any = {"torchcodec": types.SimpleNamespace(decoders=module), "torchcodec.decoders": module}
    monkeypatch.setattr(vision_process, "get_video_reader_backend", lambda: "torchcodec")

    def reraised(element: Any) -> Any:
        raise  # what it would hide by its last resort

    monkeypatch.setitem(vision_process.VIDEO_READER_BACKENDS, "torchvision", reraised)

    def fetched(frames: Any, rate: float, *, factor: int = 32, **asked: Any) -> Any:
        film.update(frames=frames, fps=rate)
        element = {"video": "film.mp4", **asked}
        everything = {"return_video_sample_fps": True, "return_video_metadata": True}
        with mock.patch.dict(sys.modules, modules):
            (video, metadata), sampled = vision_process.fetch_video(element, factor // 2, **everything)
        return video, metadata, sampled

    yield fetched


@pytest.fixture
def resized(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Nothing is resized, or made into floats, as would take minutes; the sizes asked for."""
    sizes: list[list[int]] = []

    def noted(video: torch.Tensor, size: list[int], **how: Any) -> torch.Tensor:
        sizes.append(size)
        return video

    monkeypatch.setattr(vision_process.transforms.functional, "resize", noted)
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor)
    return sizes


def film_of(frames: int, fps: float) -> Film:
    return Film("film.mp4", Path("film.mp4"), 32, 32, fps, frames, frames / fps)


class Blank:
    """Frames that all are the same: however they are indexed, they take no memory."""

    def __init__(self, frames: torch.Tensor) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, indices: list[int]) -> torch.Tensor:
        return self.frames[: len(indices)]


def blank(frames: int, height: int = 32, width: int = 32) -> Blank:
    """A film that is only as long and as large as it is said to be."""
    return Blank(torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(frames, 3, height, width))


def test_the_frames_chosen_are_those_of_the_library(fetch_video: Reference, resized: list[list[int]]) -> None:
    dice = random.Random(0)
    for _ in range(400):
        frames = dice.choice([2, 3, 4, 5, 7, 30, 61, 299, 1_801, 20_000, dice.randint(2, 3_000)])
        rate = dice.choice([1.0, 12.5, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 60.0, dice.uniform(0.5, 120)])
        fps = dice.choice([0.1, 0.5, 1.0, 2.0, 2.0, 4.0, 30.0])
        limits = {"min_frames": dice.choice([1, 4, 4, 5, 16]), "max_frames": dice.choice([16, 17, 64, 768])}
        long = frames / rate
        start = dice.choice([None, None, 0.0, dice.uniform(0, 0.4 * long)])
        end = dice.choice([None, None, long * 2, dice.uniform(0.6 * long, long)])
        between = {"video_start": start, "video_end": end}
        try:
            _, metadata, _ = fetch_video(blank(frames), rate, fps=fps, **limits, **between)
        except ValueError:  # fewer than two frames between
            continue

        ours = choose(film_of(frames, rate), fps=fps, start=start, end=end, **limits)

        assert ours == list(metadata["frames_indices"])


def test_without_asking_for_anything_they_are_the_librarys_too(
    fetch_video: Reference, resized: list[list[int]]
) -> None:
    _, metadata, _ = fetch_video(blank(3_000), 30.0)

    assert choose(film_of(3_000, 30.0)) == list(metadata["frames_indices"])


@pytest.mark.parametrize(
    ("frames", "start", "end", "chosen"),
    [
        (1, None, None, [0, 0]),
        (1, 0.0, 0.02, [0, 0]),
        (2, None, None, [0, 1]),
        (3, None, None, [0, 2]),
        (90, 1.0, 1.01, [30, 30]),
        (90, 1.01, 1.02, [30, 30]),  # between two frames: the one on the screen
        (90, 2.99, None, [89, 89]),
        (90, 2.9, 50.0, [87, 89]),
    ],
)
def test_the_shortest_films_and_parts_give_a_pair(
    frames: int, start: float | None, end: float | None, chosen: list[int]
) -> None:
    assert choose(film_of(frames, 30.0), start=start, end=end) == chosen


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"fps": 0}, "0 frames a second"),
        ({"fps": float("nan")}, "nan frames a second"),
        ({"max_frames": 1}, "at most 1 frames"),
        ({"min_frames": 0}, "at least 0 frames"),
        ({"start": -1}, "no frame at -1 s"),
        ({"start": 3.0}, "'film.mp4' lasts 3.00 s, it has no frame at 3.0 s"),
        ({"start": 2, "end": 1}, "the end, 1 s, is not after the start, 2 s"),
        ({"end": 0}, "the end, 0 s, is not after"),
        ({"end": float("nan")}, "the end, nan s, is not after"),
    ],
)
def test_what_leaves_no_frames_is_refused(asked: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError) as error:
        choose(film_of(90, 30.0), **asked)
    assert fault in error.value.message
    assert error.value.hint


def test_frames_are_made_as_large_as_the_library_makes_them(
    fetch_video: Reference, resized: list[list[int]]
) -> None:
    dice = random.Random(0)
    for _ in range(200):
        height, width, count = dice.randint(28, 2200), dice.randint(28, 4000), dice.choice([4, 16, 128, 768])
        factor = dice.choice([28, 32])
        budgets = {
            "min_pixels": dice.choice([None, None, 4 * factor**2, 50_000]),
            "max_pixels": dice.choice([None, None, 200_000, 602_112, 10**8]),
            "total_pixels": dice.choice([None, None, 24_576 * 32 * 32, 5_000_000]),
        }
        given = {name: value for name, value in budgets.items() if value is not None}
        fetch_video(
            blank(count, height, width), 30.0, factor=factor, min_frames=count, max_frames=count, **given
        )

        # At its smallest the library makes thin frames nothing at all.
        expected = [max(side, factor) for side in resized[-1]]
        assert list(frame_size(count, height, width, factor=factor, **budgets)) == expected


def test_less_room_than_the_usual_least_is_no_contradiction() -> None:
    high, wide = frame_size(8, 1080, 1920, factor=32, max_pixels=50_000)

    assert high * wide <= 50_000


def test_long_thin_frames_keep_a_row_of_tokens() -> None:
    high, wide = frame_size(8, 20, 3_000, factor=32)

    assert high == 32 and wide % 32 == 0


@pytest.mark.parametrize(
    ("height", "width", "budgets", "fault"),
    [
        (96, 160, {"min_pixels": 0}, "the least pixels are 0"),
        (96, 160, {"max_pixels": -5}, "the most pixels are -5"),
        (96, 160, {"total_pixels": 0}, "the total pixels are 0"),
        (96, 160, {"min_pixels": 100_000, "max_pixels": 50_000}, "100,000"),
        (4, 1000, {}, "200 times"),
    ],
)
def test_budgets_that_cannot_be_kept_are_refused(
    height: int, width: int, budgets: dict[str, int], fault: str
) -> None:
    with pytest.raises(UsageError) as error:
        frame_size(8, height, width, factor=28, **budgets)
    assert fault in error.value.message


@pytest.mark.parametrize("factor", [28, 32])
@pytest.mark.parametrize("budgets", [{}, {"max_pixels": 8_000, "min_pixels": 3_000}])
def test_a_clip_is_what_the_library_would_fetch(
    tmp_path: Path, fetch_video: Reference, factor: int, budgets: dict[str, int]
) -> None:
    file = films.make(tmp_path / "a.mp4", 90)
    film = probe(file)
    decoded = read(film, range(90), size=(film.height, film.width))
    between = {"video_start": 0.5, "video_end": 2.7}
    video, metadata, sampled = fetch_video(decoded, 30.0, factor=factor, fps=4.0, **between, **budgets)

    ours = clip(file, factor=factor, fps=4.0, start=0.5, end=2.7, **budgets)

    assert list(ours.indices) == list(metadata["frames_indices"]) == films.numbers(ours.frames)
    assert ours.fps == metadata["fps"]
    assert ours.sampled_fps == sampled
    assert ours.frames.dtype == torch.uint8
    assert torch.equal(ours.frames.float(), video)
    assert ours.times == [index / 30 for index in ours.indices]
    assert (ours.name, ours.path, ours.height, ours.width) == (str(file), file, 96, 160)


def test_resizing_one_by_one_gives_the_values_of_resizing_a_stack(
    tmp_path: Path, fetch_video: Reference
) -> None:
    """Noise shows every difference in rounding; smaller and larger, however the stack lies in memory."""
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 100, 130, 3), np.uint8))
    pictures = [Image.fromarray(frame.numpy()) for frame in noise]
    for most in (9_000, 90_000):
        budgets = {"min_pixels": most // 2, "max_pixels": most}
        ours = clip_of(pictures, None, "noise", factor=28, **budgets)

        for stack in (noise.permute(0, 3, 1, 2), noise.permute(0, 3, 1, 2).contiguous()):
            video, _, _ = fetch_video(stack, 2.0, factor=28, min_frames=8, **budgets)
            assert torch.equal(ours.frames.float(), video)


def test_turned_films_come_upright(tmp_path: Path) -> None:
    file = films.make(tmp_path / "a.mov", 30, turned=-90, upright=True)

    seen = clip(file, factor=32)

    assert (seen.width, seen.height) == (96, 160)
    assert seen.frames.shape[2] > seen.frames.shape[3]
    assert films.numbers(seen.frames) == list(seen.indices)


def test_a_single_frame_comes_twice(tmp_path: Path) -> None:
    seen = clip(films.make(tmp_path / "a.mp4", 1), factor=32)

    assert seen.frames.shape[0] == 2
    assert seen.indices == (0, 0)


def test_what_is_read_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    clip(
        films.make(tmp_path / "a.mp4", 60),
        factor=32,
        on_progress=lambda done, total: told.append((done, total)),
    )

    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_nothing_is_said_on_the_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip(films.make(tmp_path / "a.mp4", 10), factor=32, fps=60)
    damaged = films.cut(films.make(tmp_path / "a.mkv", 90), tmp_path / "cut.mkv", 0.5)
    clip(damaged, factor=32)

    assert capfd.readouterr() == ("", "")


def stills(numbers: list[int], size: tuple[int, int] = (160, 96)) -> list[Image.Image]:
    return [Image.fromarray(films.drawn(number, *size)) for number in numbers]


def test_pictures_become_a_clip_with_their_times() -> None:
    seen = clip_of(stills([7, 8, 9, 10]), [0.0, 0.25, 0.5, 1.5], "walk.gif", factor=32)

    assert films.numbers(seen.frames) == [7, 8, 9, 10]
    assert seen.times == [0.0, 0.25, 0.5, 1.5]
    assert seen.sampled_fps == 2.0
    assert (seen.name, seen.path, seen.width, seen.height) == ("walk.gif", None, 160, 96)


def test_without_times_they_are_two_a_second() -> None:
    assert clip_of(stills([1, 2, 3, 4]), None, "frames", factor=32).times == [0.0, 0.5, 1.0, 1.5]
    assert clip_of(stills([1, 2]), None, "frames", factor=32, sampled_fps=10).times == [0.0, 0.1]


@pytest.mark.parametrize("count", [1, 3])
def test_an_odd_last_picture_comes_twice(count: int) -> None:
    seen = clip_of(stills(list(range(count))), None, "frames", factor=32)

    assert films.numbers(seen.frames) == [*range(count), count - 1]
    assert seen.times[-1] == seen.times[-2]
    assert seen.sampled_fps == 2.0


def test_pictures_of_other_sizes_are_brought_to_the_first() -> None:
    seen = clip_of(stills([3]) + stills([4], (300, 77)), None, "frames", factor=32)

    assert films.numbers(seen.frames) == [3, 4]
    assert (seen.width, seen.height) == (160, 96)


def test_more_pictures_than_asked_for_are_thinned_out() -> None:
    seen = clip_of(stills(list(range(21))), None, "frames", factor=32, max_frames=5)

    assert films.numbers(seen.frames) == [0, 7, 13, 20]
    assert seen.times == [0.0, 3.5, 6.5, 10.0]
    assert seen.sampled_fps == pytest.approx(0.3)


def test_transparent_pictures_stand_on_white() -> None:
    seen = clip_of([Image.new("RGBA", (64, 64), (0, 0, 0, 0))], None, "frames", factor=32)

    assert int(seen.frames.min()) == 255


def test_no_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="'frames' holds no frames"):
        clip_of([], None, "frames", factor=32)
    with pytest.raises(UsageError, match="at most 1 frames"):
        clip_of(stills([1]), None, "frames", factor=32, max_frames=1)
    with pytest.raises(UsageError, match="-1 frames a second"):
        clip_of(stills([1]), None, "frames", factor=32, sampled_fps=-1)
