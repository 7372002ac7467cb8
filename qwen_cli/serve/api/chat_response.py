"""Answers of `/v1/chat/completions`, in OpenAI's own types: whole, or in chunks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from qwen_cli.serve.api import native_form
from qwen_cli.serve.api.chat_request import ChatRequest
from qwen_cli.serve.api.sse import HOLE, Stencil

FINGERPRINT = f"qwen-{__version__}"
"""Tells a client what computed its answer: the same seed gives the same one as long as this is the same."""

Finish = Literal["stop", "length", "tool_calls"]


class Answering:
    """Puts an answer of `model` together, choice by choice. `told` tells of one in llama.cpp's own form,
    where that is wanted (`verbose`)."""

    def __init__(
        self,
        request: ChatRequest,
        model: str,
        told: Callable[[int, str, Usage], dict[str, Any]] | None = None,
    ) -> None:
        self._request = request
        self._model = model
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())
        self._begun: set[int] = set()
        self._called: dict[int, int] = {}
        self._told = told
        self._stencils: dict[int, Stencil] = {}
        self.usages: list[Usage] = []

    def chunks(self, index: int, piece: Piece) -> Iterator[str]:
        """Yield what a client gets of a `piece` of choice `index`, as JSON."""
        if index not in self._begun:
            self._begun.add(index)
            yield self._chunk(index, ChoiceDelta(role="assistant", content=""))
        more = native_form.told(piece.progress, self._more) if piece.progress else {}
        if piece.kind == "thinking" and piece.text:
            yield self._chunk(index, ChoiceDelta.model_construct(reasoning_content=piece.text), **more)
        elif piece.text and not piece.logprobs and not more:
            yield self._text(index, piece.text)
        elif piece.text or piece.logprobs:
            delta = ChoiceDelta.model_construct(content=piece.text)
            yield self._chunk(index, delta, piece.logprobs, **more)
        elif more:
            yield self._chunk(index, ChoiceDelta(), **more)
        if piece.call:
            yield from self._call(index, piece.call)
        if piece.usage:
            self.usages.append(piece.usage)
            finish = _finish(piece.usage, called=index in self._called)
            yield self._chunk(index, ChoiceDelta(), finish=finish, **self._verbose(index, "", piece.usage))

    @property
    def _more(self) -> Mapping[str, Any]:
        """Return llama.cpp's own settings of the request."""
        return self._request.sampling.extras or {}

    @property
    def includes_usage(self) -> bool:
        """Return whether the client asked for the usage."""
        return self._request.include_usage

    def usage_chunk(self) -> str:
        """Return the last chunk: the usage, where the client asked for it."""
        return self._chunk(None, None, usage=usage(self.usages), timings=native_form.timings(self.usages))

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> ChatCompletion:
        """Return the whole answer, from all its pieces."""
        choices = [[piece for at, piece in pieces if at == index] for index in range(self._request.n)]
        self.usages = [piece.usage for _, piece in pieces if piece.usage]
        made = [self._choice(index, said) for index, said in enumerate(choices)]
        first = "".join(piece.text for piece in choices[0] if piece.kind == "answer")
        spent = self.usages[0] if self.usages else Usage()
        return self._completion(made, **self._verbose(0, first, spent))

    def _verbose(self, index: int, text: str, usage: Usage) -> dict[str, Any]:
        return {"__verbose": self._told(index, text, usage)} if self._told else {}

    def of_samples(self, samples: Sequence[Completion]) -> ChatCompletion:
        """Return the whole answer, from samples that were made together."""
        self.usages = [done.usage for done in samples]
        choices = [[Piece(done.thinking, "thinking"), Piece(done.text, usage=done.usage)] for done in samples]
        return self._completion([self._choice(index, said) for index, said in enumerate(choices)])

    def _completion(self, choices: list[Choice], **more: Any) -> ChatCompletion:
        return ChatCompletion.model_construct(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            system_fingerprint=FINGERPRINT,
            choices=choices,
            usage=usage(self.usages),
            timings=native_form.timings(self.usages),
            **more,
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
        **more: Any,
    ) -> str:
        choices = []
        if index is not None and delta is not None:
            extra: dict[str, Any] = (
                {"logprobs": ChunkLogprobs.model_construct(content=_logprobs(known))} if known else {}
            )
            choices = [ChunkChoice.model_construct(index=index, delta=delta, finish_reason=finish, **extra)]
        if finish:
            more["timings"] = native_form.timings(self.usages[-1:])
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
