"""Sound as models hear it: every container, nothing lost at a cut, limits before memory."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import films
import numpy as np
import pytest
import sounds
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_cli.errors import UsageError
from qwen_cli.media import audio


@pytest.mark.parametrize("kind", sounds.CODECS)
def test_every_container_is_heard(kind: str, tmp_path: Path) -> None:
    path = sounds.written(
        tmp_path / f"said.{kind}", sounds.tones(1.0, 0.5, rate=48_000), rate=48_000, channels=2
    )
    heard = audio.decode(path, path.name)

    assert heard.remark == ""
    assert heard.samples.dtype == np.float32 and heard.samples.ndim == 1
    assert abs(heard.seconds - 2.0) < 0.15  # encoders add up to a frame at either end
    first = np.abs(np.fft.rfft(heard.samples[4_000:12_000]))
    assert abs(int(first.argmax()) * 2 - 220) <= 4
    assert np.array_equal(audio.decode(path.read_bytes(), "x").samples, heard.samples)


def test_a_wav_at_the_rate_of_the_models_is_taken_as_it_is() -> None:
    samples = sounds.noise(0.3)
    heard = audio.decode(audio.as_wav(samples), "x").samples

    assert np.abs(heard - samples).max() < 1e-4


def wav(rate: int = 16_000, channels: int = 1, frames: int = 100) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(b"\0\1" * frames * channels)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"these are words and no sound " * 50, "not a sound"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "not a sound"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "not a sound"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "not a sound"),
        (wav(frames=0), "no sound"),
        (wav(rate=1), "no recording"),
        (wav(rate=4_000_000), "no recording"),
        (wav()[:30], "not a sound"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_sound(data: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=f"'x.wav' .*{says}") as caught:
        audio.decode(data, "x.wav")
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path, "a folder"),
        (tmp_path / "none.wav", "no file"),
        (Path("/dev/null"), "plain"),
    ):
        with pytest.raises(UsageError, match=says):
            audio.decode(path, str(path))


def test_a_film_without_sound(tmp_path: Path) -> None:
    silent = films.make(tmp_path / "silent.mp4")
    with pytest.raises(UsageError, match="holds no sound"):
        audio.decode(silent, "silent.mp4")


def test_too_long_is_told_while_it_is_decoded() -> None:
    with pytest.raises(UsageError, match=r"longer than 2 seconds"):
        audio.decode(wav(frames=16_000 * 3), "x", most_seconds=2)
    assert audio.decode(wav(frames=16_000 * 2), "x", most_seconds=2).seconds == 2
    with pytest.raises(UsageError, match="longer than 1 minute"):  # few bytes a second
        audio.decode(wav(rate=1_000, frames=62_000), "x", most_seconds=60)


def test_a_damaged_part_is_told() -> None:
    whole = sounds.encoded(sounds.noise(6.0), "flac")
    heard = audio.decode(whole[: len(whole) * 2 // 3], "torn.flac")

    assert 3 < heard.seconds < 5
    assert heard.remark.startswith("torn.flac is damaged or was cut off: ")
    assert "of 6.0 seconds" in heard.remark


def test_it_is_cut_where_it_is_quiet() -> None:
    samples = sounds.tones(6.0, 5.0, 7.0, pause=0.4)
    cut = audio.pieces(samples, 8.0, window=5.0)
    ends = np.cumsum([len(piece) for piece in cut])[:-1] / audio.RATE

    assert len(cut) == 3
    assert 6.0 < ends[0] < 6.4 and 11.4 < ends[1] < 11.8


@given(
    st.integers(0, 200_000), st.floats(0.01, 3), st.sampled_from(["silence", "noise", "tones"]),
    st.floats(0, 9),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_pieces_are_the_whole(length: int, seconds: float, kind: str, window: float) -> None:
    whole = {
        "silence": np.zeros(length, np.float32),
        "noise": sounds.noise(length / 16_000 + 1e-6)[:length],
        "tones": sounds.tones(length / 16_000),
    }[kind]
    cut = audio.pieces(whole, seconds, window=window)

    assert np.array_equal(np.concatenate(cut), whole)
    assert all(len(piece) <= max(2, int(seconds * audio.RATE)) for piece in cut)
    assert len(whole) == 0 or all(len(piece) for piece in cut)
    assert len(cut) <= 2 + 2 * len(whole) / max(2, int(seconds * audio.RATE))
