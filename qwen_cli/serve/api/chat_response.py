"""Answers of `/v1/chat/completions`, in OpenAI's own types: whole, or in chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from uuid import uuid4

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import (
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from openai.types.chat.chat_completion_chunk import ChoiceLogprobs as ChunkLogprobs
from openai.types.chat.chat_completion_message_function_tool_call import (
    ChatCompletionMessageFunctionToolCall,
    Function,
)
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob, TopLogprob
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails

from qwen_cli._version import __version__
from qwen_cli.engines.core.base import Completion, Piece, TokenLogprob, ToolCall, Usage
from qwen_cli.serve.api.chat_request import ChatRequest
from qwen_cli.serve.api.sse import HOLE, Stencil

FINGERPRINT = f"qwen-{__version__}"
"""Tells a client what computed its answer: the same seed gives the same one as long as this is the same."""

Finish = Literal["stop", "length", "tool_calls"]


class Answering:
    """Puts an answer of `model` together, choice by choice."""

    def __init__(self, request: ChatRequest, model: str) -> None:
        self._request = request
        self._model = model
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())
        self._begun: set[int] = set()
        self._called: dict[int, int] = {}
        self._stencils: dict[int, Stencil] = {}
        self.usages: list[Usage] = []

    def chunks(self, index: int, piece: Piece) -> Iterator[str]:
        """Yield what a client gets of a `piece` of choice `index`, as JSON."""
        if index not in self._begun:
            self._begun.add(index)
            yield self._chunk(index, ChoiceDelta(role="assistant", content=""))
        if piece.kind == "thinking" and piece.text:
            yield self._chunk(index, ChoiceDelta.model_construct(reasoning_content=piece.text))
        elif piece.text and not piece.logprobs:
            yield self._text(index, piece.text)
        elif piece.logprobs:
            yield self._chunk(index, ChoiceDelta.model_construct(content=piece.text), piece.logprobs)
        if piece.call:
            yield from self._call(index, piece.call)
        if piece.usage:
            self.usages.append(piece.usage)
            finish = _finish(piece.usage, called=index in self._called)
            yield self._chunk(index, ChoiceDelta(), finish=finish)

    @property
    def includes_usage(self) -> bool:
        """Return whether the client asked for the usage."""
        return self._request.include_usage

    def usage_chunk(self) -> str:
        """Return the last chunk: the usage, where the client asked for it."""
        return self._chunk(None, None, usage=usage(self.usages))

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> ChatCompletion:
        """Return the whole answer, from all its pieces."""
        choices = [[piece for at, piece in pieces if at == index] for index in range(self._request.n)]
        self.usages = [piece.usage for _, piece in pieces if piece.usage]
        return self._completion([self._choice(index, said) for index, said in enumerate(choices)])

    def of_samples(self, samples: Sequence[Completion]) -> ChatCompletion:
        """Return the whole answer, from samples that were made together."""
        self.usages = [done.usage for done in samples]
        choices = [[Piece(done.thinking, "thinking"), Piece(done.text, usage=done.usage)] for done in samples]
        return self._completion([self._choice(index, said) for index, said in enumerate(choices)])

    def _completion(self, choices: list[Choice]) -> ChatCompletion:
        return ChatCompletion.model_construct(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            system_fingerprint=FINGERPRINT,
            choices=choices,
            usage=usage(self.usages),
            timings=timings(self.usages),
        )

    def _choice(self, index: int, said: Sequence[Piece]) -> Choice:
        text = "".join(piece.text for piece in said if piece.kind == "answer")
        thought = "".join(piece.text for piece in said if piece.kind == "thinking")
        calls = [piece.call for piece in said if piece.call]
        spent = next((piece.usage for piece in said if piece.usage), Usage())
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = [
                ChatCompletionMessageFunctionToolCall(
                    id=call.id,
                    type="function",
                    function=Function(name=call.name, arguments=_arguments(call)),
                )
                for call in calls
            ]
        known = [one for piece in said for one in piece.logprobs]
        extra: dict[str, Any] = {}
        if self._request.sampling.logprobs is not None:
            extra["logprobs"] = ChoiceLogprobs.model_construct(content=_logprobs(known))
        return Choice.model_construct(
            index=index,
            message=ChatCompletionMessage.model_construct(**message),
            finish_reason=_finish(spent, called=bool(calls)),
            **extra,
        )

    def _call(self, index: int, call: ToolCall) -> Iterator[str]:
        number = self._called.get(index, 0)
        self._called[index] = number + 1
        function = ChoiceDeltaToolCallFunction(name=call.name, arguments=_arguments(call))
        part = ChoiceDeltaToolCall(index=number, id=call.id, type="function", function=function)
        yield self._chunk(index, ChoiceDelta(tool_calls=[part]))

    def _text(self, index: int, text: str) -> str:
        """Return a chunk of an answer's text, which is what most chunks are."""
        if (stencil := self._stencils.get(index)) is None:
            written = self._chunk(index, ChoiceDelta.model_construct(content=HOLE))
            stencil = self._stencils[index] = Stencil(written)
        return stencil.around(text)

    def _chunk(
        self,
        index: int | None,
        delta: ChoiceDelta | None,
        known: Sequence[TokenLogprob] = (),
        *,
        finish: Finish | None = None,
        usage: CompletionUsage | None = None,
    ) -> str:
        choices = []
        if index is not None and delta is not None:
            extra: dict[str, Any] = (
                {"logprobs": ChunkLogprobs.model_construct(content=_logprobs(known))} if known else {}
            )
            choices = [ChunkChoice.model_construct(index=index, delta=delta, finish_reason=finish, **extra)]
        more: dict[str, Any] = {}
        if finish:
            more["timings"] = timings(self.usages[-1:])
        if self._request.include_usage:
            more["usage"] = usage
        chunk = ChatCompletionChunk.model_construct(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._model,
            system_fingerprint=FINGERPRINT,
            choices=choices,
            **more,
        )
        return chunk.model_dump_json(exclude_unset=True)


def usage(spent: Sequence[Usage]) -> CompletionUsage:
    """Return the usage of all choices together; the prompt they share is counted once."""
    prompt = max((one.prompt_tokens for one in spent), default=0)
    generated = sum(one.generated_tokens for one in spent)
    details: dict[str, Any] = {}
    if thinking := sum(one.thinking_tokens for one in spent):
        details["completion_tokens_details"] = CompletionTokensDetails.model_construct(
            reasoning_tokens=thinking
        )
    return CompletionUsage.model_construct(
        prompt_tokens=prompt,
        completion_tokens=generated,
        total_tokens=prompt + generated,
        **details,
        prompt_tokens_details=PromptTokensDetails.model_construct(
            cached_tokens=max((one.cached_tokens for one in spent), default=0)
        ),
    )


def timings(spent: Sequence[Usage]) -> dict[str, float]:
    """Return the timings in the fields of llama.cpp's server."""
    if not spent:
        return {}
    prompt = max(one.prompt_tokens - one.cached_tokens for one in spent)
    prefill = 1e3 * max(one.prefill_seconds for one in spent)
    generated = sum(one.generated_tokens for one in spent)
    decode = 1e3 * max(one.decode_seconds for one in spent)
    return {
        "cache_n": max(one.cached_tokens for one in spent),
        "prompt_n": prompt,
        "prompt_ms": prefill,
        "prompt_per_token_ms": prefill / max(1, prompt),
        "prompt_per_second": 1e3 * prompt / max(1e-3, prefill),
        "predicted_n": generated,
        "predicted_ms": decode,
        "predicted_per_token_ms": decode / max(1, generated),
        "predicted_per_second": 1e3 * generated / max(1e-3, decode),
    }


def _finish(spent: Usage, *, called: bool) -> Finish:
    if spent.stop_reason in ("length", "context"):
        return "length"
    return "tool_calls" if called or spent.stop_reason == "tool_calls" else "stop"


def _arguments(call: ToolCall) -> str:
    return json.dumps(call.arguments, ensure_ascii=False)


def _logprobs(known: Sequence[TokenLogprob]) -> list[ChatCompletionTokenLogprob]:
    return [
        ChatCompletionTokenLogprob(
            token=one.token,
            bytes=list(one.bytes),
            logprob=one.logprob,
            top_logprobs=[
                TopLogprob(token=other.token, bytes=list(other.bytes), logprob=other.logprob)
                for other in one.others
            ],
        )
        for one in known
    ]
