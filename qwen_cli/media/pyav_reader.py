"""What a film shows at a time, decoded by PyAV from the keyframe before it, or onwards where that is less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from qwen_cli.media import video_probe
from qwen_cli.media.video_probe import Film

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

THREADS = 8
"""Decoding threads at most, as in qwen_vl_utils 0.0.14 (TORCHCODEC_NUM_THREADS). Each holds a frame."""

_NEAR = 10
"""Seconds that are read through rather than sought over when keyframes are looked for."""

_START_ONLY = {"mpeg"}
"""Formats where FFmpeg gives packets wrong times after a seek (program streams: .mpg, .vob)."""


class Screen:
    """A film that plays forward only as far as it is asked to. A context manager.

    A second handle on the file looks for keyframes without decoding, so the decoder jumps only when that
    saves work. Two decoded frames are held, and those of the decoder's threads.
    """

    def __init__(self, film: Film) -> None:
        with ExitStack() as opened:
            scouted = opened.enter_context(video_probe.open_file(film.path))
            self._container = opened.enter_context(video_probe.open_file(film.path))
            self._close = opened.pop_all()
        stream, other = video_probe.video_stream(self._container), video_probe.video_stream(scouted)
        assert stream and other and stream.time_base
        stream.thread_type = "AUTO"
        stream.thread_count = min(THREADS, os.cpu_count() or 1)
        self._stream = stream
        self._clock = stream.time_base
        self._film = film
        self._scout = _Scout(scouted, other, round(film.begins / self._clock))
        self._decoded: Iterator[av.VideoFrame] = iter(())
        self._shown: av.VideoFrame | None = None
        self._after: av.VideoFrame | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.close()

    def at(self, seconds: float) -> av.VideoFrame | None:
        """Return the frame on the screen so long after the first one; times must not go back.

        Where that part is damaged it is the nearest frame that can be decoded, None if there is none. Raises
        `av.FFmpegError`.
        """
        tick = before = int((self._film.begins + seconds) / self._clock)
        while True:
            sought, key = self._scout.keyframe(before)
            reached = self._after or self._shown
            if reached is None or (key is not None and key > (reached.pts or 0)):
                self._decoded, self._shown, self._after = self._from(sought, key), None, None
            self._play(tick)
            if self._shown is not None or key is None:
                return self._shown
            before = key - 1  # nothing from that keyframe on can be decoded

    def _play(self, tick: int) -> None:
        """Decode until the next frame is one that is shown after `tick`."""
        while True:
            self._after = self._after or next(self._decoded, None)
            if self._after is None or (self._shown is not None and (self._after.pts or 0) > tick):
                return
            self._shown, self._after = self._after, None

    def _from(self, sought: int, key: int | None) -> Iterator[av.VideoFrame]:
        """Yield the frames from the keyframe at `key` on (None: from the first), in the order shown.

        Packets that cannot be decoded are left out.
        """
        import av

        try:
            # The start: well before the first frame, since an MPEG-TS seek can land behind its packet.
            start = sought - int(_NEAR / self._clock)
            self._container.seek(start if key is None else sought, stream=self._stream)
        except av.FFmpegError:  # an AVI cannot be sought before its start
            self._container.seek(sought, stream=self._stream)
        waiting = key is not None
        for packet in video_probe.packets(self._container, self._stream):
            # What lies between the place sought and the keyframe would only be decoded to be thrown away.
            at = video_probe.when(packet)
            waiting = waiting and not (packet.is_keyframe and at is not None and at >= (key or 0))
            if waiting and packet.size:
                continue
            try:
                yield from (frame for frame in packet.decode() if frame.pts is not None)
            except av.FFmpegError:
                continue


class _Scout:
    """Finds keyframes by looking at packets. Times are in ticks of the stream.

    An index may be missing or hold only some keyframes, and seeking goes by decoding times in one container
    and by byte positions in another: only the packets say where a seek led.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, begins: int) -> None:
        assert stream.time_base
        self._container = container
        self._stream = stream
        self._begins = begins
        self._second = max(1, int(1 / stream.time_base))
        self._sought = self._reached = begins
        self._key: int | None = None
        self._ahead: list[tuple[int, int]] = []  # when keyframes are shown, later than asked, and decoded
        self._packets: Iterator[av.Packet[VideoStream]] = iter(())
        self._next: av.Packet[VideoStream] | None = None  # the first beyond what was read

    def keyframe(self, tick: int) -> tuple[int, int | None]:
        """Return where to seek, and the time of the last keyframe not after `tick`; None stands for the
        start."""
        if self._container.format.name in _START_ONLY:
            return self._begins, None
        if self._key is None or not 0 <= tick - self._reached <= _NEAR * self._second:
            self._seek(tick)
        else:
            self._scan(tick)
        return self._sought, self._key

    def _seek(self, tick: int) -> None:
        """Land before `tick` and read up to it, from further back until there is a keyframe between."""
        import av

        sought, back = self._begins, 0
        self._key = None
        while self._key is None and tick - back > self._begins:
            sought = tick - back
            try:
                self._container.seek(sought, stream=self._stream)
            except av.FFmpegError:
                break
            self._packets = video_probe.packets(self._container, self._stream)
            self._next, self._ahead = next(self._packets, None), []
            self._scan(tick)
            back = 2 * back + self._second
        self._sought = self._begins if self._key is None else sought

    def _scan(self, tick: int) -> None:
        """Read on up to `tick`. Whatever is decoded after it is shown after it."""
        self._reached = tick
        while (packet := self._next) is not None:
            decoded = packet.pts if packet.dts is None else packet.dts
            if decoded is not None and decoded > tick:
                break
            moment = video_probe.when(packet)
            if packet.is_keyframe and moment is not None and decoded is not None:
                self._ahead.append((moment, decoded))
            self._next = next(self._packets, None)
        past = [key for key in self._ahead if key[0] <= tick]
        self._ahead = [key for key in self._ahead if key[0] > tick]
        if past:
            # An MPEG-TS seek goes by decoding times: to the one when it is shown, it would land behind it.
            self._key, self._sought = max(past)
