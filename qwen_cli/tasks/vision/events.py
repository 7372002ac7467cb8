"""What happens when in a video: asked for window by window, read, and put together again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli import sanitize
from qwen_cli.errors import UsageError
from qwen_cli.tasks.common import lenient_json

PROMPT = (
    "Localize a series of activity events in the video, output the start and end timestamp for each event, "
    "and describe each event with sentences. Provide the result in json format with 'mm:ss.ff' format for "
    'time depiction, like this: [{"start": "mm:ss.ff", "end": "mm:ss.ff", "what": "description"}]'
)
"""The words of Qwen's cookbook (cookbooks/video_understanding.ipynb in QwenLM/Qwen3-VL and Qwen2.5-VL)
with the keys of `SCHEMA`."""

_TIME = {
    "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]{1,3}:[0-9]{2}(\.[0-9]{1,2})?$"}]
}
SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"start": _TIME, "end": _TIME, "what": {"type": "string"}},
        "required": ["start", "end", "what"],
        "additionalProperties": False,
    },
}
"""A list of events for constrained decoding; times are seconds or "mm:ss.ff"."""

# What else models call these, the cookbook's own output among them ("start_time", "description").
_STARTS = ("start", "start_time", "start_timestamp", "begin", "from")
_ENDS = ("end", "end_time", "end_timestamp", "stop", "to")
_SPANS = ("timestamp", "timestamps", "time", "interval", "time_range")
_WORDS = ("what", "description", "event", "sentence", "caption", "text", "label", "action")

_NUMBER = r"\d+(?:[.,]\d+)?"
# "1:02:03.5", "02:03", "12.5", "12.5s", "<12.5 seconds>" (Qwen3-VL's timestamps of frames).
_CLOCK = re.compile(rf"(?:(?:(\d+):)?(\d+):)?({_NUMBER})\s*(?:s|secs?|seconds?)?", re.IGNORECASE)
_TIMES = re.compile(rf"(?:\d+:){{0,2}}{_NUMBER}")

# Words that say nothing about what happens; without them, sentences about one scene differ enough.
_EMPTY = frozenset(
    "a|an|and|are|at|by|for|her|his|in|is|its|of|on|the|their|to|was|were|with".split("|")  # noqa: SIM905
)
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+|\d+")
_STEM = 4  # letters: "opens" and "opening" are one word

# Measured in common words (2 × common / all). Where two windows saw something at the same time, two of three
# are enough: the same scene told twice differs by as much. Where events only touch, they are the two ends of
# one only if nearly all is the same: "opens the door", "closes the door" has two of three as well.
_ALIKE_TOGETHER, _ALIKE_TOUCHING = 0.6, 0.8
_SHARED = 1.0  # seconds that both saw make it the same time; of what is shorter than two, half


@dataclass(frozen=True)
class Event:
    """Something that happens from `start` to `end`, in seconds of the source."""

    start: float
    end: float
    what: str


def parse(text: str, *, offset: float, duration: float) -> list[Event]:
    """Return the events in an answer about a window that begins `offset` seconds into the source and lasts
    `duration`; the answer counts from the window's start.

    Understands seconds and clock times, other names of the keys, and JSON that is fenced, broken or cut off.
    Times outside are moved to the window's edge, an end before its start is swapped; what has no words or no
    start is left out, what has no end lasts no time. In order of time, without repetitions.
    """
    events: dict[Event, None] = {}
    for one in lenient_json.objects(text):
        what = next((sanitize.one_line(one[key]) for key in _WORDS if isinstance(one.get(key), str)), "")
        first, last = (_seconds(_first(one, keys)) for keys in (_STARTS, _ENDS))
        if first is None:
            first, last = _span(_first(one, _SPANS))
        if what and first is not None:
            last = first if last is None else last
            start, end = sorted(min(max(time, 0.0), float(duration)) for time in (first, last))
            events[Event(offset + start, offset + end, what)] = None
    return sorted(events, key=lambda event: (event.start, event.end))


def windows(start: float, end: float, *, length: float, overlap: float) -> list[tuple[float, float]]:
    """Return the span from `start` to `end` as windows of at most `length` seconds, each sharing `overlap`
    seconds with the next. They are equally long, so that no small rest is left at the end.

    Raises `UsageError` for an empty span and for windows that would not get on.
    """
    if not start < end:
        raise UsageError(
            f"the video would end ({end:g} s) before it starts ({start:g} s)", "change one of them"
        )
    if not 0 <= overlap < length:
        raise UsageError(
            f"windows of {length:g} s cannot overlap by {overlap:g} s", "make the overlap the shorter one"
        )
    whole = end - start
    # A little less, so that a span of exactly three windows is not cut in four by rounding.
    number = max(1, math.ceil((whole - overlap) / (length - overlap) - 1e-9))
    size = (whole + (number - 1) * overlap) / number
    starts = [start + index * (size - overlap) for index in range(number)]
    return [*((at, at + size) for at in starts[:-1]), (starts[-1], end)]


def merge(per_window: Sequence[Sequence[Event]], *, gap: float = 1.0) -> list[Event]:
    """Return the events of overlapping windows as one list in order of time.

    Events of different windows are one where they overlap in time (or are at most `gap` seconds apart) and
    are alike in words; it then has the time of both and the words of the longer one, which was seen more
    whole. Events of the same window stay apart: the model told them apart.
    """
    merged: list[Event] = []
    seen_in: list[int] = []  # the last window that each was seen in
    for window, events in enumerate(per_window):
        for event in sorted(events, key=lambda event: event.start):
            known = [
                index
                for index, other in enumerate(merged)
                if seen_in[index] < window and _same(event, other, gap)
            ]
            if not known:
                merged.append(event)
                seen_in.append(window)
                continue
            best = max(known, key=lambda index: _likeness(event.what, merged[index].what))
            other = merged[best]
            longer = max(other, event, key=lambda one: one.end - one.start)
            start, end = min(other.start, event.start), max(other.end, event.end)
            merged[best], seen_in[best] = replace(longer, start=start, end=end), window
    return sorted(merged, key=lambda event: (event.start, event.end))


def clock(seconds: float) -> str:
    """Return a time to read, to a tenth of a second: "2:03", "1:02:03.5"."""
    tenths = round(max(seconds, 0.0) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}" + (f".{tenths % 10}" if tenths % 10 else "")
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def _first(one: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((one[key] for key in keys if one.get(key) is not None), None)


def _span(value: Any) -> tuple[float | None, float | None]:
    """Return the two times of "00:01 - 00:05" or of a list."""
    if isinstance(value, str):
        value = _TIMES.findall(value)
    times = [_seconds(part) for part in value] if isinstance(value, list) else []
    return (times[0] if times else None), (times[1] if len(times) > 1 else None)


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        match = _CLOCK.fullmatch(value.strip(" \t\n<>[]()"))
        if match is None:
            return None
        hours, minutes, seconds = match.groups()
        value = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e9 else None  # also what is not finite


def _same(one: Event, other: Event, gap: float) -> bool:
    common = min(one.end, other.end) - max(one.start, other.start)
    if common < -gap:
        return False
    shorter = min(one.end - one.start, other.end - other.start)
    together = common >= min(shorter / 2, _SHARED)
    return _likeness(one.what, other.what) >= (_ALIKE_TOGETHER if together else _ALIKE_TOUCHING)


def _likeness(one: str, other: str) -> float:
    """Return the share of words that are in both, from 0 to 1. A sign of Chinese or Japanese counts as a
    word."""
    first, second = _words(one), _words(other)
    if not first or not second:
        return float(one == other)
    return 2 * len(first & second) / (len(first) + len(second))


def _words(text: str) -> frozenset[str]:
    tokens = (token for token in _TOKEN.findall(text.casefold()) if token not in _EMPTY)
    return frozenset(token[:_STEM] for token in tokens)
