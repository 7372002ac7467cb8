"""What is wanted of pictures and videos: how the model is asked for it, and what its answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Boxes, Engine, Sampling, Seeing, Stream
from qwen_cli.errors import SchemaUnmet, UsageError
from qwen_cli.tasks.common import json_schema, structured
from qwen_cli.tasks.vision import documents, events, grounding, tables
from qwen_cli.tasks.vision.grounding import Detection
from qwen_cli.tasks.vision.prepare import Detail, Look, message

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
    """`question` is a question, or the things to find; `schema` belongs to "extract", `points` to "locate",
    `window` (seconds of a video taken at once; `None`: as is usual) to "events" and "ask"."""

    kind: Kind
    question: str = ""
    schema: dict[str, Any] | None = None
    points: bool = False
    window: float | None = None


@dataclass(frozen=True)
class Result:
    """`text` is what a person reads, `data` what a program does (`None` where there is only text);
    `detections` are the things located, one list for each input."""

    text: str
    data: Any = None
    detections: tuple[tuple[Detection, ...], ...] = ()


def question(job: Job, engine: Engine) -> str:
    """Return the words that ask for it, in the way of the model's generation. Raises `UsageError` where
    places are asked of a model whose way to write them is not known."""
    seeing = engine.capabilities.seeing
    if job.kind in ("locate", "count"):
        if seeing.boxes is None:
            raise UsageError(
                f"how {engine.model!r} writes coordinates is not known",
                "use a Qwen2-VL, Qwen2.5-VL, Qwen3-VL or later model, and let its name say which",
            )
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
    needs."""
    least = seeing.least_located * seeing.unit**2
    wished = detail.min_pixels or detail.resize or (detail.max_pixels or least) < least
    return detail if wished or job.kind not in ("locate", "count") else replace(detail, min_pixels=least)


def turns(engine: Engine, looks: Sequence[Look], job: Job) -> list[dict[str, Any]]:
    """Return the messages that ask for it. Raises `UsageError` as `question` does."""
    turn = message(looks, question(job, engine))
    form = _FORMS.get(job.kind)
    before = documents.system(form, engine.capabilities.seeing.boxes) if form else None
    return [{"role": "system", "content": before}, turn] if before else [turn]


def ask(engine: Engine, looks: Sequence[Look], job: Job, sampling: Sampling) -> Stream:
    """Return the model's answer. Reading, finding and filling in are greedy: there is one right answer."""
    schema = events.SCHEMA if job.kind == "events" else None
    if job.kind != "ask":
        sampling = sampling.over(Sampling(temperature=0.0))
    if job.kind == "extract":
        return structured.chat(engine, turns(engine, looks, job), job.schema or {}, sampling=sampling)
    return engine.chat(turns(engine, looks, job), schema=schema, sampling=sampling)


def result(job: Job, answer: str, looks: Sequence[Look], seeing: Seeing) -> Result:
    """Return what `answer` means. Raises `EngineError` where it has not the form that was asked for."""
    if job.kind in ("locate", "count"):
        look = looks[0]
        detections = grounding.parse(answer, _known(seeing), seen=look.seen, original=look.original)
        if job.kind == "count":
            counts = grounding.count(detections)
            return Result(
                str(len(detections)), {"count": len(detections), "labels": counts}, (tuple(detections),)
            )
        data = grounding.as_json(detections)
        return Result(json.dumps(data, ensure_ascii=False), data, (tuple(detections),))
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


def _known(seeing: Seeing) -> Boxes:
    assert seeing.boxes, "`question` refuses the others"
    return seeing.boxes


def _satisfying(answer: str, schema: dict[str, Any]) -> Any:
    if fault := json_schema.fault(answer, schema):
        raise SchemaUnmet(f"the answer does not satisfy the JSON schema: {fault}")
    return json.loads(answer)
