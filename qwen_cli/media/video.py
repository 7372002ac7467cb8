"""Videos as a model is to see them: which frames, how large, read one by one.

The rules are those of `fetch_video` in qwen_vl_utils 0.0.14 (tests compare them); its readers are not used:
they hold every frame at full size, and the one it falls back on is gone from torchvision.
"""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qwen_cli.errors import UsageError
from qwen_cli.media import smart_resize, video_backends
from qwen_cli.media.video_probe import Film, probe
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = ["Clip", "Film", "choose", "clip", "clip_of", "filled", "frame_size", "planned", "planned_of"]
__all__ += ["probe", "read", "stacked"]

# qwen_vl_utils.vision_process: FPS, FPS_MIN_FRAMES, FPS_MAX_FRAMES, FRAME_FACTOR.
FPS = 2.0
MIN_FRAMES, MAX_FRAMES = 4, 768
PAIR = 2
"""Frames that the vision encoder joins: their number is a multiple of it."""

TICKS = 1000.0
"""The `fps` of a clip whose frames were given one by one: they have no rate, so indices are milliseconds."""

OnProgress = Callable[[int, int], None]
"""Called with the number of frames read and of all."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one video, ready for a model.

    `frames` is a uint8 tensor of T × 3 × height × width, T even. Frame i is number `indices[i]` of a source
    of `fps` frames a second; `sampled_fps` is the rate of the frames chosen. `height` and `width` are the
    source's, in pixels. `path` is None where the frames do not come from a video file; `frames` is None where
    they are only `planned`.
    """

    name: str
    frames: Any
    indices: tuple[int, ...]
    fps: float
    sampled_fps: float
    height: int
    width: int
    path: Path | None = None

    @property
    def times(self) -> list[float]:
        """Return when each frame is shown, in seconds from the start of the video."""
        return [index / self.fps for index in self.indices]


def no_progress(done: int, total: int) -> None:
    """Ignore progress: the `Told` of a caller that shows none."""


def choose(
    film: Film,
    *,
    fps: float = FPS,
    min_frames: int = MIN_FRAMES,
    max_frames: int = MAX_FRAMES,
    start: float | None = None,
    end: float | None = None,
) -> list[int]:
    """Return the numbers of the frames a model is to see: `fps` a second, evenly spread, an even number of
    them.

    `start` and `end` are seconds. Where they, or the film, hold a single frame, it comes twice. Raises
    `UsageError` for times outside of the film and rates or limits that leave nothing.
    """
    import torch  # seconds

    _check_choice(film, fps, min_frames, max_frames, start, end)
    first, last = _span(film, start, end)
    count = last - first + 1
    if count < PAIR:
        return [first] * PAIR
    requested = {"fps": fps, "min_frames": min_frames, "max_frames": max_frames}
    frames = _library().smart_nframes(requested, total_frames=count, video_fps=film.fps)
    return torch.linspace(first, last, frames).round().long().tolist()


def frame_size(
    frames: int,
    height: int,
    width: int,
    *,
    factor: int,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
) -> tuple[int, int]:
    """Return (height, width) of each of `frames` frames as a model sees them, multiples of `factor`.

    `factor` is the side in pixels of what one token covers: 28 up to Qwen2.5-VL, 32 for Qwen3-VL.
    `min_pixels` and `max_pixels` bound one frame, `total_pixels` all of them; the defaults are 128 and 768
    tokens, and nine tenths of MODEL_SEQ_LEN (an environment variable, 128,000). Raises `UsageError` for
    budgets that exclude each other and for frames more than 200 times as long as wide.
    """
    library = _library()
    token = factor * factor
    for value, what in ((min_pixels, "least"), (max_pixels, "most"), (total_pixels, "total")):
        if value is not None and value < 1:
            raise UsageError(
                f"the {what} pixels are {value:,}, but must be 1 or more", "give a larger number"
            )
    least = min_pixels
    if least is None:
        least = min(library.VIDEO_MIN_TOKEN_NUM * token, max_pixels or library.VIDEO_MIN_TOKEN_NUM * token)
    total = library.MODEL_SEQ_LEN * token * 0.9 if total_pixels is None else total_pixels
    limit = max(min(library.VIDEO_MAX_TOKEN_NUM * token, total / frames * PAIR), int(least * 1.05))
    most = limit if max_pixels is None else min(max_pixels, limit)
    # A fraction of a pixel, which the division may leave, counts in the library too.
    wide, high = smart_resize.fitted(width, height, factor, min_pixels=least, max_pixels=cast(int, most))
    return high, wide


def read(
    film: Film, indices: Sequence[int], *, size: tuple[int, int], on_progress: OnProgress = no_progress
) -> torch.Tensor:
    """Return the frames of these numbers, upright and resized to `size` (height, width): uint8, T × 3 × H ×
    W.

    Any order, repeats allowed. Each is resized as soon as it is decoded, so one frame at full size is held.
    Raises `UsageError` for what cannot be decoded.
    """
    import torch

    frames = torch.empty((len(indices), 3, *size), dtype=torch.uint8)
    places: dict[int, list[int]] = {}
    for place, index in enumerate(indices):
        places.setdefault(index, []).append(place)
    wanted = sorted(places)
    # The middle of the time that a frame of an even rate is shown, so that rounding cannot reach another.
    times = [(index + 0.5) / film.fps for index in wanted]
    done = 0
    for index, picture in zip(wanted, video_backends.pictures(film, times), strict=True):
        frames[places[index]] = _resized(picture, size)
        done += len(places[index])
        on_progress(done, len(indices))
    return frames


def planned(
    path: Path,
    *,
    factor: int,
    name: str | None = None,
    fps: float = FPS,
    min_frames: int = MIN_FRAMES,
    max_frames: int = MAX_FRAMES,
    start: float | None = None,
    end: float | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
) -> tuple[Clip, tuple[int, int]]:
    """Return a video file as a model is to see it, before its frames are read, and their (height, width)."""
    film = probe(path, name)
    indices = choose(film, fps=fps, min_frames=min_frames, max_frames=max_frames, start=start, end=end)
    size = frame_size(
        len(indices),
        film.height,
        film.width,
        factor=factor,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        total_pixels=total_pixels,
    )
    first, last = _span(film, start, end)
    sampled = len(indices) / (last - first + 1) * film.fps
    return Clip(film.name, None, tuple(indices), film.fps, sampled, film.height, film.width, path), size


def clip(
    path: Path, *, name: str | None = None, on_progress: OnProgress = no_progress, **wished: Any
) -> Clip:
    """Return a video file as a model is to see it, with its frames; `wished` is what `planned` takes."""
    return filled(*planned(path, name=name, **wished), on_progress)


def filled(plan: Clip, size: tuple[int, int], on_progress: OnProgress = no_progress) -> Clip:
    """Return what was `planned`, with its frames of `size` (height, width)."""
    assert plan.path
    return replace(
        plan, frames=read(probe(plan.path, plan.name), plan.indices, size=size, on_progress=on_progress)
    )


def planned_of(
    images: Sequence[Image],
    times: Sequence[float] | None,
    name: str,
    *,
    factor: int,
    sampled_fps: float | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int = MAX_FRAMES,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    total_pixels: int | None = None,
) -> tuple[Clip, tuple[int, int], list[Image]]:
    """Return the pictures as the frames of a video, shown at `times` (ascending seconds): the clip without
    its frames, their (height, width), and the pictures that they are made of.

    Without times they are `fps` (else `sampled_fps`) a second, 2 by default, and all of them are shown; with
    times that rate is their own, and where `fps` are wished for, so many are shown of each second. Those from
    `start` to `end` (seconds) are. Pictures of other sizes are brought to the first one's; more than
    `max_frames` are thinned out evenly; an odd last one comes twice. Raises `UsageError` for no pictures, for
    times outside, and as `frame_size` does.
    """
    label = clean_name(name)
    if not images:
        raise UsageError(f"{label!r} holds no frames", "give at least one picture")
    if max_frames < PAIR:
        raise UsageError(f"at most {max_frames} frames are asked for", f"ask for {PAIR} or more")
    if sampled_fps is not None and not sampled_fps > 0:
        raise UsageError(f"{sampled_fps} frames a second are asked for", "ask for more than 0")
    wished = fps if times else None  # what has no times of its own is as close together as that says
    times = times or [place / (fps or sampled_fps or FPS) for place in range(len(images))]
    first, last = _between(times, start, end, label)
    there = last - first + 1
    count = min(there, max_frames - max_frames % PAIR)
    if wished:
        long = min(lasting(times), end or math.inf) - max(times[first], start or 0.0)
        closer = min(max(int(long * wished + 1e-6), MIN_FRAMES), count)
        count = max(closer - closer % PAIR, min(count, PAIR))
    if wished and count < there:  # evenly in time: frames may be shown longer or shorter than others
        step = (times[last] - times[first]) / max(1, count - 1)
        seconds = [times[first] + place * step for place in range(count)]
        places = [bisect.bisect_right(times, second + 1e-9) - 1 for second in seconds]
    else:
        places = [first + round(place * (there - 1) / max(1, count - 1)) for place in range(count)]
        seconds = [times[place] for place in places]
    if sampled_fps is None or count < len(images):
        passed = seconds[-1] - seconds[0]
        sampled_fps = (count - 1) / passed if passed > 0 else sampled_fps or FPS
    width, height = images[0].size
    if count % PAIR:
        seconds.append(seconds[-1])
    size = frame_size(
        len(seconds),
        height,
        width,
        factor=factor,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        total_pixels=total_pixels,
    )
    indices = tuple(round(second * TICKS) for second in seconds)
    clip = Clip(label, None, indices, TICKS, sampled_fps, height, width)
    return clip, size, [images[place] for place in places]


def lasting(times: Sequence[float]) -> float:
    """Return how long pictures last that are shown at `times`: the last one as long as that before it."""
    return times[-1] + (times[-1] - times[-2] if len(times) > 1 else 0.0)


def _between(times: Sequence[float], start: float | None, end: float | None, label: str) -> tuple[int, int]:
    """Return the first and the last of the pictures that are shown between two times. Raises `UsageError`."""
    whole = lasting(times)
    if start is not None and start >= max(whole, 1e-9):
        raise UsageError(f"{label!r} lasts {whole:.2f} s, it has no frame at {start:g} s", "begin earlier")
    first = max(0, bisect.bisect_right(times, (start or 0.0) + 1e-9) - 1)
    last = len(times) - 1 if end is None else bisect.bisect_left(times, end - 1e-9) - 1
    return first, max(first, last)


def clip_of(
    images: Sequence[Image],
    times: Sequence[float] | None,
    name: str,
    *,
    on_progress: OnProgress = no_progress,
    **wished: Any,
) -> Clip:
    """Return the pictures as a video with its frames; `wished` is what `planned_of` takes."""
    clip, size, chosen = planned_of(images, times, name, **wished)
    return stacked(clip, chosen, size, on_progress)


def stacked(
    plan: Clip, images: Sequence[Image], size: tuple[int, int], on_progress: OnProgress = no_progress
) -> Clip:
    """Return what was `planned_of` these pictures, with its frames of `size` (height, width)."""
    import numpy as np
    import torch

    frames = torch.empty((len(plan.indices), 3, *size), dtype=torch.uint8)
    for place, image in enumerate(images):
        pixels = torch.from_numpy(np.array(_library().to_rgb(image)))
        frames[place:] = _resized(pixels.permute(2, 0, 1), size)
        on_progress(place + 1, len(images))
    return replace(plan, frames=frames)


def _resized(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize as `fetch_video` does: the same values, since it gives uint8 to torchvision too."""
    from torchvision.transforms import InterpolationMode, functional  # type: ignore[import-untyped]

    return functional.resize(picture, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True)


def _span(film: Film, start: float | None, end: float | None) -> tuple[int, int]:
    """Return the first and the last frame between two times; a single one where no two begin there."""
    requested = {"video_start": start, "video_end": end}
    try:
        first, last, _ = _library().calculate_video_frame_range(requested, film.frames, film.fps)
    except ValueError:  # fewer than two frames
        index = min(int((start or 0.0) * film.fps), film.frames - 1)
        return index, index
    return first, last


def _check_choice(
    film: Film, fps: float, min_frames: int, max_frames: int, start: float | None, end: float | None
) -> None:
    if not (fps > 0 and math.isfinite(fps)):
        raise UsageError(f"{fps} frames a second are asked for", "ask for more than 0")
    if max_frames < PAIR:
        raise UsageError(f"at most {max_frames} frames are asked for", f"ask for {PAIR} or more")
    if min_frames < 1:
        raise UsageError(f"at least {min_frames} frames are asked for", "ask for 1 or more")
    long = f"{film.name!r} lasts {film.duration:.2f} s"
    if start is not None and not 0 <= start < film.duration:
        raise UsageError(f"{long}, it has no frame at {start} s", "begin earlier, at 0 or later")
    if end is not None and not end > (start or 0.0):
        raise UsageError(f"the end, {end} s, is not after the start, {start or 0.0} s", "end later")


def _library() -> Any:
    """Import qwen_vl_utils, which imports torch and torchvision: seconds. Its warnings would name its own
    arguments, which a person does not know."""
    from qwen_vl_utils import vision_process  # type: ignore[import-untyped]

    logging.getLogger(vision_process.__name__).setLevel(logging.ERROR)
    return vision_process
