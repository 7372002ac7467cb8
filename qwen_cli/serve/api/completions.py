"""`/v1/completions`: what follows a raw prompt, or with `suffix` what belongs between two texts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
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
from typing_extensions import TypedDict

from qwen_cli.engines.core.base import (
    Completion,
    Engine,
    Piece,
    Sampling,
    Stream,
    TokenLogprob,
    Usage,
    effective,
)
from qwen_cli.engines.core.prompt import Tokens
from qwen_cli.serve.api import (
    body,
    chat_response,
    extras,
    fim_prompt,
    forms,
    native_form,
    params,
    prompts,
    sse,
)
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.sse import HOLE, Stencil
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.scheduling.threads import Running, Streamed

_LIMITS = ("max_tokens", "n_predict")  # null is no limit, as at vLLM
_SHORT = 16  # tokens, where a request names no limit: OpenAI's own default


class _Likely(TypedDict, total=False):
    n_probs: int


@dataclass(frozen=True)
class _CompletionRequest:
    """`texts` are the prompts as the model sees them, `echoes` what `echo` puts before the answers. There are
    `n` answers to each, the best of `best_of`. `rates`: the tokens of the prompts are rated too. `reads`: no
    token is wanted."""

    texts: list[str]
    echoes: list[str]
    sampling: Sampling
    n: int
    best_of: int
    stream: bool
    include_usage: bool
    rates: bool
    reads: bool

    @property
    def answers(self) -> int:
        return self.n * len(self.texts)

    def text(self, index: int) -> str:
        return self.texts[index // self.n]


async def complete(request: Request, service: Service) -> Response:
    """Answer with what follows each prompt."""
    sent = await body.read(request, service.max_body, null=_LIMITS)
    engine = await service.engine(request, sent)
    wanted = await body.aside(request, lambda: _read(sent, engine), engine.interrupt)
    told = effective(wanted.sampling, engine.defaults) if sent.get("verbose") else None
    answering = _Answering(wanted, engine.model, told)
    if wanted.best_of > 1 and wanted.sampling.logprobs is None and not (wanted.stream or wanted.reads):
        answer = await threads.one(request, lambda: _sampled(wanted, engine, answering), engine.interrupt)
    else:
        pieces = Running(request, lambda: _pieces(wanted, engine), engine.interrupt)
        await pieces.first()
        if wanted.stream:
            return Streamed(sse.events(answering, pieces, service, engine.model), pieces, "text/event-stream")
        answer = answering.whole(await pieces.all())
    for usage in answering.usages:
        service.metrics.record_usage(engine.model, usage)
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


def _read(sent: Mapping[str, Any], engine: Engine) -> _CompletionRequest:
    """Parse `sent`. Raises `Refused`; `UsageError` where the model cannot fill in a middle."""
    sent = {"model": "", **sent}
    kind = CompletionCreateParamsStreaming if sent.get("stream") else CompletionCreateParamsNonStreaming
    fields = body.checked(kind, {**sent, "prompt": ""})
    given = prompts.read(sent.get("prompt"), engine)
    limit = params.limit(sent, *_LIMITS) if set(_LIMITS) & set(sent) else _SHORT
    most = params.alternatives(fields.get("logprobs"), engine.capabilities, "logprobs")
    if most is None and sent.get("n_probs"):  # llama.cpp's name
        most = params.alternatives(body.checked(_Likely, sent)["n_probs"], engine.capabilities, "n_probs")
    sampling = replace(
        params.sampling(sent, limit=1 if limit == 0 else limit, logprobs=most),
        extras=extras.read(sent, engine.capabilities, forms.read(sent)),
    )
    n = params.choices(fields)
    best_of = max(n, params.choices(fields, "best_of"))
    streams = bool(sent.get("stream"))
    if best_of > n and (streams or most is not None):
        raise Refused(400, "best_of excludes stream and logprobs", param="best_of")
    echo = bool(fields.get("echo"))
    rates = echo and most is not None
    if rates and not engine.capabilities.tokens:
        raise Refused(400, "this model's engine does not rate prompts", param="echo")
    texts = given
    suffix = fields.get("suffix")
    if suffix or (suffix is not None and engine.capabilities.may_fim):
        if rates:
            raise Refused(400, "echo with logprobs and suffix exclude each other", param="suffix")
        filled = [fim_prompt.between(engine, prompt, suffix, sampling) for prompt in given]
        texts, sampling = [one.text for one in filled], filled[0].sampling
    elif "" in given:
        raise Refused(400, "the prompt is empty", param="prompt")
    return _CompletionRequest(
        texts,
        given if echo else [""] * len(given),
        sampling,
        n,
        best_of,
        streams,
        bool((fields.get("stream_options") or {}).get("include_usage")),
        rates,
        limit == 0,
    )


def _pieces(wanted: _CompletionRequest, engine: QueuedEngine) -> Iterator[tuple[int, Piece]]:
    def ask(view: Engine, index: int) -> Stream:
        text, echo = wanted.text(index), wanted.echoes[index // wanted.n]
        if echo:
            rated = _rated(view, text, wanted.sampling.logprobs or 0) if wanted.rates else ()
            yield Piece(echo, logprobs=rated)
        pieces = view.complete(text, sampling=wanted.sampling.nth(index % wanted.n))
        told = 0
        with closing(sse.only_read(pieces) if wanted.reads else pieces) as answer:
            for piece in answer:
                told += len(piece.logprobs)
                if piece.usage and wanted.rates and not told and piece.usage.generated_tokens:
                    piece = replace(piece, logprobs=(_UNTOLD,))
                yield piece

    with engine.admitted():
        yield from sse.each(engine, wanted.answers, ask)


# A token of which it is not known how likely it was: the first of a prompt, and one that ended an answer
# before it had begun. Clients count the entries.
_UNTOLD = TokenLogprob("", (), math.nan)


def _rated(engine: Engine, prompt: str, likely: int) -> tuple[TokenLogprob, ...]:
    """Return how likely each token of `prompt` was, of the first that there is nothing to say."""
    known = engine.score(prompt, likely=likely)
    ids = prompt.ids[:1] if isinstance(prompt, Tokens) else [engine.tokenize(prompt)[0][0]]
    first = replace(_UNTOLD, token=engine.detokenize(ids))
    return (first, *(one if one.token else replace(one, token=engine.detokenize([one.id])) for one in known))


def _sampled(wanted: _CompletionRequest, engine: QueuedEngine, answering: _Answering) -> CompletionObject:
    """Return the best `n` of `best_of` samples of each prompt, by the mean log probability of their
    tokens."""
    best: list[Completion] = []
    with engine.admitted():
        for text in wanted.texts:
            made = engine.sample(text, wanted.best_of, sampling=wanted.sampling)
            answering.usages += [done.usage for done in made]
            best += sorted(made, key=lambda done: -(done.mean_logprob or 0.0))[: wanted.n]
    echoes = [echo for echo in wanted.echoes for _ in range(wanted.n)]
    return answering.of([(echo + done.text, done.usage, ()) for echo, done in zip(echoes, best, strict=True)])


class _Answering:
    """Puts the answers together in OpenAI's own types. `told` is what they are generated with, where that is
    wanted too (`verbose`)."""

    def __init__(self, wanted: _CompletionRequest, model: str, told: Sampling | None = None) -> None:
        self._request = wanted
        self._told = told
        self._fields: dict[str, Any] = {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": chat_response.FINGERPRINT,
        }
        self._length: dict[int, int] = {}  # of the text so far
        self._stencils: dict[int, Stencil] = {}
        self.usages: list[Usage] = []

    @property
    def includes_usage(self) -> bool:
        return self._request.include_usage

    def chunks(self, index: int, piece: Piece) -> Iterator[str]:
        """Yield what a client gets of a `piece` of answer `index`, as JSON."""
        text = piece.text
        finish = None
        more: dict[str, Any] = {}
        if piece.usage:
            self.usages.append(piece.usage)
            finish = _finish(piece.usage)
            more["timings"] = native_form.timings([piece.usage])
            more |= self._verbose(index, "", piece.usage)
        if piece.progress:
            more |= native_form.told(piece.progress, self._request.sampling.extras or {})
        if text and not more and self._request.sampling.logprobs is None:
            yield self._text(index, text)
        elif text or more:
            yield self._object([self._choice(index, text, finish, piece.logprobs)], **more)

    def usage_chunk(self) -> str:
        return self._object([], usage=self._usage(), timings=native_form.timings(self.usages))

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> CompletionObject:
        """Return all answers, from all their pieces."""
        said: list[tuple[str, Usage, tuple[TokenLogprob, ...]]] = []
        for index in range(self._request.answers):
            own = [piece for at, piece in pieces if at == index]
            usage = next((piece.usage for piece in own if piece.usage), Usage())
            known = tuple(one for piece in own for one in piece.logprobs)
            said.append(("".join(piece.text for piece in own), usage, known))
        self.usages = [usage for _, usage, _ in said]
        return self.of(said)

    def of(self, said: Sequence[tuple[str, Usage, tuple[TokenLogprob, ...]]]) -> CompletionObject:
        made = [
            self._choice(index, text, _finish(usage), known)
            for index, (text, usage, known) in enumerate(said)
        ]
        more = {"usage": self._usage(), "timings": native_form.timings(self.usages)}
        more |= self._verbose(0, *said[0][:2])
        return CompletionObject.model_construct(choices=made, **self._fields, **more)

    def _verbose(self, index: int, text: str, spent: Usage) -> dict[str, Any]:
        """Return the answer in llama.cpp's own form, where that is wanted."""
        if self._told is None:
            return {}
        prompt, model = self._request.text(index), str(self._fields["model"])
        sampling = self._told.nth(index % self._request.n)
        whole = native_form.whole(text, spent, prompt=prompt, sampling=sampling, model=model, index=index)
        return {"__verbose": whole}

    def _text(self, index: int, text: str) -> str:
        """Return a chunk of an answer's text, which is what most chunks are."""
        if (stencil := self._stencils.get(index)) is None:
            stencil = self._stencils[index] = Stencil(self._object([self._choice(index, HOLE, None, ())]))
        return stencil.around(text)

    def _object(self, made: list[CompletionChoice], **more: Any) -> str:
        if self._request.include_usage:
            more.setdefault("usage", None)
        chunk = CompletionObject.model_construct(choices=made, **self._fields, **more)
        return chunk.model_dump_json(exclude_unset=True)

    def _choice(self, index: int, text: str, finish: Any, known: Sequence[TokenLogprob]) -> CompletionChoice:
        begin = self._length.get(index, 0)
        self._length[index] = begin + len(text)
        tells = self._request.sampling.logprobs is not None
        extra: dict[str, Any] = {"logprobs": _legacy(known, begin)} if tells else {}
        return CompletionChoice.model_construct(index=index, text=text, finish_reason=finish, **extra)

    def _usage(self) -> Any:
        """Return the usage of all prompts and answers; a prompt with several answers is counted once."""
        first = [replace(one, prompt_tokens=0) for one in self.usages]
        usage = chat_response.usage(first)
        usage.prompt_tokens = (
            sum(one.prompt_tokens for one in self.usages)
            * len(self._request.texts)
            // max(1, len(self.usages))
        )
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
        return usage


def _finish(usage: Usage) -> str:
    return "length" if usage.stop_reason in ("length", "context") else "stop"


def _legacy(known: Sequence[TokenLogprob], begin: int) -> Logprobs:
    """Log probabilities as this older route has them."""
    offsets, at = [], begin
    for one in known:
        offsets.append(at)
        at += len(one.token)
    return Logprobs.model_construct(
        tokens=[one.token for one in known],
        # Null for the first token of a prompt, as at OpenAI; its types do not say so.
        token_logprobs=[None if math.isnan(one.logprob) else one.logprob for one in known],
        top_logprobs=[
            None if math.isnan(one.logprob) else {other.token: other.logprob for other in one.others}
            for one in known
        ],
        text_offset=offsets,
    )
