"""What is wanted of pictures and videos: how the model is asked for it, and what its answer means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

from qwen_cli import sanitize
from qwen_cli.engines.core.base import Boxes, Engine, Sampling, Seeing, Stream, Usage
from qwen_cli.errors import EngineError, SchemaUnmet, UsageError
from qwen_cli.tasks.common import json_schema, structured
from qwen_cli.tasks.vision import counting, documents, events, grounding, tables
from qwen_cli.tasks.vision.grounding import Detection
from qwen_cli.tasks.vision.prepare import Detail, Look, message

Input = TypeVar("Input")

Kind: TypeAlias = Literal["ask", "ocr", "markdown", "html", "tables", "extract", "locate", "count", "events"]


# Tables are taken out of a document's Markdown.
_FORMS: dict[Kind, documents.Form] = {
    "ocr": "ocr",
    "markdown": "markdown",
    "tables": "markdown",
    "html": "html",
}


@dataclass(frozen=True)
class Job:
    """`question` is a question, or the things to find; `schema` belongs to "extract", `points` and `solid`
    (boxes in space) to "locate", `lines` (each with its box) to "ocr", `window` (seconds of a video taken at
    once; `None`: as is usual) to "events" and "ask". `system` stands before it all; `thinking` as in
    `Engine.chat`."""

    kind: Kind
    question: str = ""
    schema: dict[str, Any] | None = None
    points: bool = False
    solid: bool = False
    lines: bool = False
    window: float | None = None
    system: str | None = None
    thinking: bool | int | None = None

    @property
    def one_by_one(self) -> bool:
        """Return whether each picture is asked about alone: an answer's places are in one of them."""
        return self.kind in ("locate", "count") or self.lines

    def groups(self, inputs: Sequence[Input]) -> list[list[Input]]:
        """Return what is asked about together: all of the inputs, or each alone."""
        return [[one] for one in inputs] if self.one_by_one else [list(inputs)]


@dataclass(frozen=True)
class Result:
    """`text` is what a person reads, `data` what a program does (`None` where there is only text);
    `detections` are the things located, one list for each input."""

    text: str
    data: Any = None
    detections: tuple[tuple[Detection, ...], ...] = ()


@dataclass(frozen=True)
class Found:
    """What was said of one input of several, or of all together: their `looks`, the `answer`, its cost."""

    looks: tuple[Look, ...]
    answer: str
    usage: Usage


def question(job: Job, engine: Engine) -> str:
    """Return the words that ask for it, in the way of the model's generation. Raises `UsageError` where
    places are asked of a model whose way to write them is not known."""
    seeing = engine.capabilities.seeing
    if job.one_by_one:
        if seeing.boxes is None:
            raise UsageError(
                f"how {engine.model!r} writes coordinates is not known",
                "use a Qwen2-VL, Qwen2.5-VL, Qwen3-VL or later model, and let its name say which",
            )
        if job.solid and seeing.boxes != "thousand":
            raise UsageError(
                f"{engine.model!r} knows no boxes in space", "use a Qwen3-VL or later model, or flat boxes"
            )
        if job.solid:
            return grounding.solid_prompt(job.question)
        if job.lines and seeing.boxes == "tags":
            raise UsageError(
                f"{engine.model!r} knows no boxes of text lines", "use a Qwen2.5-VL or later model"
            )
        if job.lines:
            return documents.LINES_WITH_BOXES
        return grounding.prompt(job.question, seeing.boxes, points=job.points)
    if job.kind == "extract":
        text = documents.schema_prompt(job.schema or {})
        return f"{job.question}\n\n{text}" if job.question else text
    if job.kind == "events":
        return f"{events.PROMPT}\n{job.question}" if job.question else events.PROMPT
    form = _FORMS.get(job.kind)
    return documents.prompt(form, seeing.boxes) if form else job.question


def closely(job: Job, detail: Detail, seeing: Seeing) -> Detail:
    """Return `detail`, and where things are to be found and nothing else is wished, as many tokens as that
    needs. Where an answer counts in pixels of what the model saw, that is `exact`."""
    if job.kind != "ask" and seeing.boxes == "absolute":
        detail = replace(detail, exact=True)
    least = seeing.least_located * seeing.unit**2
    wished = detail.min_pixels or detail.resize or (detail.max_pixels or least) < least
    return detail if wished or not job.one_by_one else replace(detail, min_pixels=least)


def turns(engine: Engine, looks: Sequence[Look], job: Job) -> list[dict[str, Any]]:
    """Return the messages that ask for it. Raises `UsageError` as `question` does."""
    turn = message(looks, question(job, engine))
    form = _FORMS.get(job.kind)
    own = documents.system(form, engine.capabilities.seeing.boxes) if form and not job.lines else None
    before = "\n\n".join(part for part in (own, job.system) if part)
    return [{"role": "system", "content": before}, turn] if before else [turn]


def ask(engine: Engine, looks: Sequence[Look], job: Job, sampling: Sampling) -> Stream:
    """Return the model's answer. Reading, finding and filling in are greedy: there is one right answer."""
    schema = events.SCHEMA if job.kind == "events" else None
    if job.kind != "ask":
        sampling = sampling.over(Sampling(temperature=0.0))
    if job.kind == "extract":
        return structured.chat(
            engine, turns(engine, looks, job), job.schema or {}, sampling=sampling, thinking=job.thinking
        )
    return engine.chat(turns(engine, looks, job), schema=schema, sampling=sampling, thinking=job.thinking)


def ask_each(engine: Engine, looks: Sequence[Look], job: Job, sampling: Sampling) -> Iterator[Found]:
    """Ask about the inputs, one of `Job.groups` after the other. Closing it stops the computation."""
    for group in job.groups(looks):
        text, usage = "", Usage()
        with closing(ask(engine, group, job, sampling)) as pieces:
            for piece in pieces:
                text += piece.text if piece.kind == "answer" else ""
                usage = piece.usage or usage
        yield Found(tuple(group), text, usage)


def spent(usages: Sequence[Usage]) -> Usage:
    """Return what several answers cost; the stop reason is that of the first which was cut, if one was."""
    cut = (one.stop_reason for one in usages if one.stop_reason != "stop")
    return replace(sum(usages, Usage()), stop_reason=next(cut, "stop"))


def results(job: Job, found: Sequence[Found], seeing: Seeing) -> Result:
    """Return what the answers of `ask_each` mean; where there are several, each thing with the `input` that
    it is in. Raises as `result` does, naming the input."""
    if len(found) == 1:
        return result(job, found[0].answer, found[0].looks, seeing)
    names = [one.looks[0].name for one in found]
    each: list[Result] = []
    for name, one in zip(names, found, strict=True):
        try:
            each.append(result(job, one.answer, one.looks, seeing))
        except EngineError as fault:
            raise EngineError(f"{name}: {fault.message}", fault.hint) from fault
    detections = tuple(places for one in each for places in one.detections)
    if job.kind == "count":
        data = [{"input": name, **one.data} for name, one in zip(names, each, strict=True)]
        lines = [f"{name}: {one.text}" for name, one in zip(names, each, strict=True)]
        return Result("\n".join(lines), data, detections)
    data = [{"input": name, **thing} for name, one in zip(names, each, strict=True) for thing in one.data]
    return Result(json.dumps(data, ensure_ascii=False), data, detections)


def result(job: Job, answer: str, looks: Sequence[Look], seeing: Seeing) -> Result:
    """Return what `answer` means. Raises `EngineError` where it has not the form that was asked for."""
    if job.one_by_one:
        return _places(job, answer, looks[0], _known(seeing))
    if job.kind == "extract":
        data = _satisfying(answer, job.schema or {})
        return Result(json.dumps(data, indent=2, ensure_ascii=False), data)
    if job.kind == "html":
        return Result(documents.clean_html(answer))
    if job.kind == "markdown":
        return Result(documents.clean_markdown(answer))
    if job.kind == "tables":
        rows = documents.tables(answer)
        return Result("\n".join(tables.to_csv(table) for table in rows), rows)
    return Result(answer.strip())


def _places(job: Job, answer: str, look: Look, boxes: Boxes) -> Result:
    """Return what is where, or how many there are. Raises `EngineError` for an answer that does not say."""
    if job.solid:
        solids = grounding.parse_solid(answer)
        if not solids and counting.said(answer, job.question) != 0:
            raise _unclear(answer, "no boxes in space")
        return Result(json.dumps(solids, ensure_ascii=False), solids)
    found = tuple(grounding.parse(answer, boxes, seen=look.seen, original=look.original))
    stated = counting.said(answer, job.question) if not found else None
    if job.kind == "count":
        number = len(found) or stated
        if number is None:
            raise _unclear(answer, "not one number")
        labels = grounding.count(found) if found else {job.question: number} if number else {}
        return Result(str(number), {"count": number, "labels": labels}, (found,))
    if not found and stated != 0 and not (job.lines and not answer.strip()):
        raise _unclear(answer, "no places")
    data = grounding.as_json(found)
    return Result(json.dumps(data, ensure_ascii=False), data, (found,))


def _unclear(answer: str, what: str) -> EngineError:
    shown = sanitize.one_line(answer)
    shown = f"{shown[:77]}…" if len(shown) > 78 else shown
    return EngineError(f"the answer has {what}: {shown!r}", "ask in other words, or look closer")


def _known(seeing: Seeing) -> Boxes:
    assert seeing.boxes, "`question` refuses the others"
    return seeing.boxes


def _satisfying(answer: str, schema: dict[str, Any]) -> Any:
    if fault := json_schema.fault(answer, schema):
        raise SchemaUnmet(f"the answer does not satisfy the JSON schema: {fault}")
    return json.loads(answer)
