"""A recording of any length: pieces in their order, nothing lost between them."""

from __future__ import annotations

from typing import Any

import heard
import numpy as np
import pytest
import sounds

from qwen_cli.engines.core.base import Capabilities
from qwen_cli.errors import UsageError
from qwen_cli.tasks.speech import transcribe
from tests.serve.played import Played


def done(engine: Any, samples: Any, **ways: Any) -> tuple[str, transcribe.Transcript]:
    running = transcribe.stream(engine, samples, **ways)
    told = ""
    while True:
        try:
            told += next(running)
        except StopIteration as end:
            return told, end.value


def test_a_short_one_is_one_passage() -> None:
    engine = heard.Recogniser()
    samples = sounds.noise(2.0)
    told, transcript = done(engine, samples, language="English", context="x")

    assert told == transcript.text == "language English<asr_text>hello there"  # asked for: there is no head
    assert np.array_equal(engine.heard[0]["samples"], samples)
    assert (engine.heard[0]["language"], engine.heard[0]["context"]) == ("English", "x")


def test_the_language_is_found_out() -> None:
    told, transcript = done(heard.Recogniser(), sounds.noise(1.0))

    assert told == "hello there"
    assert transcript.languages == ["English"]
    assert transcript.usage.prompt_tokens == 10


def test_a_long_one_is_cut_and_put_together() -> None:
    texts = (
        "language English<asr_text>one two. ",
        "language None<asr_text>",
        "language German<asr_text> drei",
    )
    engine = heard.Recogniser(texts=texts, capabilities=heard.with_context(400))
    seconds = transcribe.piece_seconds(engine.capabilities)
    samples = sounds.noise(seconds * 2.5)
    told, transcript = done(engine, samples)

    assert told == transcript.text == "one two. drei"
    assert transcript.languages == ["English", "German"]
    assert np.array_equal(np.concatenate([one["samples"] for one in engine.heard]), samples)
    assert [one.begin for one in transcript.passages][1:] == [one.end for one in transcript.passages][:-1]
    assert transcript.passages[-1].end == pytest.approx(len(samples) / 16_000)
    assert transcript.usage.prompt_tokens == 30


@pytest.mark.parametrize(
    ("before", "after", "gap"),
    [
        ("one.", "two", " "),
        ("你好。", "世界", ""),
        ("テスト", "です", ""),
        ("", "a", ""),
        ("a", "", ""),
        ("한국", "어", " "),
    ],
)
def test_what_stands_between_passages(before: str, after: str, gap: str) -> None:
    assert transcribe.between(before, after) == gap


def test_a_passage_that_was_cut_is_told() -> None:
    _, transcript = done(heard.Recogniser(stop="length"), sounds.noise(1.0))

    assert transcript.usage.stop_reason == "length"


@pytest.mark.parametrize(("context", "most"), [(4096, 180.0), (400, 18.5), (16, 1.0), (None, 180.0)])
def test_a_piece_has_room_in_the_context(context: Any, most: float) -> None:
    assert transcribe.piece_seconds(heard.with_context(context)) == pytest.approx(most, abs=0.1)


def test_only_recognisers_are_asked() -> None:
    for can, says in (
        (Capabilities(10), "hears nothing"),
        (Capabilities(10, audio=True), "answers questions"),
    ):
        with pytest.raises(UsageError, match=f"no speech recogniser: it {says}.*qwen3-asr"):
            done(Played(capabilities=can), sounds.noise(1.0))


def test_languages() -> None:
    assert transcribe.spoken("de") == "German"
    assert transcribe.spoken(None) is None
    with pytest.raises(UsageError, match=r"knows no language 'tlh'.*de \(German\)"):
        transcribe.spoken("tlh")


def test_who_stops_reading_stops_it() -> None:
    engine = heard.Recogniser()
    running = transcribe.stream(engine, sounds.noise(1.0))
    next(running)
    running.close()
    assert len(engine.heard) == 1
