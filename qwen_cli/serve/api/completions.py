"""`/v1/completions`: what follows a raw prompt, or with `suffix` what belongs between two texts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from openai.types import Completion as CompletionObject
from openai.types import CompletionChoice
from openai.types.completion_choice import Logprobs
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.engines.core.base import Completion, Engine, Piece, Sampling, Stream, TokenLogprob, Usage
from qwen_cli.serve.api import body, chat_response, fim_prompt, params, sse
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.sse import HOLE, Stencil
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.queued_engine import Queued
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed

_LIMITS = ("max_tokens", "n_predict")  # null is no limit, as at vLLM
_SHORT = 16  # tokens, where a request names no limit: OpenAI's own default


@dataclass(frozen=True)
class _Asked:
    """`texts` are the prompts as the model sees them, `shown` what `echo` puts before the answers. There are
    `n` answers to each, the best of `best_of`."""

    texts: list[str]
    shown: list[str]
    sampling: Sampling
    n: int
    best_of: int
    stream: bool
    include_usage: bool

    @property
    def answers(self) -> int:
        return self.n * len(self.texts)

    def text(self, index: int) -> str:
        return self.texts[index // self.n]


async def complete(request: Request, service: Service) -> Response:
    """Answer with what follows each prompt."""
    sent = await body.read(request, service.max_body, null=_LIMITS)
    engine = await service.engine(request, sent)
    asked_for = await threads.one(request, lambda: _read(sent, engine), engine.interrupt)
    answering = _Answering(asked_for, engine.model)
    if asked_for.best_of > 1 and asked_for.sampling.logprobs is None and not asked_for.stream:
        answer = await threads.one(request, lambda: _sampled(asked_for, engine, answering), engine.interrupt)
    else:
        pieces = Running(request, lambda: _pieces(asked_for, engine), engine.interrupt)
        await pieces.first()
        if asked_for.stream:
            return Streamed(sse.events(answering, pieces, service, engine.model), pieces, "text/event-stream")
        answer = answering.whole(await pieces.all())
    for usage in answering.usages:
        service.metrics.spent(engine.model, usage)
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


def _read(sent: Mapping[str, Any], engine: Engine) -> _Asked:
    """Parse `sent`. Raises `Refused`; `UsageError` where the model cannot fill in a middle."""
    sent = {"model": "", **sent}
    kind = CompletionCreateParamsStreaming if sent.get("stream") else CompletionCreateParamsNonStreaming
    fields = body.checked(kind, sent)
    params.refuse(fields, {"logit_bias": "is not supported"})
    prompts = _prompts(fields.get("prompt"))
    limit = params.limit(sent, *_LIMITS) if set(_LIMITS) & set(sent) else _SHORT
    most = params.alternatives(fields.get("logprobs"), engine.capabilities, "logprobs")
    sampling = params.sampling(sent, limit=limit, logprobs=most)
    n = params.choices(fields)
    best_of = max(n, params.choices(fields, "best_of"))
    streams = bool(sent.get("stream"))
    if best_of > n and (streams or most is not None):
        raise Refused(400, "best_of excludes stream and logprobs", param="best_of")
    if fields.get("echo") and most is not None:
        raise Refused(400, "echo with logprobs is not supported", param="echo")
    texts = prompts
    if (suffix := fields.get("suffix")) is not None:
        filled = [fim_prompt.between(engine, prompt, suffix, sampling) for prompt in prompts]
        texts, sampling = [one.text for one in filled], filled[0].sampling
    elif "" in prompts:
        raise Refused(400, "the prompt is empty", param="prompt")
    return _Asked(
        texts,
        prompts if fields.get("echo") else [""] * len(prompts),
        sampling,
        n,
        best_of,
        streams,
        bool((fields.get("stream_options") or {}).get("include_usage")),
    )


def _prompts(given: Any) -> list[str]:
    """Return the prompts as texts. Raises `Refused` for tokens: their numbers mean little across models."""
    found = [given] if isinstance(given, str) else given
    if not found or not all(isinstance(one, str) for one in found):
        raise Refused(400, "prompt must be a text or a list of texts", param="prompt")
    if len(found) > params.MOST_CHOICES:
        raise Refused(400, f"there are more than {params.MOST_CHOICES} prompts", param="prompt")
    return list(found)


def _pieces(asked_for: _Asked, engine: Queued) -> Iterator[tuple[int, Piece]]:
    def ask(view: Engine, index: int) -> Stream:
        sampling = asked_for.sampling.nth(index % asked_for.n)
        return view.complete(asked_for.text(index), sampling=sampling)

    with engine.admitted():
        yield from sse.each(engine, asked_for.answers, ask)


def _sampled(asked_for: _Asked, engine: Queued, answering: _Answering) -> CompletionObject:
    """Return the best `n` of `best_of` samples of each prompt, by the mean log probability of their
    tokens."""
    best: list[Completion] = []
    with engine.admitted():
        for text in asked_for.texts:
            made = engine.sample(text, asked_for.best_of, sampling=asked_for.sampling)
            answering.usages += [done.usage for done in made]
            best += sorted(made, key=lambda done: -(done.mean_logprob or 0.0))[: asked_for.n]
    return answering.of([(done.text, done.usage, ()) for done in best])


class _Answering:
    """Puts the answers together in OpenAI's own types."""

    def __init__(self, asked_for: _Asked, model: str) -> None:
        self._asked = asked_for
        self._fields: dict[str, Any] = {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._begun: set[int] = set()
        self._length: dict[int, int] = {}  # of the text so far
        self._stencils: dict[int, Stencil] = {}
        self.usages: list[Usage] = []

    @property
    def includes_usage(self) -> bool:
        return self._asked.include_usage

    def chunks(self, index: int, piece: Piece) -> Iterator[str]:
        """Yield what a client gets of a `piece` of answer `index`, as JSON."""
        text = piece.text
        if index not in self._begun:
            self._begun.add(index)
            text = self._asked.shown[index // self._asked.n] + text
        finish = None
        more: dict[str, Any] = {}
        if piece.usage:
            self.usages.append(piece.usage)
            finish = _finish(piece.usage)
            more["timings"] = chat_response.timings([piece.usage])
        if text and not finish and self._asked.sampling.logprobs is None:
            yield self._text(index, text)
        elif text or finish:
            yield self._object([self._choice(index, text, finish, piece.logprobs)], **more)

    def usage_chunk(self) -> str:
        return self._object([], usage=self._usage())

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> CompletionObject:
        """Return all answers, from all their pieces."""
        said: list[tuple[str, Usage, tuple[TokenLogprob, ...]]] = []
        for index in range(self._asked.answers):
            own = [piece for at, piece in pieces if at == index]
            usage = next((piece.usage for piece in own if piece.usage), Usage())
            known = tuple(one for piece in own for one in piece.logprobs)
            said.append(("".join(piece.text for piece in own), usage, known))
        self.usages = [usage for _, usage, _ in said]
        return self.of(said)

    def of(self, said: Sequence[tuple[str, Usage, tuple[TokenLogprob, ...]]]) -> CompletionObject:
        made = [
            self._choice(index, self._asked.shown[index // self._asked.n] + text, _finish(usage), known)
            for index, (text, usage, known) in enumerate(said)
        ]
        more = {"usage": self._usage(), "timings": chat_response.timings(self.usages)}
        return CompletionObject.model_construct(choices=made, **self._fields, **more)

    def _text(self, index: int, text: str) -> str:
        """Return a chunk of an answer's text, which is what most chunks are."""
        if (stencil := self._stencils.get(index)) is None:
            stencil = self._stencils[index] = Stencil(self._object([self._choice(index, HOLE, None, ())]))
        return stencil.around(text)

    def _object(self, made: list[CompletionChoice], **more: Any) -> str:
        if self._asked.include_usage:
            more.setdefault("usage", None)
        chunk = CompletionObject.model_construct(choices=made, **self._fields, **more)
        return chunk.model_dump_json(exclude_unset=True)

    def _choice(self, index: int, text: str, finish: Any, known: Sequence[TokenLogprob]) -> CompletionChoice:
        begin = self._length.get(index, 0)
        self._length[index] = begin + len(text)
        tells = self._asked.sampling.logprobs is not None
        told: dict[str, Any] = {"logprobs": _legacy(known, begin)} if tells else {}
        return CompletionChoice.model_construct(index=index, text=text, finish_reason=finish, **told)

    def _usage(self) -> Any:
        """Return the usage of all prompts and answers; a prompt with several answers is counted once."""
        first = [replace(one, prompt_tokens=0) for one in self.usages]
        found = chat_response.usage(first)
        found.prompt_tokens = (
            sum(one.prompt_tokens for one in self.usages) * len(self._asked.texts) // max(1, len(self.usages))
        )
        found.total_tokens = found.prompt_tokens + found.completion_tokens
        return found


def _finish(usage: Usage) -> str:
    return "length" if usage.stop_reason in ("length", "context") else "stop"


def _legacy(known: Sequence[TokenLogprob], begin: int) -> Logprobs:
    """Log probabilities as this older route has them."""
    offsets, at = [], begin
    for one in known:
        offsets.append(at)
        at += len(one.token)
    return Logprobs(
        tokens=[one.token for one in known],
        token_logprobs=[one.logprob for one in known],
        top_logprobs=[{other.token: other.logprob for other in one.others} for one in known],
        text_offset=offsets,
    )
