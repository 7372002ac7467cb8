"""`qwen vision`: questions about pictures, documents and videos."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import changing, open_engine
from qwen_cli.errors import UsageError

TASKS = "What to get"
DETAIL = "Detail"
BATCH = "Many inputs"


@options.grouped
def vision(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT... [QUESTION]",
            help="Pictures, videos, PDFs (doc.pdf#1-3), folders of frames, addresses, - ; then the question.",
        ),
    ] = None,
    ocr: Annotated[
        bool, typer.Option("--ocr", help="The text in it, in reading order.", rich_help_panel=TASKS)
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A document as Markdown.", rich_help_panel=TASKS)
    ] = False,
    html: Annotated[bool, typer.Option("--html", help="A document as HTML.", rich_help_panel=TASKS)] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Its tables as CSV.", rich_help_panel=TASKS)
    ] = False,
    extract: Annotated[
        Path | None,
        typer.Option("--extract", help="JSON that satisfies this schema file.", rich_help_panel=TASKS),
    ] = None,
    locate: Annotated[
        str | None, typer.Option("--locate", help="Where these things are, as JSON.", rich_help_panel=TASKS)
    ] = None,
    count: Annotated[
        str | None, typer.Option("--count", help="How many of these things there are.", rich_help_panel=TASKS)
    ] = None,
    points: Annotated[
        bool, typer.Option("--points", help="With --locate: points, not boxes.", rich_help_panel=TASKS)
    ] = False,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", help="The picture with what was located, as a file.", rich_help_panel=TASKS),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="What happens when in a video.", rich_help_panel=TASKS)
    ] = False,
    video: Annotated[
        bool,
        typer.Option("--video", help="Folders and animated pictures are videos.", rich_help_panel=DETAIL),
    ] = False,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.01,
            max=120,
            help="Frames to look at a second.",
            show_default="2",
            rich_help_panel=DETAIL,
        ),
    ] = None,
    max_frames: Annotated[
        int,
        typer.Option("--max-frames", min=2, max=4096, help="Most frames of a video.", rich_help_panel=DETAIL),
    ] = 768,
    start: Annotated[
        float | None, typer.Option("--start", min=0, help="Second of a video.", rich_help_panel=DETAIL)
    ] = None,
    end: Annotated[
        float | None, typer.Option("--end", min=0, help="Second of a video.", rich_help_panel=DETAIL)
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window", min=4, help="Seconds of a long video looked at at once.", rich_help_panel=DETAIL
        ),
    ] = None,
    min_pixels: Annotated[
        int | None, typer.Option("--min-pixels", min=1, help="Of a picture.", rich_help_panel=DETAIL)
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", min=1, help="Of a picture.", rich_help_panel=DETAIL)
    ] = None,
    resize: Annotated[
        str | None, typer.Option("--resize", help="WIDTHxHEIGHT to show it in.", rich_help_panel=DETAIL)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it costs and stop.", rich_help_panel=DETAIL)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A line (JSONL) for each input; goes on where it was.", rich_help_panel=BATCH
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="Inputs asked about at once with --out.",
            show_default="1, 4 on a server",
            rich_help_panel=BATCH,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The answer and nothing else.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One object with answer and cost.")] = False,
    show: Annotated[
        bool | None, typer.Option("--show/--no-show", help="Show pictures where the terminal can.")
    ] = None,
    allow_local_urls: options.AllowLocalUrls = False,
    loading: options.Loading = options.Loading(),
    drawing: options.Drawing = options.Drawing(),
) -> None:
    """Ask about pictures, documents and videos.

    `qwen vision photo.jpg "What is this?"` answers; without a question it asks for questions on a terminal.
    """
    from qwen_cli.commands.vision import batch, inputs, output
    from qwen_cli.media.inputs import Picture
    from qwen_cli.tasks.vision.prepare import Detail
    from qwen_cli.ui import image

    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other", "choose one")
    if start is not None and end is not None and end <= start:
        raise UsageError(f"--end {end:g} is not after --start {start:g}", "change one of them")
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
    )
    detail = Detail(
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
    settings = options.merged(user_settings.load(), loading, drawing)
    inputs.choose_model(settings)
    sampling = options.sampling(settings)
    with tempfile.TemporaryDirectory(prefix="qwen-vision-") as scratch:
        gathering = inputs.Gathering(Path(scratch), video=video, allow_local_urls=allow_local_urls)
        if not out:
            items = gathering.gather(sources)  # a name that is wrong is told before a model loads
        with (
            batch.opened(out) if out else nullcontext() as book,
            open_engine(settings, loading) as loaded,
        ):
            if not loaded.capabilities.vision:
                raise UsageError(
                    f"{loaded.model} sees no pictures", "choose a vision model: -m qwen2.5-vl:3b"
                )
            if book:
                assert job
                lanes = at_once or (4 if loaded.name == "remote" else 1)
                flags = changing(settings, loading, sampling)
                batch.run(loaded, gathering, sources, job, detail, sampling, book, flags, at_once=lanes)
                return
            if show is not False and not quiet:
                image.show([item.image for item in items if isinstance(item, Picture)], forced=bool(show))
            parts = inputs.windows(loaded, items, detail, job, quiet=quiet)
            if parts and job and not dry_run:
                output.in_windows(loaded, items[0], parts, job, detail, sampling, as_json=as_json)
                return
            if parts:  # they cost the same each
                detail = replace(detail, start=parts[0][0], end=parts[0][1])
            looks = inputs.prepared(loaded, items, detail, job, quiet=quiet, only_costs=dry_run)
            drawn_on = items[0] if draw else None
            items.clear()  # what the model is shown is in `looks`, smaller than the file's own
            if dry_run:
                output.costs(looks, loaded, as_json=as_json, windows=len(parts) or 1)
            elif job is None:
                inputs.talk(loaded, looks, sampling)
            else:
                output.answered(loaded, looks, job, sampling, drawn_on, target=draw, as_json=as_json)


def _can_ask() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty() and sys.stderr.isatty()
