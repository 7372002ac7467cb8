"""Long videos: looked at in overlapping windows, whose answers become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeAlias

from qwen_cli.engines.core.base import Engine, Sampling, Stream, Usage, is_off
from qwen_cli.media.inputs import Film
from qwen_cli.media.video import lasting
from qwen_cli.tasks.vision import events as vision_events
from qwen_cli.tasks.vision import prepare, task
from qwen_cli.tasks.vision.events import clock
from qwen_cli.tasks.vision.prepare import Detail, Look
from qwen_cli.tasks.vision.task import Job, Result

_OVERLAP = 0.1  # of a window: what happens across its edge is seen whole by one of the two
_EVENTS = 120.0
"""Seconds of a window in which events are looked for: in longer ones small models forget most of them."""

_APART = 5.0
"""Seconds between two frames beyond which one look is not enough. 768 frames, the most of qwen-vl-utils, then
cover an hour, which is what Qwen2.5-VL's model card says that it understands."""

# Of the context: what all windows say together, so that they can be read at once. A few words are needed.
_SAID, _FEWEST = 0.5, 48

_PART = (
    "This is the part from {start} to {end} of a video of {whole}. Answer in a few sentences, from what is "
    "to be seen in this part alone; where it shows nothing of what is asked, say so.\n\n{question}"
)
_WHOLE = (
    "Somebody has looked at a video of {whole} part by part, and said of each:\n\n{said}\n\n"
    "From this, answer for the whole video, with times where they matter: {question}"
)

Window: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class WindowAnswer:
    """What was said of one window. `counted_from` is where in the video the times in it begin, in seconds.
    `look` is without its part; `usage` says what it cost and why it ended."""

    window: Window
    text: str
    counted_from: float
    look: Look
    usage: Usage = field(default_factory=Usage)


def windows(film: Film, engine: Engine, detail: Detail, job: Job) -> list[Window]:
    """Return (start, end) in seconds of the parts to look at; empty for a question that one look answers."""
    start, end = _span(film, detail)
    if film.path is None:
        return [(start, end)] if job.kind == "events" else []
    length = job.window or (_EVENTS if job.kind == "events" else covered(engine, detail))
    if job.kind != "events" and end - start <= length:
        return []
    return vision_events.windows(start, end, length=length, overlap=length * _OVERLAP)


def covered(engine: Engine, detail: Detail) -> float:
    """Return the seconds of video that one look covers: all its frames, as close together as was asked
    for."""
    frames = min(detail.max_frames, prepare.most_frames(engine))
    return frames * (1 / detail.fps if detail.fps else _APART)


def answers(
    engine: Engine,
    film: Film,
    parts: Sequence[Window],
    job: Job,
    detail: Detail,
    sampling: Sampling,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Iterator[WindowAnswer]:
    """Ask about each window. `on_progress` hears how many are done."""
    seeing, as_video = engine.capabilities.seeing, engine.capabilities.video
    _, whole = _span(film, replace(detail, start=None, end=None))
    for done, (start, end) in enumerate(parts):
        on_progress(done)
        # What each window shows is said at once, where nobody wishes otherwise.
        quick = job.thinking is None and engine.capabilities.thinking == "switch"
        window_job = replace(job, thinking=False) if quick else job
        if job.kind == "ask":
            times = {"start": clock(start), "end": clock(end), "whole": clock(whole)}
            window_job = replace(window_job, question=_PART.format(question=job.question, **times))
        part = replace(detail, start=start, end=end) if film.path else detail
        looks = prepare.prepare_all([film], engine, part, question=task.question(window_job, engine))
        (found,) = task.ask_each(engine, looks, window_job, sampling)
        # Qwen3-VL is told the times of the source, as is who is shown frames as pictures; the others count
        # from the first frame that they see.
        counted_from = 0.0 if seeing.source_times or not as_video else start
        seen = replace(looks[0], part={})  # or the frames of all windows would be held
        yield WindowAnswer((start, end), found.answer.strip(), counted_from, seen, found.usage)
    on_progress(len(parts))


def events(answers: Sequence[WindowAnswer]) -> Result:
    """Return what happens when, from all windows."""
    per_window = [
        vision_events.parse(one.text, offset=one.counted_from, duration=one.window[1] - one.counted_from)
        for one in answers
    ]
    merged_events = [asdict(event) for event in vision_events.merge(per_window)]
    return Result(json.dumps(merged_events, ensure_ascii=False), merged_events)


def _thinks(engine: Engine, thinking: bool | int | None) -> bool:
    """Return whether the windows' answers begin with thinking: where that is wished, or cannot be helped."""
    wished = thinking is not None or engine.capabilities.thinking == "always"
    return wished and not is_off(thinking)


def brief(
    engine: Engine, parts: Sequence[Window], sampling: Sampling, thinking: bool | int | None = None
) -> Sampling:
    """Return `sampling` for one window's answer to a question, so short that all of them are read at once. A
    model that thinks first would be cut before it answers."""
    context = engine.capabilities.context
    if context is None or _thinks(engine, thinking):
        return sampling
    share = max(_FEWEST, int(context * _SAID) // len(parts))
    return replace(sampling, max_tokens=min(share, sampling.max_tokens or share))


def merged(engine: Engine, answers: Sequence[WindowAnswer], job: Job, sampling: Sampling) -> Stream:
    """Return the answer for the whole video, from those for its windows."""
    lines = []
    for one in answers:
        start, end = one.window
        counted = f", times in it count from {clock(one.counted_from)}" if one.counted_from else ""
        lines.append(f"[{clock(start)} to {clock(end)}{counted}] {one.text}")
    whole = clock(answers[-1].window[1] - answers[0].window[0])
    prompt = _WHOLE.format(whole=whole, said="\n\n".join(lines), question=job.question)
    before = [{"role": "system", "content": job.system}] if job.system else []
    return engine.chat(
        [*before, {"role": "user", "content": prompt}], sampling=sampling, thinking=job.thinking
    )


def _span(film: Film, detail: Detail) -> Window:
    """Return the seconds of `film` that are asked about."""
    if film.path is None:
        whole = lasting(film.times) if film.times else len(film.frames) / detail.rate
    else:
        from qwen_cli.media.video_probe import probe

        whole = probe(film.path).duration
    return detail.start or 0.0, min(detail.end or whole, whole)
