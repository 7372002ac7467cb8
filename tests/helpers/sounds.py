"""Recordings made here: tones with silence between them, in any container that FFmpeg writes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CODECS = {
    "wav": ("wav", "pcm_s16le"), "mp3": ("mp3", "libmp3lame"), "flac": ("flac", "flac"),
    "ogg": ("ogg", "libopus"), "m4a": ("ipod", "aac"), "mp4": ("mp4", "aac"), "webm": ("webm", "libopus"),
}  # fmt: skip


def tones(*seconds: float, rate: int = 16_000, pause: float = 0.5) -> NDArray[np.float32]:
    """A tone for each of `seconds`, each of its own pitch, with a `pause` between them."""
    parts: list[NDArray[np.float32]] = []
    for number, length in enumerate(seconds):
        at = np.arange(int(length * rate)) / rate
        parts += [0.4 * np.sin(2 * np.pi * (220 + 110 * number) * at), np.zeros(int(pause * rate))]
    return np.concatenate(parts[:-1]).astype(np.float32)


def noise(seconds: float, seed: int = 1) -> NDArray[np.float32]:
    """Loud noise, nowhere silent."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * 16_000)).astype(np.float32)


def encoded(
    samples: NDArray[np.float32], kind: str = "wav", *, rate: int = 16_000, channels: int = 1
) -> bytes:
    """The file of `samples` in a container `kind` of `CODECS`."""
    import av

    container, codec = CODECS[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        layout = "mono" if channels == 1 else "stereo"
        stream = out.add_stream(codec, rate=rate, layout=layout)
        fifo = av.AudioFifo()
        whole = np.repeat(samples[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = None
            fifo.write(part)
        size = stream.codec_context.frame_size or 4096
        while part := fifo.read(size, partial=True):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


def written(path: Path, samples: NDArray[np.float32], **how: int) -> Path:
    """`samples` in a file whose ending says the container."""
    path.write_bytes(encoded(samples, path.suffix[1:], **how))
    return path
