"""Sound of any file that FFmpeg knows, as models hear it: one channel of 16,000 samples a second."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.errors import UsageError
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

Samples: TypeAlias = "NDArray[np.float32]"
"""A sound from -1 to 1, `RATE` values a second."""

RATE = 16_000
"""Samples a second: what the feature extractors of Qwen2-Audio, Qwen-Omni and Qwen3-ASR were trained with."""

MOST_SECONDS = 4 * 3600
"""Seconds of a sound at most, once decoded: 0.9 GB of samples. A file of kilobytes may last for days."""

LARGEST = 1 << 30
"""Bytes of a file that is read from a pipe: two hours of uncompressed stereo have 1.3 GB."""

# What may be opened: FFmpeg also opens text that names other files (playlists), and pictures.
_FORMATS = (
    "aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "flac", "flv",
    "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpeg", "mpegts", "ogg", "tta", "w64", "wav", "wv",
)  # fmt: skip
_RATES = range(1_000, 768_001)  # samples a second of a file: telephones have 8,000, studios 384,000
_CHANNELS = 64
_BROKEN_READS = 100  # packets in a row that cannot be read, after which the rest is given up


@dataclass(frozen=True, eq=False)
class Sound:
    """A decoded sound. `name` is how messages call it, `remark` what could not be read of it."""

    name: str
    samples: Samples = field(repr=False)
    remark: str = ""

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return len(self.samples) / RATE


def decode(source: Path | bytes, name: str, *, most_seconds: float = MOST_SECONDS) -> Sound:
    """Return the sound of a file or of its bytes, which messages call `name`. Raises `UsageError` for what
    holds no sound, is empty, damaged from the start, or lasts longer than `most_seconds`."""
    import av  # FFmpeg's libraries: 60 ms
    import numpy as np

    name = clean_name(name)
    _check(source, name)
    opened: Any = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    options = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}
    try:
        with av.open(opened, options=options, metadata_errors="replace") as container:
            stream = container.streams.best("audio")
            if stream is None:
                raise UsageError(
                    f"{name!r} holds no sound", "give a recording: .wav, .mp3, .flac, .ogg, .m4a"
                )
            declared = _declared(container, stream)
            packets = _Packets(container, stream)
            parts = list(_resampled(packets, name, most_seconds))
    except (av.FFmpegError, OSError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).strip(" .")[:120]
        raise UsageError(
            f"{name!r} is not a sound that FFmpeg can open, or was cut off ({reason})",
            "give a whole .wav, .mp3, .flac, .ogg, .m4a or .mp4",
        ) from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise UsageError(
            f"{name!r} holds no sound that can be decoded", "play it to see whether it is damaged"
        )
    heard, remark = len(samples) / RATE, ""
    if packets.lost or heard < declared - max(0.5, declared / 100):
        whole = f" of {declared:.1f}" if declared > heard else ""
        remark = f"{name} is damaged or was cut off: {heard:.1f}{whole} seconds of it can be decoded"
    return Sound(name, np.clip(np.nan_to_num(samples), -1, 1), remark)


def pieces(samples: Samples, seconds: float, *, window: float = 5.0) -> list[Samples]:
    """Cut `samples` into pieces of at most `seconds`, each at the quietest place of the last `window` of them
    (half of it where that is longer). Joined they are `samples` again."""
    import numpy as np

    most = max(2, int(seconds * RATE))
    sought = max(1, min(int(window * RATE), most // 2))
    cuts = [0]
    while len(samples) - cuts[-1] > most:
        stop = cuts[-1] + most
        cuts.append(stop - sought + _quietest(np.abs(samples[stop - sought : stop])))
    return [samples[start:stop] for start, stop in itertools.pairwise([*cuts, len(samples)])]


def as_wav(samples: Samples) -> bytes:
    """Return `samples` as a WAV file of 16 bits."""
    import wave

    import numpy as np

    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(np.round(samples * 32_767).astype("<i2").tobytes())
    return file.getvalue()


# Qwen3-ASR's own package cuts where a tenth of a second has the least sound (QwenLM/Qwen3-ASR, qwen_asr,
# `split_audio_into_chunks`: min_window_ms=100).
_QUIET = RATE // 10


def _quietest(loudness: Samples) -> int:
    """Return where the quietest tenth of a second has its middle, the last where several are alike."""
    import numpy as np

    if len(loudness) <= _QUIET:
        return max(1, len(loudness) // 2)
    sums = np.concatenate([[0.0], np.cumsum(loudness, dtype=np.float64)])
    windows = np.round(sums[_QUIET:] - sums[:-_QUIET], 6)
    return int(len(windows) - 1 - np.argmin(windows[::-1])) + _QUIET // 2


class _Packets:
    """The frames of a stream. `lost` counts the packets that cannot be decoded."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self.lost = 0

    def __iter__(self) -> Iterator[av.AudioFrame]:
        import av

        broken = 0
        while broken < _BROKEN_READS:
            try:
                for packet in self._container.demux(self._stream):
                    broken = 0
                    try:
                        yield from packet.decode()
                    except av.FFmpegError:
                        self.lost += bool(packet.size)
                return
            except av.FFmpegError:
                broken += 1
                self.lost += broken == 1


# Formats whose files say how long they are; of others FFmpeg guesses it.
_TIMED = {"flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "ogg", "wav", "w64"}


def _declared(container: Any, stream: Any) -> float:
    """Return how many seconds the file says that it lasts, 0 where it does not."""
    if container.format.name not in _TIMED or not stream.duration or not stream.time_base:
        return 0.0
    return float(stream.duration * stream.time_base)


def _resampled(packets: _Packets, name: str, most_seconds: float) -> Iterator[Samples]:
    """Yield the frames as models hear them. Raises `UsageError` before one that makes it too long."""
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    room = most_seconds + 0.1  # encoders fill up their last frame
    for frame in packets:
        if frame.sample_rate not in _RATES or len(frame.layout.channels) > _CHANNELS:
            raise UsageError(
                f"{name!r} has {frame.sample_rate:,} samples a second in {len(frame.layout.channels)} "
                "channels, which is no recording",
                "convert it: ffmpeg -i FILE -ar 16000 -ac 1 FILE.wav",
            )
        room -= frame.samples / frame.sample_rate
        if room < 0:
            raise UsageError(
                f"{name!r} lasts longer than {_clock(most_seconds)}",
                f"cut it: ffmpeg -i FILE -f segment -segment_time {max(1, int(most_seconds))} PART%d.wav",
            )
        frame.pts = None  # what a file says of times may leave holes
        for done in resampler.resample(frame):
            yield done.to_ndarray()[0]
    for done in resampler.resample(None):
        yield done.to_ndarray()[0]


def _clock(seconds: float) -> str:
    """Return a length in words: "4 hours", "30 seconds"."""
    for unit, name in ((3600, "hour"), (60, "minute")):
        if seconds >= unit and math.isclose(seconds % unit, 0):
            return f"{seconds / unit:g} {name}{'s' * (seconds != unit)}"
    return f"{seconds:g} seconds"


def _check(source: Path | bytes, name: str) -> None:
    if isinstance(source, bytes):
        if not source:
            raise UsageError(f"{name!r} is empty (0 bytes)", "record it again")
        return
    try:
        if source.is_dir():
            raise UsageError(f"{name!r} is a folder, not a sound", "name a file in it")
        if not source.exists():
            raise UsageError(f"no file {name!r}", "check the name")
        if not source.is_file():
            raise UsageError(f"{name!r} is not a plain file", "pipe it into `qwen listen -`")
        if not source.stat().st_size:
            raise UsageError(f"{name!r} is empty (0 bytes)", "record it again")
        with source.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise UsageError(f"{name!r} cannot be read: {error}", "check its permissions") from error
