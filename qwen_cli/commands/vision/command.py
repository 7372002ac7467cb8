"""`qwen vision`: questions about pictures, documents and videos."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.engine import (
    changing,
    check_thinking,
    choose_model,
    look_at,
    open_engine,
    thinking_wish,
)
from qwen_cli.errors import UsageError

TASKS = "Task (instead of a question)"
DETAIL = "Image size and video frames"
OUTPUT = "Output"
BATCH = "Many inputs"


@dataclass(frozen=True)
class VisionSamplingOptions(options.SamplingOptions):
    """The sampling flags; what is said of the parts of a long video has to fit together."""

    max_tokens: Annotated[
        int | None,
        options.max_tokens(
            "Maximum length of the answer in tokens; no limit if not given, but for the windows of a long "
            "video, which have half of the context together. An answer cut there is reported."
        ),
    ] = None


@options.grouped
def vision(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT... [QUESTION]",
            help="Images, videos, PDFs (doc.pdf#1-3 for pages), folders of frames, web addresses or - "
            "(standard input); then the question.",
        ),
    ] = None,
    ocr: Annotated[
        bool,
        typer.Option("--ocr", help="Print the text in an image, in reading order.", rich_help_panel=TASKS),
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Convert a document to Markdown.", rich_help_panel=TASKS)
    ] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Convert a document to HTML.", rich_help_panel=TASKS)
    ] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Print the tables of a document as CSV.", rich_help_panel=TASKS)
    ] = False,
    extract: Annotated[
        Path | None,
        typer.Option(
            "--extract",
            help="Extract data as JSON that satisfies this JSON schema file.",
            rich_help_panel=TASKS,
        ),
    ] = None,
    locate: Annotated[
        str | None,
        typer.Option(
            "--locate",
            help="Find these things in an image and print their boxes as JSON.",
            rich_help_panel=TASKS,
        ),
    ] = None,
    count: Annotated[
        str | None, typer.Option("--count", help="Count these things in an image.", rich_help_panel=TASKS)
    ] = None,
    points: Annotated[
        bool,
        typer.Option("--points", help="With --locate: print points instead of boxes.", rich_help_panel=TASKS),
    ] = False,
    solid: Annotated[
        bool,
        typer.Option(
            "--3d",
            help="With --locate: print boxes in space, in metres from the camera (Qwen3-VL and later).",
            rich_help_panel=TASKS,
        ),
    ] = False,
    boxes: Annotated[
        bool,
        typer.Option(
            "--boxes",
            help="With --ocr: print each line of text with its box, as JSON (Qwen2.5-VL and later).",
            rich_help_panel=TASKS,
        ),
    ] = False,
    draw: Annotated[
        Path | None,
        typer.Option(
            "--draw",
            help="With --locate, --count or --ocr --boxes: save the image with the boxes drawn on it to this "
            "file (.png, .jpg, .webp, .tif); of several images to found-1.png, found-2.png and so on. A file "
            "that was not drawn by this command is not overwritten.",
            rich_help_panel=TASKS,
        ),
    ] = None,
    events: Annotated[
        bool,
        typer.Option(
            "--events", help="List what happens in a video and at which time.", rich_help_panel=TASKS
        ),
    ] = False,
    video: Annotated[
        bool,
        typer.Option(
            "--video", help="Treat folders of images and animated images as videos.", rich_help_panel=DETAIL
        ),
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.01,
            max=120,
            help="Video frames to sample per second; all if not given for an animated image. Of a folder of "
            "frames, all are shown, and this is how many there are per second.",
            show_default="2",
            rich_help_panel=DETAIL,
        ),
    ] = None,
    max_frames: Annotated[
        int,
        typer.Option(
            "--max-frames",
            min=2,
            max=4096,
            help="Maximum number of frames sampled from a video.",
            rich_help_panel=DETAIL,
        ),
    ] = 768,
    start: Annotated[
        float | None,
        typer.Option("--start", min=0, help="Second of the video to start at.", rich_help_panel=DETAIL),
    ] = None,
    end: Annotated[
        float | None,
        typer.Option("--end", min=0, help="Second of the video to end at.", rich_help_panel=DETAIL),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window",
            min=4,
            help="Split a long video into parts of this many seconds.",
            rich_help_panel=DETAIL,
        ),
    ] = None,
    detail: Annotated[
        str,
        typer.Option(
            "--detail",
            help="low: show images in few pixels (512x512), which costs fewer tokens; high: in their own "
            "size. For one of several write photo.jpg#low or photo.jpg#high.",
            autocompletion=complete.among("low", "high"),
            rich_help_panel=DETAIL,
        ),
    ] = "high",
    min_pixels: Annotated[
        int | None,
        typer.Option(
            "--min-pixels",
            min=1,
            help="Enlarge an image to at least this many pixels.",
            rich_help_panel=DETAIL,
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels", min=1, help="Shrink an image to at most this many pixels.", rich_help_panel=DETAIL
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            "--resize",
            help="Size to give an image before the model sees it, as WIDTHxHEIGHT.",
            rich_help_panel=DETAIL,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print how many tokens the inputs cost, and exit.", rich_help_panel=OUTPUT
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File for the results: append one JSONL row per input; resumes an interrupted run.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="With --out: number of inputs asked about at the same time.",
            show_default="1, 4 on a server",
            rich_help_panel=BATCH,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print the answer and nothing else.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object with the answer and its cost.", rich_help_panel=OUTPUT
        ),
    ] = False,
    show: Annotated[
        bool | None,
        typer.Option(
            "--show/--no-show",
            help="Show the images in the terminal, or not; if not given, where the terminal can show them.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    no_log: options.NoLog = False,
    system: Annotated[
        str | None,
        typer.Option("--system", "-s", help="System prompt: instructions that stand before the question."),
    ] = None,
    think: options.Think = None,
    thinking_budget: options.ThinkingBudget = None,
    allow_local_urls: options.AllowLocalUrls = False,
    sampling_options: VisionSamplingOptions = VisionSamplingOptions(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Ask about images, documents and videos.

    Without a question on a terminal, questions are asked for one after another.

    Examples:
      qwen vision photo.jpg "What is this?"
      qwen vision scan.pdf --markdown > scan.md
      qwen vision street.jpg --locate "the red cars" --draw found.png
    """
    from qwen_cli.commands.shared import logged
    from qwen_cli.commands.vision import batch, inputs, output
    from qwen_cli.media.inputs import Picture
    from qwen_cli.tasks.vision.prepare import Detail
    from qwen_cli.ui import image

    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other", "choose one")
    if start is not None and end is not None and end <= start:
        raise UsageError(f"--end {end:g} is not after --start {start:g}", "change one of them")
    if detail.lower() not in ("low", "high"):
        raise UsageError(f"--detail is low or high, got {detail!r}", "write --detail low")
    low = detail.lower() == "low"
    if low and (max_pixels or resize):
        flag = "--max-pixels" if max_pixels else "--resize"
        raise UsageError(f"--detail low and {flag} exclude each other", "choose one")
    if at_once and not out:
        raise UsageError("--parallel is for many inputs", "add --out results.jsonl")
    if out and (dry_run or draw or events):
        flag = "--dry-run" if dry_run else "--draw" if draw else "--events"
        raise UsageError(f"{flag} and --out exclude each other", "run it for each input")
    sources, question = inputs.divided(words or [])
    job = inputs.job(
        question,
        ocr=ocr,
        markdown=markdown,
        html=html,
        tables=tables,
        extract=extract,
        locate=locate,
        count=count,
        points=points,
        draw=draw,
        events=events,
        window=window,
        solid=solid,
        lines=boxes,
        system=system,
    )
    look = Detail(
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        resize=inputs.size(resize),
        fps=fps,
        max_frames=max_frames,
        start=start,
        end=end,
    )
    if job is None and (out or quiet or as_json or not _can_ask()) and not dry_run:
        raise UsageError("there is no question", 'write one: `qwen vision photo.jpg "What is this?"`')
    settings = options.merged(
        user_settings.load(), loading, sampling_options, thinking_budget=thinking_budget
    )
    choose_model(settings, "vision")
    check_thinking(settings, think, thinking_budget)
    greedy = job is not None and job.kind != "ask"  # there is one right answer
    sampling = options.exact_sampling(settings, sampling_options) if greedy else options.sampling(settings)
    with tempfile.TemporaryDirectory(prefix="qwen-vision-") as scratch:
        gathering = inputs.Gathering(Path(scratch), video=video, allow_local_urls=allow_local_urls, low=low)
        if not out:
            items = gathering.gather(sources)  # a name that is wrong is told before a model loads
            inputs.check_items(items, job, look)
        if draw:
            inputs.check_drawing(draw, items, sources)
        with (
            batch.opened(out) if out else nullcontext() as book,
            (look_at if dry_run else open_engine)(settings, loading) as loaded,
        ):
            if not loaded.capabilities.vision:
                hint = "choose a vision model: -m qwen3-vl:2b-instruct"
                if loaded.capabilities.unverified:
                    hint += ", or add --vision where the server is wrong"
                raise UsageError(f"{loaded.model} sees no pictures", hint)
            # A budget that is kept for talking is for questions alone.
            budget = thinking_budget if greedy else settings.get("thinking_budget")
            thinking = thinking_wish(loaded, think, thinking_budget, budget)
            job = job and replace(job, thinking=thinking)
            if book:
                assert job
                lanes = at_once or loaded.capabilities.concurrent_requests
                flags = changing(settings, loading, sampling)
                batch.run(loaded, gathering, sources, job, look, sampling, book, flags, at_once=lanes)
                return
            if show is not False and not quiet:
                image.show([item.image for item in items if isinstance(item, Picture)], forced=bool(show))
            parts = inputs.windows(loaded, items, look, job, quiet=quiet)
            about = f"{job.question or job.kind} [{', '.join(map(str, sources))}]" if job else ""
            recording = partial(logged.recording, "vision", about, loaded, settings, no_log=no_log)
            if parts and job and not dry_run:
                with recording() as recorder:
                    output.in_windows(loaded, items[0], parts, job, look, sampling, recorder, as_json=as_json)
                return
            if parts:  # they cost the same each
                look = replace(look, start=parts[0][0], end=parts[0][1])
            looks = inputs.prepared(loaded, items, look, job, quiet=quiet, only_costs=dry_run)
            drawn_on = [item.image for item in items if isinstance(item, Picture)] if draw else []
            items.clear()  # what the model is shown is in `looks`, smaller than the file's own
            if dry_run:
                output.costs(looks, loaded, as_json=as_json, windows=len(parts) or 1)
            elif job is None:
                from qwen_cli.commands.vision import repl

                repl.run(
                    loaded,
                    looks,
                    sampling,
                    lambda name: open_engine({**settings, "model": name}, loading.for_another()),
                    allow_local_urls=allow_local_urls,
                    system=system,
                    thinking=thinking,
                )
            elif job.one_by_one:
                with recording() as recorder:
                    output.found(
                        loaded, looks, job, sampling, drawn_on, recorder, target=draw, as_json=as_json
                    )
            else:
                with recording() as recorder:
                    output.answered(loaded, looks, job, sampling, recorder, as_json=as_json)


def _can_ask() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty() and sys.stderr.isatty()
