"""What `qwen vision` prints: the answer as it comes, data as data, a table of events, pictures with boxes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.shared.output import StreamView, cut, figures, print_json, say, tell_cut

if TYPE_CHECKING:
    from PIL.Image import Image

    from qwen_cli.commands.shared.logged import Recorder
    from qwen_cli.engines.core.base import Engine, Sampling, Stream, Usage
    from qwen_cli.media.inputs import Film, Picture
    from qwen_cli.tasks.vision.prepare import Detail, Look
    from qwen_cli.tasks.vision.task import Job, Result
    from qwen_cli.tasks.vision.windows import Window


def answered(
    engine: Engine,
    looks: Sequence[Look],
    job: Job,
    sampling: Sampling,
    recorder: Recorder,
    *,
    as_json: bool,
) -> None:
    """Ask and print, and tell the `recorder` of the log. A plain answer is shown while it comes; what has a
    form of its own once it is whole."""
    from qwen_cli.tasks.vision import task

    # A document is cleaned when it is whole.
    live = job.kind in ("ask", "ocr") and not as_json
    pieces = recorder.follow(task.ask(engine, looks, job, sampling))
    text, usage = _streamed(pieces, live=live, raw=job.kind != "ask")
    tell_cut(usage)
    result = task.result(job, text, looks, engine.capabilities.seeing)
    recorder.tell(result.text, usage)
    if as_json:
        _object(engine, looks, result, usage)
    elif not live:
        _text(job, result)


def found(
    engine: Engine,
    looks: Sequence[Look],
    job: Job,
    sampling: Sampling,
    drawn_on: Sequence[Image],
    recorder: Recorder,
    *,
    target: Path | None,
    as_json: bool,
) -> None:
    """Ask about each picture alone, and print what is where. Where pictures to be drawn on are given, it is
    drawn there and saved as `target`, numbered where there are several."""
    from qwen_cli.media import annotate
    from qwen_cli.tasks.vision import task

    answers = []
    for one in task.ask_each(engine, looks, job, sampling):
        tell_cut(one.usage)
        answers.append(one)
    result = task.results(job, answers, engine.capabilities.seeing)
    recorder.tell(result.text, task.spent([one.usage for one in answers]))
    if target:
        names = annotate.targets(target, len(drawn_on))
        for image, detections, name in zip(drawn_on, result.detections, names, strict=True):
            places = [(thing.label, thing.box or thing.point or ()) for thing in detections]
            annotate.save(annotate.draw(image, places), name)
            say(f"saved {name}")
    if as_json:
        _object(engine, looks, result, task.spent([one.usage for one in answers]))
    else:
        _text(job, result)


def in_windows(
    engine: Engine,
    film: Picture | Film,
    parts: Sequence[Window],
    job: Job,
    detail: Detail,
    sampling: Sampling,
    recorder: Recorder,
    *,
    as_json: bool,
) -> None:
    """Ask about each part of a long video, and print what comes of it."""
    from qwen_cli.engines.core.base import Usage
    from qwen_cli.media.inputs import Picture
    from qwen_cli.tasks.vision import task
    from qwen_cli.tasks.vision import windows as vision_windows
    from qwen_cli.ui.progress import Bar

    assert not isinstance(film, Picture)
    each = vision_windows.brief(engine, parts, sampling, job.thinking) if job.kind == "ask" else sampling
    with Bar(len(parts)) as bar:
        answers = list(
            vision_windows.answers(
                engine, film, parts, job, detail, each, on_progress=lambda done: bar.show(done, "windows")
            )
        )
    if short := [one for one in answers if cut(one.usage.stop_reason, 0)]:
        say(
            f"{len(short):,} of the {len(answers):,} windows' answers were cut by their share of the context."
            " Raise --context or --max-tokens, or look at less of the video"
        )
    usage = task.spent([one.usage for one in answers])
    if job.kind == "events":
        result = vision_windows.events(answers)
    else:
        text, last = _streamed(vision_windows.merged(engine, answers, job, sampling), live=not as_json)
        tell_cut(last)
        usage += last or Usage()
        result = task.Result(text.strip())
    recorder.tell(result.text, usage)
    if as_json:
        rows = [
            {
                "start": one.window[0],
                "end": one.window[1],
                "answer": one.text,
                "stop_reason": one.usage.stop_reason,
            }
            for one in answers
        ]
        _object(engine, [one.look for one in answers], result, usage, windows=rows)
    elif job.kind == "events":
        _text(job, result)


def _streamed(pieces: Stream, *, live: bool, raw: bool = False) -> tuple[str, Usage | None]:
    """Return the answer, shown while it comes if `live`, and what it cost."""
    view = StreamView(raw=raw or not sys.stdout.isatty(), fold=True) if live else None
    text, usage = "", None
    try:
        for piece in pieces:
            usage = piece.usage or usage
            text += piece.text if piece.kind == "answer" else ""
            if view:
                view.show(piece)
    finally:
        pieces.close()
        if view:
            view.end()
    return text, usage


def costs(looks: Sequence[Look], engine: Engine, *, as_json: bool, windows: int = 1) -> None:
    """Write what the inputs would cost, for --dry-run. `windows`: so many that are looked at one after
    another."""
    rows = [
        {
            "name": look.name,
            "width": look.seen[0],
            "height": look.seen[1],
            "frames": look.frames,
            "tokens": look.tokens,
        }
        for look in looks
    ]
    total = sum(look.tokens for look in looks)
    context = engine.capabilities.context
    if as_json:
        more = {"windows": windows} if windows > 1 else {}
        print_json({"inputs": rows, "tokens": total, "context": context, **more})
        return
    each = f", in each of {windows} windows" if windows > 1 else ""
    typer.echo(f"{total:,} visual tokens of a context of {context or 0:,}{each}")


def _text(job: Job, result: Result) -> None:
    from qwen_cli.sanitize import strip_escapes

    if job.kind == "events" and sys.stdout.isatty():
        _table(result.data)
        return
    text = strip_escapes(result.text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _table(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    from qwen_cli.sanitize import strip_escapes
    from qwen_cli.tasks.vision.events import clock
    from qwen_cli.ui.terminal import stdout_console

    table = Table("start", "end", "what", box=None)
    for row in rows:
        table.add_row(clock(row["start"]), clock(row["end"]), strip_escapes(row["what"]))
    stdout_console().print(table)


def _object(
    engine: Engine,
    looks: Sequence[Look],
    result: Result,
    usage: Usage | None,
    windows: Sequence[dict[str, Any]] = (),
) -> None:
    fields = {
        "answer": result.text if result.data is None else result.data,
        "inputs": [{"name": look.name, "seen": look.seen, "tokens": look.tokens} for look in looks],
        "model": engine.model,
        "engine": engine.name,
        **({"windows": list(windows)} if windows else {}),
        **figures(usage),
    }
    print_json(fields)
