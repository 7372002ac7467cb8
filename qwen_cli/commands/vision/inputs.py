"""What `qwen vision` is asked, and what it is to look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.media.inputs import Film, Picture
    from qwen_cli.tasks.vision.prepare import Detail, Look
    from qwen_cli.tasks.vision.task import Job

_SIZE = re.compile(r"(\d{1,5})[x×](\d{1,5})")


def divided(words: Sequence[str]) -> tuple[list[str], str]:
    """Return (inputs, question): what is a picture, video or address stands first, the rest are words."""
    from qwen_cli.media import inputs

    count = next((n for n, word in enumerate(words) if not inputs.is_input(word)), len(words))
    sources, question = list(words[:count]), " ".join(words[count:]).strip()
    if not sources:
        if words:
            raise UsageError(f"{words[0]!r} is no picture or video that is there", "check the name")
        raise UsageError("there is nothing to look at", 'name a picture: `qwen vision photo.jpg "…"`')
    return sources, question


def job(
    question: str,
    *,
    ocr: bool,
    markdown: bool,
    html: bool,
    tables: bool,
    extract: Path | None,
    locate: str | None,
    count: str | None,
    points: bool,
    draw: Path | None,
    events: bool,
    window: float | None,
    solid: bool = False,
    lines: bool = False,
    system: str | None = None,
) -> Job | None:
    """Return the one thing that the flags ask for; `None`: questions are asked for. Raises `UsageError`."""
    from qwen_cli.tasks.vision.task import Job, Kind

    flags: dict[Kind, bool] = {
        "ocr": ocr,
        "markdown": markdown,
        "html": html,
        "tables": tables,
        "extract": extract is not None,
        "locate": locate is not None,
        "count": count is not None,
        "events": events,
    }
    given = [kind for kind, on in flags.items() if on]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} exclude each other", "choose one")
    if lines and given != ["ocr"]:
        raise UsageError("--boxes is for --ocr", "--locate gives boxes of things")
    if (points or draw) and not {"locate", "count"} & set(given) and not (draw and lines):
        raise UsageError("--points and --draw are for --locate and --count", "say what to locate")
    if solid and given != ["locate"]:
        raise UsageError("--3d is for --locate", "say what to locate")
    if solid and (points or draw):
        raise UsageError(f"--3d and --{'points' if points else 'draw'} exclude each other", "choose one")
    if window is not None and given not in ([], ["events"]):
        raise UsageError(f"--window is for questions and --events, not --{given[0]}", "leave it out")
    if not given:
        return Job("ask", question, window=window, system=system) if question else None
    kind = given[0]
    things = locate if locate is not None else count
    if things is not None:
        if not things.strip():
            raise UsageError(f"--{kind} is empty", 'name the things: --locate "the red cars"')
        if question:
            raise UsageError(f"--{kind} and a question exclude each other", "choose one")
        return Job(kind, things.strip(), points=points, solid=solid, system=system)
    if kind in ("ocr", "markdown", "html", "tables") and question:
        raise UsageError(f"--{kind} and a question exclude each other", "choose one")
    schema = options.schema(str(extract), "--extract") if extract else None
    return Job(kind, question, schema=schema, lines=lines, window=window, system=system)


def size(given: str | None) -> tuple[int, int] | None:
    """Return (width, height) of "640x480". Raises `UsageError`."""
    if given is None:
        return None
    match = _SIZE.fullmatch(given.strip().lower())
    if not match or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
        raise UsageError(f"--resize wants WIDTHxHEIGHT, got {given!r}", "write --resize 640x480")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Gathering:
    """How words become pictures and videos."""

    scratch: Path
    video: bool
    allow_local_urls: bool
    low: bool = False

    def gather(self, words: Sequence[str]) -> list[Picture | Film]:
        """Return what the words name, in their order. Raises `UsageError`."""
        from qwen_cli.media import inputs

        return inputs.gather(
            words,
            video=self.video,
            allow_local_urls=self.allow_local_urls,
            scratch=self.scratch,
            low=self.low,
        )


def check_items(items: Sequence[Picture | Film], job: Job | None, detail: Detail) -> None:
    """Raise `UsageError` for what is asked of inputs that cannot have it: times of pictures, places in
    videos."""
    from qwen_cli.media.inputs import Film

    films = [item for item in items if isinstance(item, Film)]
    if films and job and job.one_by_one:
        raise UsageError(
            f"--{job.kind} looks at pictures, {films[0].name!r} is a video",
            "name a picture",
        )
    for name in ("fps", "start", "end"):
        if getattr(detail, name) is not None and not films:
            raise UsageError(f"--{name} is for videos, there is none", "leave it out, or add --video")


def check_drawing(target: Path, items: Sequence[Picture | Film], sources: Sequence[str]) -> None:
    """Raise `UsageError` for a --draw that cannot be written, before anything is asked."""
    from qwen_cli.media import annotate

    for name in annotate.targets(target, len(items)):
        annotate.check(name)
        if name.exists() and any(Path(one).exists() and name.samefile(one) for one in sources):
            raise UsageError(f"--draw {name} is the picture itself", "give another name")


def prepared(
    engine: Engine,
    items: Sequence[Picture | Film],
    detail: Detail,
    job: Job | None,
    *,
    quiet: bool,
    only_costs: bool = False,
    notice: Callable[[str], None] = relay,
) -> list[Look]:
    """Return the inputs as the model will see them, with a line about what each costs; where `only_costs` are
    wanted without their pixels, so that no video is read."""
    from qwen_cli.tasks.vision import prepare, task
    from qwen_cli.ui.progress import Waiting

    question = ""
    if job:
        question = task.question(job, engine)
        detail = task.closely(job, detail, engine.capabilities.seeing)
    # Asked about one by one, each may have all of the context.
    groups = job.groups(items) if job else [items]
    with Waiting("looking …", relay):
        plans = [
            plan
            for group in groups
            for plan in prepare.plan_all(group, engine, detail, question=question, notice=notice)
        ]
        looks = [one.look if only_costs else one.prepare(prepare.no_progress) for one in plans]
    if not quiet:
        for look in looks:
            say(look.words)
        if any(look.frames and not prepare.is_shown_as_video(look, engine.capabilities) for look in looks):
            say("the frames are shown as pictures with their times")
    return looks


def windows(
    engine: Engine, items: Sequence[Picture | Film], detail: Detail, job: Job | None, *, quiet: bool
) -> list[tuple[float, float]]:
    """Return (start, end) in seconds of the parts of a long video that are asked about one after another;
    empty where one look is enough. Raises `UsageError`."""
    from qwen_cli.media.inputs import Film
    from qwen_cli.tasks.vision import windows as vision_windows
    from qwen_cli.tasks.vision.events import clock

    if job is None or job.kind not in ("ask", "events"):
        return []
    film = items[0]
    if len(items) != 1 or not isinstance(film, Film):
        if job.kind == "events":
            raise UsageError(
                "--events looks at one video", "give a video, or --video with a folder of frames"
            )
        if job.window is not None:
            raise UsageError("--window looks at one video", "give a video")
        return []
    parts = vision_windows.windows(film, engine, detail, job)
    if not quiet and len(parts) > 1:
        long, each = clock(parts[-1][1] - parts[0][0]), clock(parts[0][1] - parts[0][0])
        say(f"{film.name}: {long} long, looked at in {len(parts)} windows of {each} (--window SECONDS)")
    return parts
