"""`qwen vision … --out results.jsonl`: a line for each input, the next one prepared while the model works."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from qwen_cli.commands.shared.flags import spelled
from qwen_cli.commands.shared.output import cut, say
from qwen_cli.commands.vision.inputs import check_items
from qwen_cli.errors import EngineError, QwenError, UsageError
from qwen_cli.tasks.common import jsonl, parallel
from qwen_cli.tasks.vision import prepare as vision_prepare
from qwen_cli.tasks.vision import task
from qwen_cli.ui.progress import Bar

if TYPE_CHECKING:
    from qwen_cli.commands.vision.inputs import Gathering
    from qwen_cli.engines.core.base import Engine, Sampling
    from qwen_cli.tasks.vision.prepare import Detail, Look
    from qwen_cli.tasks.vision.task import Job


Prepared: TypeAlias = "tuple[list[Look], list[str]] | QwenError"
"""The input as the model will see it and what there is to say about it, or why it cannot be seen."""


def opened(out: Path) -> jsonl.Journal:
    """Return the journal of answers, held from here on. Raises `UsageError` where `out` holds something
    else."""
    return jsonl.Journal(out, "qwen vision")


def run(
    engine: Engine,
    gathering: Gathering,
    words: Sequence[str],
    job: Job,
    detail: Detail,
    sampling: Sampling,
    book: jsonl.Journal,
    flags: Mapping[str, Any] | None = None,
    *,
    at_once: int = 1,
) -> None:
    """Ask the same of every input that `book` does not have yet, `at_once` of them on engines that can. An
    input that fails, or whose answer is cut, is a row with `error`, is tried again the next time, and makes
    the exit code 1. `flags` are what else the answers depend on."""
    from qwen_cli.media import inputs

    if job.kind == "events":
        raise UsageError("--events and --out exclude each other", "run it for each video")
    names = list(dict.fromkeys(inputs.expand(words)))
    question = task.question(job, engine)
    rows = {str(row.get("input")): row for row in book.rows}
    if strange := next((n for n, row in rows.items() if row.get("question") != question), None):
        raise UsageError(
            f"{book.path} holds an answer to another question, about {strange!r}", "give another --out"
        )
    book.begin(_run_settings(engine, job, detail, gathering, flags or {}))
    detail = task.closely(job, detail, engine.capabilities.seeing)
    left = [name for name in names if name not in rows or "error" in rows[name]]
    if len(left) < len(names):
        say(f"{len(names) - len(left):,} of {len(names):,} are there already: {book.path}")
    with Bar(len(names)) as bar:
        bar.show(len(names) - len(left), "")
        for name, answer in _answers(engine, gathering, left, job, detail, sampling, at_once):
            rows[name] = book.add({"input": name, "question": question, **answer})
            bar.show(len([n for n in names if n in rows]), name)
    book.arrange("input", names)
    failed = [name for name in names if "error" in rows[name]]
    for name in failed:
        say(f"{name}: {rows[name]['error']}")
    typer.echo(f"{len(names) - len(failed):,} of {len(names):,} answered, in {book.path}")
    if failed:
        raise typer.Exit(1)


def _run_settings(
    engine: Engine, job: Job, detail: Detail, gathering: Gathering, flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the answers depend on, as the rows tell it. How long they may be is not among it: a cut one
    is asked for again, and the others are as they are."""
    usual = asdict(vision_prepare.Detail())
    return {
        "model": engine.model,
        "task": job.kind,
        "points": job.points or None,
        "solid": job.solid or None,
        "boxes": job.lines or None,
        "system": job.system,
        "thinking": job.thinking,
        **{name: value for name, value in asdict(detail).items() if value != usual[name]},
        "video": gathering.video or None,
        "detail": "low" if gathering.low else None,
        **{name: value for name, value in flags.items() if name != "max_tokens"},
    }


def _answers(
    engine: Engine,
    gathering: Gathering,
    names: Sequence[str],
    job: Job,
    detail: Detail,
    sampling: Sampling,
    at_once: int,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each name with what was answered, as it comes. They are prepared one after another, in order."""
    prepared = _prepared(engine, gathering, names, job, detail)
    lanes = engine.lanes(at_once) if at_once > 1 else [engine]
    if len(lanes) == 1:
        yield from ((name, _row(engine, looks, job, sampling)) for name, looks in prepared)
        return
    turn = threading.Lock()

    def one(lane: Engine, _: str, stopped: parallel.Stopped) -> tuple[str, dict[str, Any]]:
        with turn:
            name, looks = next(prepared)
        return name, _row(lane, looks, job, sampling)

    yield from parallel.map_unordered(lanes, names, one)


def _prepared(
    engine: Engine, gathering: Gathering, names: Sequence[str], job: Job, detail: Detail
) -> Iterator[tuple[str, Prepared]]:
    """Yield every input as the model will see it; while one is asked about, the next is read, resized, cut
    into patches, and its prompt made tokens."""

    def prepare(name: str) -> Prepared:
        remarks: list[str] = []
        try:
            items = gathering.gather([name])
            check_items(items, job, vision_prepare.Detail())
            looks: list[Look] = []
            # Asked about one by one, each may have all of the context.
            for group in job.groups(items):
                seen = vision_prepare.prepare_all(group, engine, detail, notice=remarks.append)
                engine.prepare(task.turns(engine, seen, job))
                looks += seen
            return looks, remarks
        except QwenError as fault:
            return fault

    with ThreadPoolExecutor(1) as worker:
        ahead = [worker.submit(prepare, name) for name in names[:1]]
        for index, name in enumerate(names):
            looks = ahead.pop().result()
            ahead += [worker.submit(prepare, following) for following in names[index + 1 : index + 2]]
            yield name, looks


def _row(engine: Engine, prepared: Prepared, job: Job, sampling: Sampling) -> dict[str, Any]:
    if isinstance(prepared, QwenError):
        return {"error": spelled(str(prepared))}
    looks, remarks = prepared
    try:
        answers = []
        for one in task.ask_each(engine, looks, job, sampling):
            said = {"stop_reason": one.usage.stop_reason}
            if reason := cut(one.usage.stop_reason, one.usage.generated_tokens):
                return {"answer": one.answer, **said, "error": f"{reason[0]}. {reason[1].capitalize()}"}
            answers.append(one)
        result = task.results(job, answers, engine.capabilities.seeing)
    except (EngineError, UsageError) as fault:
        return {"error": spelled(str(fault))}
    tokens = sum(look.tokens for look in looks)
    told = {"remarks": [spelled(remark) for remark in remarks]} if remarks else {}
    answer = result.text if result.data is None else result.data
    return {"answer": answer, **said, "visual_tokens": tokens, **told}
