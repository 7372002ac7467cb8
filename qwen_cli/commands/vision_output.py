"""What `qwen vision` prints: the answer as it comes, data as data, a table of events, pictures with boxes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.opening import say
from qwen_cli.errors import QwenError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines import Engine, Sampling, Usage
    from qwen_cli.media.inputs import Film, Picture
    from qwen_cli.tasks.vision import Detail, Look
    from qwen_cli.tasks.vision_job import Job, Result


def answered(
    engine: Engine,
    items: Sequence[Picture | Film],
    looks: Sequence[Look],
    job: Job,
    detail: Detail,
    sampling: Sampling,
    *,
    draw: Path | None,
    as_json: bool,
) -> None:
    """Ask and print. A plain answer is shown while it comes; what has a form of its own once it is whole."""
    from qwen_cli.commands.chat_turn import Answer
    from qwen_cli.tasks import vision_job

    usage: Usage | None = None
    if job.kind == "events":
        result = _events(engine, items, job, detail, sampling)
    else:
        # A document is cleaned when it is whole.
        live = job.kind in ("ask", "ocr") and not as_json
        shower = Answer(raw=job.kind != "ask" or not sys.stdout.isatty(), fold=True) if live else None
        text = ""
        pieces = vision_job.ask(engine, looks, job, sampling)
        try:
            for piece in pieces:
                usage = piece.usage or usage
                text += piece.text if piece.kind == "answer" else ""
                if shower:
                    shower.show(piece)
        finally:
            pieces.close()
            if shower:
                shower.end()
        result = vision_job.result(job, text, looks, engine.capabilities.seeing)
        if live and not as_json:
            return
    if draw:
        drawn(items, result, draw)
    if as_json:
        _object(engine, looks, result, usage)
    else:
        _text(job, result)


def costs(looks: Sequence[Look], engine: Engine, *, as_json: bool) -> None:
    """What the inputs would cost, for --dry-run."""
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
        typer.echo(json.dumps({"inputs": rows, "tokens": total, "context": context}))
        return
    typer.echo(f"{total:,} visual tokens of a context of {context or 0:,}")


def drawn(items: Sequence[Picture | Film], result: Result, target: Path) -> None:
    """Save the picture with what was found in it."""
    from qwen_cli.media import drawing
    from qwen_cli.media.inputs import Picture

    if not isinstance(items[0], Picture):
        raise UsageError("--draw is for pictures, got a video", "locate in a frame of it")
    found = [(thing.label, thing.box or thing.point or ()) for thing in result.found[0]]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        drawing.draw(items[0].image, found).save(target)
    except (OSError, ValueError) as fault:
        raise QwenError(f"{target} cannot be written: {fault}", "give a .png or .jpg") from fault
    say(f"saved {target}")


def _events(
    engine: Engine, items: Sequence[Picture | Film], job: Job, detail: Detail, sampling: Sampling
) -> Result:
    from qwen_cli.media.inputs import Picture
    from qwen_cli.tasks import vision_events
    from qwen_cli.ui.bar import Bar

    if len(items) != 1 or isinstance(items[0], Picture):
        raise UsageError("--events looks at one video", "give a video, or --video with a folder of frames")
    pieces = vision_events.windows(items[0], detail, job.window)
    with Bar(len(pieces)) as bar:
        return vision_events.found(
            engine, items[0], pieces, job, detail, sampling, told=lambda n: bar.show(n, "windows")
        )


def _text(job: Job, result: Result) -> None:
    from qwen_cli.ui.terminal import strip_escapes

    if job.kind == "events" and sys.stdout.isatty():
        _table(result.data)
        return
    text = strip_escapes(result.text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _table(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    from qwen_cli.tasks.video_events import clock
    from qwen_cli.ui.terminal import stdout_console, strip_escapes

    table = Table("start", "end", "what", box=None)
    for row in rows:
        table.add_row(clock(row["start"]), clock(row["end"]), strip_escapes(row["what"]))
    stdout_console().print(table)


def _object(engine: Engine, looks: Sequence[Look], result: Result, usage: Usage | None) -> None:
    shown = {
        "answer": result.text if result.data is None else result.data,
        "inputs": [{"name": look.name, "seen": look.seen, "tokens": look.tokens} for look in looks],
        "model": engine.model,
        "engine": engine.name,
        **(
            {"usage": {"prompt_tokens": usage.prompt_tokens, "generated_tokens": usage.generated_tokens}}
            if usage
            else {}
        ),
    }
    # ASCII: control characters in generated text come out escaped.
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
