"""Answers of `/v1/messages`: whole, or as its events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from qwen_cli.engines.core.base import Piece, Progress, ToolCall, Usage
from qwen_cli.serve.api import errors, sse
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.history import seal
from qwen_cli.serve.scheduling.threads import event

_REASONS = {"length": "max_tokens", "context": "model_context_window_exceeded"}


class MessageWriter:
    """Puts an answer together, block by block: thinking, text and calls, in the order in which they come.

    `model` tells the name of the model, once it is loaded. `hides_thinking`: of thinking a client gets the
    signature alone, which holds it for the next request.
    """

    def __init__(self, model: Callable[[], str], *, hides_thinking: bool = False) -> None:
        self._model = model
        self._hides = hides_thinking
        self._id = f"msg_{uuid4().hex}"
        self._blocks: list[dict[str, Any]] = []
        self._text: list[str] = []  # of the last block
        self._writing: str | None = None  # its type, while it is written
        self._usage = Usage()
        self._started = False

    def begin(self) -> Iterator[bytes]:
        yield from ()  # the first piece tells of the prompt

    def events(self, index: int, piece: Piece) -> Iterator[bytes]:
        yield from self._start(piece.progress)
        if piece.text:
            kind = "thinking" if piece.kind == "thinking" else "text"
            if self._writing != kind:
                yield from self._close()
                yield self._open(_empty(kind))
            self._text.append(piece.text)
            if kind == "text" or not self._hides:
                yield self._delta(f"{kind}_delta", kind, piece.text)
        if piece.call:
            yield from self._close()
            yield from self._call(piece.call)
        if piece.usage:
            self._usage = piece.usage

    def end(self) -> Iterator[bytes]:
        yield from self._start(None)
        if not self._blocks:  # a model that says nothing has said an empty text
            yield self._open(_empty("text"))
        yield from self._close()
        yield _event("message_delta", delta=self._stop(), usage=_spent(self._usage))
        yield _event("message_stop")

    def failed(self, fault: Refused) -> Iterator[bytes]:
        yield event(json.dumps(errors.anthropic_body(fault)), "error")

    def quiet(self) -> bytes:
        return _event("ping")

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> str:
        sse.take_all(self, pieces)
        return json.dumps(
            {**self._message(), "content": self._blocks, **self._stop(), "usage": _spent(self._usage)},
            ensure_ascii=False,
        )

    def _start(self, progress: Progress | None) -> Iterator[bytes]:
        """Begin the answer, unless it has begun. Where the engine does not tell of the prompt before it
        answers, only the last event tells."""
        if self._started:
            return
        self._started = True
        usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0}
        if progress:
            read = Usage(prompt_tokens=progress.prompt_tokens, cached_tokens=progress.cached_tokens)
            usage = _spent(read)
        yield _event("message_start", message={**self._message(), "usage": usage})

    def _message(self) -> dict[str, Any]:
        """Return the answer before anything is said."""
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model(),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _stop(self) -> dict[str, Any]:
        """Return why the answer ended."""
        usage = self._usage
        if usage.stop_reason in _REASONS:
            reason = _REASONS[usage.stop_reason]
        elif any(block["type"] == "tool_use" for block in self._blocks):
            reason = "tool_use"
        else:
            reason = "stop_sequence" if usage.stop_string else "end_turn"
        return {"stop_reason": reason, "stop_sequence": usage.stop_string or None}

    def _open(self, block: dict[str, Any]) -> bytes:
        """Begin a block."""
        self._blocks.append(block)
        self._text, self._writing = [], block["type"]
        return _event("content_block_start", index=self._at, content_block=block)

    def _delta(self, kind: str, name: str, text: str) -> bytes:
        return _event("content_block_delta", index=self._at, delta={"type": kind, name: text})

    def _close(self) -> Iterator[bytes]:
        """End the block that is being written, if one is."""
        if (kind := self._writing) is None:
            return
        self._writing = None
        text, block = "".join(self._text), self._blocks[-1]
        if kind == "thinking":
            block["signature"] = seal(text)
            yield self._delta("signature_delta", "signature", block["signature"])
        if kind == "text" or not self._hides:
            block[kind] = text
        yield _event("content_block_stop", index=self._at)

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        """Write a call, which comes at once."""
        block: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        yield self._open(block)
        self._writing = None
        yield self._delta("input_json_delta", "partial_json", json.dumps(call.arguments, ensure_ascii=False))
        block["input"] = call.arguments
        yield _event("content_block_stop", index=self._at)

    @property
    def _at(self) -> int:
        return len(self._blocks) - 1


def _spent(usage: Usage) -> dict[str, Any]:
    """Return the usage: what came from the KV cache is told apart."""
    spent: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.generated_tokens,
    }
    if usage.thinking_tokens:
        spent["output_tokens_details"] = {"thinking_tokens": usage.thinking_tokens}
    return spent


def _event(kind: str, **fields: Any) -> bytes:
    return event(json.dumps({"type": kind, **fields}, ensure_ascii=False), kind)


def _empty(kind: str) -> dict[str, Any]:
    """Return a block of text or thinking before anything is written in it."""
    return {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
