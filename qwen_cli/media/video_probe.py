"""A video file before any frame is wanted of it: is it one, how large, how long, which way up."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from qwen_cli.errors import UsageError
from qwen_cli.media import limits
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# FFmpeg opens text as a slide of letters, and lists of files by opening what they name: neither is a video.
_NOT_VIDEOS = {"tty", "hls", "dash", "concat", "image2", "imf", "webm_dash_manifest"}

_SLACK = 1.5
"""Frames by which a header and the packets may disagree: containers round times and cut the last frame."""

_BROKEN_READS = 100
"""Unreadable packets in a row after which the rest of a file is given up."""


@dataclass(frozen=True)
class Orientation:
    """How the stored picture becomes the upright one: transposed first, then mirrored."""

    transposed: bool = False
    left_right: bool = False
    upside_down: bool = False


UPRIGHT = Orientation()


@dataclass(frozen=True)
class Film:
    """What a video file says of itself.

    `width` and `height` are in pixels as shown, after rotation. Frame n of `frames` is what the screen
    shows from n / `fps` to (n + 1) / `fps` seconds: where the rate varies, `frames` and `fps` are nominal.
    `duration` is in seconds. `begins` is the time of the first frame on the file's own clock, in seconds.
    `format` is FFmpeg's name of the container.
    """

    name: str
    path: Path
    width: int
    height: int
    fps: float
    frames: int
    duration: float
    begins: float = 0.0
    orientation: Orientation = UPRIGHT
    format: str = ""


def probe(path: Path, name: str | None = None) -> Film:
    """Look at a video file; one frame is decoded, the rest only sought in.

    `name` is how messages call it, the path by default. A file that was cut off is as long as what can be
    read of it. Raises `UsageError` for what is missing, empty, not a video, only sound, without times, or
    cannot be decoded.
    """
    import av  # FFmpeg's libraries: 60 ms

    label = clean_name(name or str(path))
    _check_file(path, label)
    try:
        with open_file(path) as container:
            stream = _video_stream(container, label)
            return _film(container, stream, path, label)
    except (av.FFmpegError, OSError) as error:
        raise UsageError(
            f"{label!r} is not a video that FFmpeg can open, or was cut off ({reason(error)})",
            "give a whole .mp4, .mkv or .webm",
        ) from error


def open_file(path: Path) -> InputContainer:
    """Return the container of a file on this machine; names inside of it are never fetched from a network."""
    import av

    # "file:" keeps a name such as "concat:a|b" from being a protocol. Metadata may be in any encoding.
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the stream to show: the one FFmpeg would play, never the cover of a song."""
    from av.stream import Disposition

    films = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    chosen = next((one for one in films if one is best), films[0] if films else None)
    if chosen is not None and chosen.codec_context is not None:
        chosen.codec_context.options = {"max_pixels": str(limits.DECODED)}  # frames may grow on the way
    return chosen


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Yield the packets from where the container stands, and an empty one at the end; damaged ones left
    out."""
    import av

    broken = 0
    while broken < _BROKEN_READS:
        try:
            for packet in container.demux(stream):
                broken = 0
                if not packet.is_corrupt:
                    yield packet
            return
        except av.FFmpegError:
            broken += 1


def when(packet: av.Packet[VideoStream]) -> int | None:
    """Return when a packet is shown, in ticks; an AVI only says when it is decoded."""
    return packet.dts if packet.pts is None else packet.pts


def reason(error: BaseException) -> str:
    """Return an exception in a few words: FFmpeg's text, or the first line of a library's."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0].strip(" .:")[:120]


def _check_file(path: Path, label: str) -> None:
    try:
        if path.is_dir():
            raise UsageError(f"{label!r} is a folder, not a video", "name a file in it")
        if not path.exists():
            raise UsageError(f"no file {label!r}", "check the name")
        if not path.is_file():  # a pipe or a device cannot be sought in
            raise UsageError(f"{label!r} is not a plain file", "save the video first")
        if not path.stat().st_size:
            raise UsageError(f"{label!r} is empty (0 bytes)", "fetch or record the video again")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"{label!r} cannot be read: {reason(error)}", "check its permissions") from error


def _video_stream(container: InputContainer, label: str) -> VideoStream:
    kinds = set(container.format.name.split(","))
    if kinds & _NOT_VIDEOS or any(kind.endswith("_pipe") for kind in kinds):
        raise UsageError(f"{label!r} is not a video ({container.format.name})", "give an .mp4, .mkv or .webm")
    stream = video_stream(container)
    if stream is None:
        if container.streams.audio:
            raise UsageError(f"{label!r} holds only sound, no pictures", "give a video with a picture track")
        raise UsageError(
            f"{label!r} holds no video ({container.format.name}), or was cut off before it says where it is",
            "fetch or record it again",
        )
    if stream.codec_context is None:
        raise UsageError(f"{label!r}: no decoder here for its video track", "convert it to H.264 with FFmpeg")
    wide, high = stream.codec_context.width, stream.codec_context.height
    if wide * high > limits.DECODED:
        raise UsageError(
            f"{label!r} has frames of {wide:,} × {high:,} pixels, more than those of 8K film",
            "make it smaller: ffmpeg -i FILE -vf scale=1920:-2 SMALLER.mp4",
        )
    return stream


def _film(container: InputContainer, stream: VideoStream, path: Path, label: str) -> Film:
    frame = _first_frame(container, stream)
    if frame is None:
        raise UsageError(f"no frame of {label!r} can be decoded", "play it to see whether it is damaged")
    clock = stream.time_base
    if frame.pts is None or not clock:
        raise UsageError(
            f"{label!r} is a bare stream ({container.format.name}), which does not time its frames",
            "put it into a container: ffmpeg -i FILE -c copy FILE.mp4",
        )
    begins, ends = frame.pts, max(_end(container, stream, frame.pts), frame.pts + 1)
    duration = float((ends - begins) * clock)
    fps = float(stream.average_rate or stream.guessed_rate or 0) or _counted(container, stream) / duration
    frames = stream.frames
    if not frames or frames / fps > duration + _SLACK / fps:  # unknown, or the file was cut off
        frames = max(1, round(duration * fps))
    elif frames / fps < duration - _SLACK / fps:  # a varying rate, whose average the header misjudges
        fps = frames / duration
    orientation = _orientation(frame)
    height, width = frame.height, frame.width
    if orientation.transposed:
        height, width = width, height
    start, kind = float(begins * clock), container.format.name
    return Film(label, path, width, height, fps, frames, duration, start, orientation, kind)


def _first_frame(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    import av

    for packet in packets(container, stream):
        try:
            for frame in packet.decode():
                return frame
        except av.FFmpegError:  # a damaged packet; the next keyframe may be whole
            continue
    return None


def _end(container: InputContainer, stream: VideoStream, begins: int) -> int:
    """Return when the last packet that can be read ends, in ticks of the stream.

    Headers are wrong in files that were cut off, and where the sound outlasts the picture. Only the last
    packets are read; where there are none, the point is found by halving.
    """
    clock = stream.time_base
    assert clock
    reported = stream.duration or int((container.duration or 0) / 1_000_000 / clock)
    low, high = begins, begins + reported
    second = max(1, int(1 / clock))
    # A second earlier: an MPEG-TS seek can land between the last frames, which are not in the order shown.
    last = _last_packet(container, stream, max(low, high - second))
    while last is None and high - low > second:
        middle = (low + high) // 2
        packet = next(_packets_from(container, stream, middle), None)
        low, high = (low, middle) if packet is None else (middle, high)
    return last or _last_packet(container, stream, low) or begins


def _last_packet(container: InputContainer, stream: VideoStream, tick: int) -> int | None:
    ends = [at + (packet.duration or 0) for at, packet in _packets_from(container, stream, tick)]
    return max(ends, default=None)


def _packets_from(
    container: InputContainer, stream: VideoStream, tick: int
) -> Iterator[tuple[int, av.Packet[VideoStream]]]:
    """Yield the packets with their times, from the keyframe before `tick`; none where the file cannot be
    sought in."""
    import av

    try:
        container.seek(tick, stream=stream)
    except av.FFmpegError:
        return
    for packet in packets(container, stream):
        at = when(packet)
        if at is not None and packet.size:
            yield at, packet


def _counted(container: InputContainer, stream: VideoStream) -> int:
    """Return the packets of the stream, counted without decoding, at least 1."""
    import av

    try:
        container.seek(0 if stream.start_time is None else stream.start_time, stream=stream)
    except av.FFmpegError:
        return 1
    return max(1, sum(1 for packet in packets(container, stream) if packet.size))


def _orientation(frame: av.VideoFrame) -> Orientation:
    """Read the display matrix: x' = a·x + c·y, y' = b·x + d·y, stored as (a, b, u, c, d, v, x, y, w)."""
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("=5i", cast(bytes, side))
    if abs(b) > abs(a):
        return Orientation(transposed=True, left_right=c < 0, upside_down=b < 0)
    return Orientation(left_right=a < 0, upside_down=d < 0)
