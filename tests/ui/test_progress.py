"""Progress on stderr: how much of a long prompt is read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qwen_cli.ui import progress
from qwen_cli.ui.progress import Reading

CLEARED = "\r\x1b[K"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(progress, "draws", lambda: True)
    return Clock()


def test_what_is_read_and_the_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    engine = SimpleNamespace(reading=None)
    with Reading(engine, clock=clock):
        engine.reading(1_000, 1_000, 17_000)
        clock.now += 40
        engine.reading(1_000, 5_000, 17_000)  # a hundred a second
        told = capsys.readouterr().err
        assert told == f"{CLEARED}\x1b[2mread 5,000 of 17,000 tokens, 2 min left\x1b[0m"
        engine.reading(1_000, 17_000, 17_000)
        assert capsys.readouterr().err == CLEARED
    assert engine.reading is None
    assert capsys.readouterr().err == ""


def test_it_can_be_drawn_by_another(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    drawn: list[str] = []
    engine = SimpleNamespace(reading=None)
    with Reading(engine, drawn.append, clock):
        engine.reading(0, 0, 9_000)
        clock.now += 4
        engine.reading(0, 3_000, 9_000)
        engine.reading(0, 9_000, 9_000)
    assert drawn == ["read 3,000 of 9,000 tokens, 8 s left", "…"]
    assert capsys.readouterr().err == ""


def test_nothing_stays_of_what_was_broken_off(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    engine = SimpleNamespace(reading=None)
    with pytest.raises(KeyboardInterrupt), Reading(engine, clock=clock):
        engine.reading(0, 0, 9_000)
        clock.now += 5
        engine.reading(0, 512, 9_000)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith(CLEARED)


def test_a_short_prompt_tells_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    engine = SimpleNamespace(reading=None)
    with Reading(engine, clock=clock):
        engine.reading(0, 0, 300)
        clock.now += 0.5
        engine.reading(0, 200, 300)
        engine.reading(0, 300, 300)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "draws", lambda: False)
    engine = SimpleNamespace(reading=None)
    with Reading(engine):
        assert engine.reading is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3_540, "59 min"),
        (3_600, "1 h 0 min"),
        (9_000, "2 h 30 min"),
    ],
)
def test_time_in_words(seconds: float, words: str) -> None:
    assert progress._in_words(seconds) == words
