"""Frames of a video at wanted times, by torchcodec, PyAV or decord: sought, never decoded as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import UsageError
from qwen_cli.media.pyav_reader import THREADS, Screen
from qwen_cli.media.video_probe import UPRIGHT, Film, Orientation, reason

if TYPE_CHECKING:
    import av
    import torch

FORCED = "FORCE_QWENVL_VIDEO_READER"
"""The environment variable with which qwen_vl_utils is told its reader."""

_TORCHCODEC = {"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}
"""Formats where torchcodec 0.17 gives the right frames. In MPEG-TS and AVI it is up to 10 frames off."""


class _LeftOut(Exception):
    """A reader that leaves a film to the others, and why."""


def pictures(film: Film, times: Sequence[float]) -> Iterator[torch.Tensor]:
    """Yield the picture on the screen at each of `times`, as uint8 of 3 × height × width, upright.

    `times` are ascending seconds after the first frame. The readers are tried in the order of `order()`; one
    that fails is followed by the next from where it stopped. Raises `UsageError` when none is left.
    """
    done = 0
    faults = []
    for name in order():
        try:
            for picture in READERS[name](film, times[done:]):
                yield picture
                done += 1
        except Exception as fault:  # whatever a library raises, the next one may read the file
            faults.append(f"{name}: {reason(fault)}")
        if done == len(times):
            return
    raise UsageError(
        f"{film.name!r} cannot be decoded at {times[done]:.2f} s ({'; '.join(faults) or 'no reader'})",
        "convert it to H.264: ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p FILE.mp4",
    )


def order() -> list[str]:
    """Return the installed readers in the order tried: torchcodec, PyAV, decord, the forced one before all
    others.

    torchcodec may be installed and useless: it needs FFmpeg's shared libraries, which it does not bring; PyAV
    brings its own. decord comes last: it hangs on some files, and 0.6 gives neighbours of frames of MPEG-TS,
    AVI and some MP4. "torchvision" means PyAV, which it read with until it gave up reading videos. Raises
    `UsageError` when the one that is forced is not there.
    """
    names = [name for name, module in _MODULES.items() if find_spec(module) is not None]
    forced = os.environ.get(FORCED, "").strip().lower()
    if not forced:
        return names
    first = "pyav" if forced in ("av", "torchvision") else forced
    if first not in names:
        known = ", ".join(names)
        raise UsageError(
            f"{FORCED} is {forced!r}, which is not installed", f"take one of {known}, or unset it"
        )
    return [first, *(name for name in names if name != first)]


def by_pyav(film: Film, times: Sequence[float]) -> Iterator[torch.Tensor]:
    """Yield the frames by PyAV, see `Screen`. Raises `av.FFmpegError`, and `_LeftOut` when nothing can be
    decoded."""
    with Screen(film) as screen:
        for time in times:
            frame = screen.at(time)
            if frame is None:
                raise _LeftOut("no frame can be decoded")
            yield _tensor(frame, film.orientation)


def by_torchcodec(film: Film, times: Sequence[float]) -> Iterator[torch.Tensor]:
    """Yield the frames by torchcodec, which raises what it likes where FFmpeg's libraries are missing."""
    if film.orientation != UPRIGHT:  # its releases differ in whether they turn pictures
        raise _LeftOut("leaves turned videos to others")
    if film.format not in _TORCHCODEC:
        raise _LeftOut(f"leaves {film.format} to others")
    decoders: Any = import_module("torchcodec.decoders")

    threads = int(os.environ.get("TORCHCODEC_NUM_THREADS", THREADS))
    decoder = decoders.VideoDecoder(str(film.path), num_ffmpeg_threads=threads, dimension_order="NCHW")
    begins, ends = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    for time in times:
        yield decoder.get_frame_played_at(max(begins, min(begins + time, ends - 1e-6))).data


def by_decord(film: Film, times: Sequence[float]) -> Iterator[torch.Tensor]:
    """Yield the frames by decord, one at a time."""
    if film.orientation != UPRIGHT:  # it reads a tag that FFmpeg no longer writes
        raise _LeftOut("leaves turned videos to others")
    import numpy as np
    import torch

    reader = import_module("decord").VideoReader(
        str(film.path), num_threads=min(THREADS, os.cpu_count() or 1)
    )
    starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    for time in times:
        number = max(0, int(np.searchsorted(starts, starts[0] + time, side="right")) - 1)
        yield torch.from_numpy(reader[number].asnumpy()).permute(2, 0, 1)


_MODULES = {"torchcodec": "torchcodec", "pyav": "av", "decord": "decord"}

READERS: dict[str, Callable[[Film, Sequence[float]], Iterator[torch.Tensor]]] = {
    "torchcodec": by_torchcodec,
    "pyav": by_pyav,
    "decord": by_decord,
}


def _tensor(frame: av.VideoFrame, orientation: Orientation) -> torch.Tensor:
    """Return a decoded frame as upright RGB, uint8 of 3 × height × width."""
    import numpy as np
    import torch

    pixels = frame.to_ndarray(format="rgb24")
    if orientation.transposed:
        pixels = pixels.transpose(1, 0, 2)
    across = -1 if orientation.left_right else 1
    down = -1 if orientation.upside_down else 1
    return torch.from_numpy(np.ascontiguousarray(pixels[::down, ::across])).permute(2, 0, 1)
