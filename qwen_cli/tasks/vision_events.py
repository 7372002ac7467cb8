"""What happens when in a video: long ones in overlapping windows, whose answers become one list."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from qwen_cli.engines.protocol import Engine, Sampling
from qwen_cli.media.inputs import Film
from qwen_cli.tasks import video_events, vision, vision_job
from qwen_cli.tasks.vision import Detail
from qwen_cli.tasks.vision_job import Job, Result

_OVERLAP = 0.1  # of a window: what happens across its edge is seen whole by one of the two

Window = tuple[float, float]


def windows(film: Film, detail: Detail, length: float) -> list[Window]:
    """(start, end) in seconds of the parts that are looked at, each at most `length` long."""
    if film.path is None:
        times = film.times or tuple(i / detail.fps for i in range(len(film.frames)))
        whole = times[-1]
    else:
        from qwen_cli.media.film import probe

        whole = probe(film.path).duration
    start, end = detail.start or 0.0, min(detail.end or whole, whole)
    if film.path is None:
        return [(start, end)]
    return video_events.windows(start, end, length=length, overlap=length * _OVERLAP)


def found(
    engine: Engine,
    film: Film,
    parts: Sequence[Window],
    job: Job,
    detail: Detail,
    sampling: Sampling,
    *,
    told: Callable[[int], None] = lambda done: None,
) -> Result:
    """Ask about every window and merge what it says. `told` hears how many are done."""
    seeing = engine.capabilities.seeing
    answers = []
    for done, (start, end) in enumerate(parts):
        told(done)
        part = replace(detail, start=start, end=end) if film.path else detail
        looks = vision.look_at_all([film], engine, part, question=job.asked)
        text = "".join(
            piece.text for piece in vision_job.ask(engine, looks, job, sampling) if piece.kind == "answer"
        )
        # Qwen3-VL is told the times of the source; the others count from the first frame that they see.
        first = 0.0 if seeing.source_times else start
        answers.append(video_events.parse(text, offset=first, duration=end - first))
    told(len(parts))
    events = [asdict(event) for event in video_events.merge(answers)]
    return Result(json.dumps(events, ensure_ascii=False), events)
