"""What happens when: answers about windows of a video, and one list of events for all of it."""

from __future__ import annotations

from itertools import pairwise

import jsonschema
import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.vision.events import PROMPT, SCHEMA, Event, clock, merge, parse, windows


def times(text: str, *, offset: float = 0.0, duration: float = 100_000.0) -> list[tuple[float, float]]:
    return [(event.start, event.end) for event in parse(text, offset=offset, duration=duration)]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("12.5", 12.5),
        ("7", 7),
        ('"12.5"', 12.5),
        ('"12.5s"', 12.5),
        ('"12.5 seconds"', 12.5),
        ('"<3.0 seconds>"', 3),
        ('"02:03"', 123),
        ('"00:01.50"', 1.5),
        ('"00:01,500"', 1.5),
        ('"1:02:03.5"', 3723.5),
    ],
)
def test_times_are_seconds_or_clock_times(written: str, seconds: float) -> None:
    assert times(f'[{{"start": {written}, "end": 90000, "what": "x"}}]') == [(seconds, 90000)]


@pytest.mark.parametrize(
    "entry",
    [
        '{"start": 1.5, "end": 4, "what": "a man runs"}',
        '{"start_time": "00:01.50", "end_time": "00:04.00", "description": "a man runs"}',
        '{"timestamp": "00:01.50 - 00:04", "event": "a man runs"}',
        '{"timestamps": [1.5, 4.0], "caption": "a man\\n runs"}',
        "{'start': '1.5', 'end': 4, 'what': 'a man runs',}",
        '{"start": "00:04", "end": "00:01.5", "what": "a man runs"}',
    ],
)
def test_an_event_is_read_as_models_write_it(entry: str) -> None:
    wanted = [Event(101.5, 104.0, "a man runs")]
    assert parse(f"```json\n[\n{entry}\n]\n```", offset=100, duration=60) == wanted
    assert parse(f"Here: {entry}", offset=100, duration=60) == wanted


def test_of_an_answer_that_was_cut_off_the_whole_events_count() -> None:
    text = '[{"start": 1, "end": 2, "what": "one"}, {"start": 3, "end": 4, "what": "tw'
    assert parse(text, offset=0, duration=60) == [Event(1, 2, "one")]


def test_times_outside_are_moved_to_the_edge_of_the_window() -> None:
    assert times('[{"start": -3, "end": 75, "what": "x"}]', offset=30, duration=60) == [(30, 90)]


@pytest.mark.parametrize(
    "entry",
    [
        '{"start": "soon", "end": 2, "what": "x"}',
        '{"end": 2, "what": "x"}',
        '{"start": 1, "end": 2}',
        '{"start": 1, "end": 2, "what": "  "}',
        '{"start": NaN, "end": 2, "what": "x"}',
        '{"start": true, "end": 2, "what": "x"}',
    ],
)
def test_what_has_no_start_or_no_words_is_no_event(entry: str) -> None:
    assert times(f"[{entry}]") == []


def test_an_event_without_an_end_takes_no_time_and_all_are_in_order() -> None:
    text = '[{"start": 9, "what": "b"}, {"start": 1, "end": 2, "what": "a"}, {"start": 9, "what": "b"}]'
    assert parse(text, offset=0, duration=10) == [Event(1, 2, "a"), Event(9, 9, "b")]


def test_the_schema_takes_seconds_and_clock_times_and_nothing_else() -> None:
    jsonschema.validate([{"start": 1.5, "end": "00:04.25", "what": "x"}], SCHEMA)
    for wrong in (
        {"start": 1, "end": 2},
        {"start": "soon", "end": 2, "what": "x"},
        {"start": 1, "end": 2, "what": 3},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([wrong], SCHEMA)
    assert all(f'"{key}"' in PROMPT for key in SCHEMA["items"]["required"])


@pytest.mark.parametrize(
    ("span", "length", "overlap", "expected"),
    [
        ((0, 30), 60, 10, [(0, 30)]),
        ((0, 60), 60, 10, [(0, 60)]),
        ((0, 100), 40, 10, [(0, 40), (30, 70), (60, 100)]),
        ((5, 125), 60, 0, [(5, 65), (65, 125)]),
        ((0, 61), 60, 0, [(0, 30.5), (30.5, 61)]),
    ],
)
def test_windows_cover_everything_and_are_equally_long(
    span: tuple[float, float], length: float, overlap: float, expected: list[tuple[float, float]]
) -> None:
    assert windows(*span, length=length, overlap=overlap) == expected


@pytest.mark.parametrize("whole", [60.1, 119.9, 100.5, 3601.7, 86_400.0])
def test_windows_of_any_length_of_video(whole: float) -> None:
    found = windows(3.0, 3.0 + whole, length=60.0, overlap=6.0)
    assert found[0][0] == 3.0
    assert found[-1][1] == 3.0 + whole
    assert all(27 < end - start <= 60.000001 for start, end in found)
    assert all(one[1] - other[0] == pytest.approx(6.0) for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("start", "end", "length", "overlap"),
    [(5, 5, 10, 0), (9, 5, 10, 0), (0, 50, 10, 10), (0, 50, 10, -1), (0, 5, 0, 0)],
)
def test_windows_that_get_nowhere_are_refused(
    start: float, end: float, length: float, overlap: float
) -> None:
    with pytest.raises(UsageError):
        windows(start, end, length=length, overlap=overlap)


def test_an_event_cut_by_a_window_becomes_one() -> None:
    first = [Event(2, 8, "A dog barks."), Event(50, 60, "A man in a red shirt opens the door.")]
    second = [Event(54, 63, "A man wearing a red shirt is opening a door."), Event(80, 84, "He sits down.")]
    assert merge([first, second]) == [
        Event(2, 8, "A dog barks."),
        Event(50, 63, "A man in a red shirt opens the door."),
        Event(80, 84, "He sits down."),
    ]


def test_a_long_event_is_one_although_both_windows_saw_little_of_it() -> None:
    cooks = Event(10, 60, "A woman cooks soup."), Event(58, 110, "A woman is cooking a soup.")
    assert merge([[cooks[0]], [cooks[1]]]) == [Event(10, 110, "A woman is cooking a soup.")]


def test_an_event_may_run_through_many_windows() -> None:
    parts = [[Event(at, at + 60, "The car drives on a road.")] for at in (0, 50, 100, 150)]
    assert merge(parts) == [Event(0, 210, "The car drives on a road.")]


def test_the_words_are_those_of_who_saw_more_of_it() -> None:
    merged = merge(
        [
            [Event(57, 60, "A cook cuts vegetables.")],
            [Event(54, 90, "A cook cuts the vegetables, carefully.")],
        ]
    )
    assert merged == [Event(54, 90, "A cook cuts the vegetables, carefully.")]


def test_other_languages_are_compared_too() -> None:
    assert len(merge([[Event(0, 10, "一个男人打开门")], [Event(8, 14, "一名男子打开了门")]])) == 1
    assert len(merge([[Event(0, 10, "一个男人打开门")], [Event(8, 14, "狗在草地上跑")]])) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Event(0, 10, "A man opens the door."), Event(10, 20, "A man closes the door.")),
        (Event(0, 10, "A dog barks."), Event(2, 9, "A woman reads a book.")),
        (Event(0, 10, "A dog barks."), Event(2, 9, "A dog runs.")),
        (Event(0, 10, "A dog barks."), Event(11.5, 20, "A dog barks.")),
    ],
)
def test_other_events_stay_apart(one: Event, other: Event) -> None:
    assert merge([[one], [other]]) == [one, other]


def test_the_gap_can_be_wider() -> None:
    parts = [[Event(0, 10, "A dog barks.")], [Event(11.5, 20, "A dog barks.")]]
    assert merge(parts, gap=2.0) == [Event(0, 20, "A dog barks.")]


def test_what_one_window_tells_apart_stays_apart() -> None:
    jumps = [Event(1, 2, "A boy jumps."), Event(2.5, 3.5, "A boy jumps.")]
    assert merge([jumps]) == jumps
    assert merge([[Event(1, 2, "A boy jumps.")], [*jumps]]) == jumps


def test_merging_nothing() -> None:
    assert merge([]) == []
    assert merge([[], []]) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (2.04, "0:02"),
        (3.5, "0:03.5"),
        (59.96, "1:00"),
        (123, "2:03"),
        (3600, "1:00:00"),
        (3723.5, "1:02:03.5"),
    ],
)
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
