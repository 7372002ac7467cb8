"""Small real videos whose frames say their number: made with PyAV, read back from any size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

ACROSS, DOWN = 4, 4
"""Blocks. The first row is a corner mark (white, black, black, black), the others are twelve bits."""

# Codec options that make encoding fast and every file the same; B-frames where the codec has them.
QUICK: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "bf": "3", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3:pools=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "8", "auto-alt-ref": "1"},
    "mpeg4": {"bf": "2", "q": "3"},
    "mpeg2video": {"bf": "2"},
}


def drawn(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """A gray picture (height × width, uint8) that shows `number` (below 4,096) in dark and bright blocks."""
    bits = [1, 0, 0, 0, *((number >> place) & 1 for place in range(12))]
    blocks = np.array(bits, np.uint8).reshape(DOWN, ACROSS) * 215 + 20
    rows = np.arange(height) * DOWN // height
    columns = np.arange(width) * ACROSS // width
    return blocks[rows][:, columns]


def number(picture: Any) -> int:
    """The number a picture shows (3 × height × width, any size); -1 if it is not the right way up."""
    gray = np.asarray(picture, dtype=np.float32).mean(axis=0)
    height, width = gray.shape
    bits = []
    for block in range(ACROSS * DOWN):
        top, left = height * (block // ACROSS) // DOWN, width * (block % ACROSS) // ACROSS
        inner = gray[top + height // 16 : top + 3 * height // 16, left + width // 16 : left + 3 * width // 16]
        bits.append(int(inner.mean() > 128))
    return sum(bit << place for place, bit in enumerate(bits[ACROSS:])) if bits[:4] == [1, 0, 0, 0] else -1


def numbers(frames: Any) -> list[int]:
    """The number of each frame (frames × 3 × height × width)."""
    return [number(frame) for frame in frames]


def make(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    rate: Fraction | int = 30,
    size: tuple[int, int] = (160, 96),
    keyframes: int = 12,
    shown_at: Sequence[int] | None = None,
    turned: float | None = None,
    mirrored: bool = False,
    upright: bool = False,
    options: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
    sound: float = 0.0,
    pixels: str = "yuv420p",
) -> Path:
    """Encode `frames` numbered pictures of `size` (width, height), `rate` a second.

    `keyframes`: distance at most. `shown_at`: when each frame is shown, in 1/rate seconds. `turned` and
    `mirrored`: the display matrix, in degrees counter-clockwise; with `upright` the pictures
    are stored such that this makes them upright. `sound`: seconds of silence beside them.
    """
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={**QUICK.get(codec, {}), **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.gop_size = keyframes
        if turned is not None or mirrored:
            stream.set_display_rotation(turned or 0.0, hflip=mirrored)
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for place in range(frames):
            picture = _lying(place, size, turned or 0.0, mirrored) if upright else drawn(place, *size)
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts = shown_at[place] if shown_at else place
            frame.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            _silence(container, audio, sound)
    return path


def make_sound(path: Path, seconds: float = 1.0, *, codec: str = "aac", cover: bool = False) -> Path:
    """A file with nothing but silence, and a picture of the sleeve."""
    with av.open(str(path), "w") as container:
        audio: Any = container.add_stream(codec, rate=16_000, layout="mono")
        if cover:
            sleeve: Any = container.add_stream("png", rate=1)
            sleeve.width, sleeve.height, sleeve.pix_fmt = 160, 96, "gray"
            sleeve.disposition = Disposition.attached_pic
            container.mux(sleeve.encode(av.VideoFrame.from_ndarray(drawn(1), format="gray")))
            container.mux(sleeve.encode())
        _silence(container, audio, seconds)
    return path


def cut(source: Path, path: Path, share: float) -> Path:
    """The first part of a file, as an interrupted download leaves it."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _lying(number: int, size: tuple[int, int], turned: float, mirrored: bool) -> np.ndarray:
    """The picture that is upright after turning it counter-clockwise and mirroring it."""
    quarters = round(turned / 90)
    picture = drawn(number, *(size if quarters % 2 == 0 else size[::-1]))
    return np.ascontiguousarray(np.rot90(np.fliplr(picture) if mirrored else picture, -quarters))


def _silence(container: Any, stream: Any, seconds: float) -> None:
    for place in range(int(seconds * 16_000 / 1024)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        frame.pts = place * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
