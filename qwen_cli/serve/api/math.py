"""`/v1/math`: a problem in, events of its solution out (`tasks.math_solve`), as server-sent events.

`piece` (text, or thinking), `run` (a program and what it printed), `restart`, `vote` (the state of several
samples), and at the end `answer`. Without `"stream": true` only the answer is sent. Programs run in the
sandbox.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import NotRequired, TypedDict

from qwen_cli.engines.core.base import Piece
from qwen_cli.serve.api import body, errors, params
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.sse import COMMENT
from qwen_cli.serve.scheduling.lanes import Gone
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed, event

_UNCOUNTED = ("thinking_tokens", "stop_string")  # here: a solution has many answers
_MOST_SAMPLES, _MOST_ROUNDS, _MOST_SECONDS = 64, 64, 60.0


class _Fields(TypedDict):
    """What is asked for. `timeout` is in seconds, for each program."""

    problem: str
    mode: NotRequired[Literal["auto", "tir", "cot", "short"]]
    language: NotRequired[Literal["auto", "en", "zh"]]
    samples: NotRequired[int]
    max_rounds: NotRequired[int]
    timeout: NotRequired[float]
    temperature: NotRequired[float | None]
    top_p: NotRequired[float | None]
    max_tokens: NotRequired[int | None]
    seed: NotRequired[int | None]
    stream: NotRequired[bool]
    model: NotRequired[str | None]


async def solve(request: Request, service: Service) -> Response:
    """Answer with the solution of one problem."""
    sent = await body.read(request, service.max_body)
    fields = body.checked(_Fields, sent)
    if not fields["problem"].strip():
        raise Refused(400, "the problem is empty", param="problem")
    for name, most in (("samples", _MOST_SAMPLES), ("max_rounds", _MOST_ROUNDS), ("timeout", _MOST_SECONDS)):
        if name in fields and not 0 < fields[name] <= most:
            raise Refused(400, f"{name} must be above 0 and at most {most:g}", param=name)
    engine = await service.engine(request, sent)
    sampling = params.sampling(fields, limit=params.limit(fields, "max_tokens"))
    thinking = params.thinking(sent, engine.capabilities)

    def work() -> Iterator[tuple[str, dict[str, Any]]]:
        return _events(engine, fields, sampling, thinking, service)

    events = Running(request, work, engine.interrupt)
    await events.first()
    if fields.get("stream"):
        return Streamed(_sent(events), events, "text/event-stream")
    return JSONResponse((await events.all())[-1][1])


def _events(
    engine: QueuedEngine, fields: dict[str, Any], sampling: Any, thinking: bool | int | None, service: Service
) -> Iterator[tuple[str, dict[str, Any]]]:
    from qwen_cli.sandbox import Limits
    from qwen_cli.tasks.math import solve as math_solve
    from qwen_cli.tasks.math import tir, transcript
    from qwen_cli.tasks.math.answer import Judge
    from qwen_cli.tasks.math.vote import Vote

    language = fields.get("language", "auto")
    options = math_solve.SolveOptions(
        mode=fields.get("mode", "auto"),
        language=None if language == "auto" else language,
        samples=fields.get("samples", 1),
        max_rounds=fields.get("max_rounds", tir.MAX_ROUNDS),
        limits=Limits(wall_seconds=fields.get("timeout", tir.LIMITS.wall_seconds)),
        sampling=sampling,
        thinking=thinking,
    )
    with Judge(contained=True) as judge:
        solving = math_solve.solve(engine, fields["problem"], judge, options)
        try:
            while True:
                event = next(solving)
                if isinstance(event, Piece):
                    if event.text:
                        yield "piece", {"kind": event.kind, "text": event.text}
                elif isinstance(event, transcript.Run):
                    yield "run", _run(event)
                elif isinstance(event, Vote):
                    groups = [
                        {"answer": event.solutions[group[0]].answer, "votes": len(group)}
                        for group in event.groups
                    ]
                    yield "vote", {"done": len(event.solutions), "wanted": event.wanted, "answers": groups}
                else:
                    yield "restart", {"why": event.why}
        except StopIteration as done:
            checked: math_solve.Checked = done.value
        finally:
            solving.close()
    solution = checked.solution
    service.metrics.record_usage(engine.model, solution.usage)
    yield (
        "answer",
        {
            "object": "math.solution",
            "model": engine.model,
            "answer": checked.answer,
            "check": checked.words,
            "how": checked.how,
            "votes": checked.votes,
            "samples": checked.samples,
            "mode": solution.mode,
            "stop": solution.stop,
            "solution": solution.text,
            "runs": [_run(run) for run in solution.runs],
            "usage": {name: one for name, one in asdict(solution.usage).items() if name not in _UNCOUNTED},
        },
    )


def _run(run: Any) -> dict[str, Any]:
    return {"code": run.code, "output": run.shown_to_model, "status": run.outcome.status}


async def _sent(events: Running[tuple[str, dict[str, Any]]]) -> AsyncIterator[bytes]:
    try:
        async for came in events.batches():
            if not came:
                yield COMMENT
            for name, value in came:
                yield event(json.dumps(value, ensure_ascii=False), name)
    except Gone:
        raise
    except Exception as fault:  # the status has been sent; the client is told all the same
        refused = errors.of(fault)
        yield event(json.dumps(errors.body(refused.status, refused.message, code=refused.code)), "error")
        return
    yield event("[DONE]")
