"""Answers of `/v1/responses`: whole, or as its events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from qwen_cli.engines.core.base import Piece, TokenLogprob, ToolCall, Usage
from qwen_cli.serve.api import native_form, sse
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.history import seal
from qwen_cli.serve.api.responses_request import ResponsesRequest, Tool
from qwen_cli.serve.scheduling.threads import event


@dataclass(frozen=True)
class _Form:
    """How an item with text in it is written: its type and the beginning of its id, the type of its one part
    and the field that holds it, the names of the events of the part and of its text."""

    item: str
    prefix: str
    part: str
    held: str
    part_event: str
    text_event: str
    index: str = "content_index"


_MESSAGE = _Form("message", "msg", "output_text", "content", "content_part", "output_text")
_THINKING = _Form("reasoning", "rs", "reasoning_text", "content", "content_part", "reasoning_text")
_SUMMARY = _Form(
    "reasoning", "rs", "summary_text", "summary",
    "reasoning_summary_part", "reasoning_summary_text", "summary_index",
)  # fmt: skip


@dataclass
class _Writing:
    """The item that is being written, and its text so far."""

    form: _Form
    item: dict[str, Any]
    text: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def part(self) -> dict[str, Any]:
        """Return its part."""
        text = "".join(self.text)
        if self.form is _MESSAGE:
            return {"type": self.form.part, "text": text, "annotations": [], "logprobs": self.logprobs}
        return {"type": self.form.part, "text": text}


class ResponseWriter:
    """Puts an answer together, item by item: thinking, text and calls, in the order in which they come.

    `model` tells the name of the model, once it is loaded. `keep` gets the answer and its size in bytes when
    it is whole.
    """

    def __init__(
        self,
        request: ResponsesRequest,
        model: Callable[[], str],
        keep: Callable[[dict[str, Any], int], None],
    ) -> None:
        self._request = request
        self._model = model
        self._keep = keep
        self._id = _id("resp")
        self._created = int(time.time())
        self._sent = 0  # events
        self._output: list[dict[str, Any]] = []
        self._writing: _Writing | None = None
        self._usage: Usage | None = None

    def begin(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))

    def events(self, index: int, piece: Piece) -> Iterator[bytes]:
        told = native_form.told(piece.progress, self._request.sent) if piece.progress else {}
        if piece.text:
            thinks = _SUMMARY if self._request.summarised else _THINKING
            form = thinks if piece.kind == "thinking" else _MESSAGE
            if self._writing is None or self._writing.form is not form:
                yield from self._close("completed")
                yield from self._open(form)
            yield self._delta(piece, told)
        elif told:
            yield self._event("response.in_progress", response=self._response("in_progress"), **told)
        if piece.call:
            yield from self._close("completed")
            yield from self._call(piece.call)
        if piece.usage:
            self._usage = piece.usage

    def end(self) -> Iterator[bytes]:
        if not self._output:  # a model that says nothing has said an empty text
            yield from self._open(_MESSAGE)
        yield from self._close(self._status)
        answer = self._ended()
        more: dict[str, Any] = {}
        if self._usage and self._request.sent.get("timings_per_token"):
            more["timings"] = native_form.timings([self._usage])
        yield self._event(f"response.{self._status}", response=answer, **more)

    def failed(self, fault: Refused) -> Iterator[bytes]:
        code = fault.code or ("server_error" if fault.status >= 500 else "invalid_prompt")
        failed = {**self._response("failed"), "error": {"code": code, "message": fault.message}}
        yield self._event("response.failed", response=failed)

    def quiet(self) -> bytes:
        return sse.COMMENT

    def whole(self, pieces: Sequence[tuple[int, Piece]]) -> str:
        sse.take_all(self, pieces)
        return json.dumps(self._response(self._status), ensure_ascii=False)

    @property
    def _status(self) -> str:
        cut = self._usage is not None and self._usage.stop_reason in ("length", "context")
        return "incomplete" if cut else "completed"

    def _ended(self) -> dict[str, Any]:
        """Return the whole answer, kept where that is wanted."""
        answer = self._response(self._status)
        self._keep(answer, len(json.dumps(answer, ensure_ascii=False)))
        return answer

    def _event(self, kind: str, **fields: Any) -> bytes:
        written = {"type": kind, "sequence_number": self._sent, **fields}
        self._sent += 1
        return event(json.dumps(written, ensure_ascii=False), kind)

    def _open(self, form: _Form) -> Iterator[bytes]:
        """Begin an item with text in it."""
        item: dict[str, Any] = {"type": form.item, "id": _id(form.prefix), "status": "in_progress"}
        item |= {"role": "assistant", "content": []} if form is _MESSAGE else {"summary": []}
        self._output.append(item)
        self._writing = _Writing(form, item)
        yield self._event("response.output_item.added", output_index=self._at, item=item)
        yield self._part_event(self._writing, "added")

    def _delta(self, piece: Piece, told: Mapping[str, Any]) -> bytes:
        writing = self._writing
        assert writing is not None  # opened for this piece
        writing.text.append(piece.text)
        known: dict[str, Any] = {}
        if writing.form is _MESSAGE:
            known["logprobs"] = _logprobs(piece.logprobs)
            writing.logprobs += known["logprobs"]
        return self._text_event(writing, "delta", delta=piece.text, **known, **told)

    def _close(self, status: str) -> Iterator[bytes]:
        """End the item that is being written, if one is."""
        if (writing := self._writing) is None:
            return
        self._writing = None
        part = writing.part()
        known = {"logprobs": writing.logprobs} if writing.form is _MESSAGE else {}
        yield self._text_event(writing, "done", text=part["text"], **known)
        yield self._part_event(writing, "done")
        writing.item[writing.form.held] = [part]
        writing.item["status"] = status
        if writing.form is not _MESSAGE and self._request.sealed:
            writing.item["encrypted_content"] = seal(part["text"])
        yield self._event("response.output_item.done", output_index=self._at, item=writing.item)

    def _part_event(self, writing: _Writing, what: str) -> bytes:
        return self._of(writing, f"response.{writing.form.part_event}.{what}", part=writing.part())

    def _text_event(self, writing: _Writing, what: str, **fields: Any) -> bytes:
        return self._of(writing, f"response.{writing.form.text_event}.{what}", **fields)

    def _of(self, writing: _Writing, kind: str, **fields: Any) -> bytes:
        place = {"item_id": writing.item["id"], "output_index": self._at, writing.form.index: 0}
        return self._event(kind, **place, **fields)

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        """Write a call, which comes at once."""
        tool = self._request.tools.get(call.name, Tool(call.name))
        written = json.dumps(call.arguments, ensure_ascii=False)
        if tool.custom:
            kind, name, written = "custom_tool_call", "input", str(call.arguments.get("input", written))
            events = "response.custom_tool_call_input"
        else:
            kind, name, events = "function_call", "arguments", "response.function_call_arguments"
        item: dict[str, Any] = {"type": kind, "id": _id("fc"), "call_id": call.id, "name": tool.name}
        item |= {name: "", "status": "in_progress"}
        if tool.namespace:
            item["namespace"] = tool.namespace
        self._output.append(item)
        place = {"item_id": item["id"], "output_index": self._at}
        yield self._event("response.output_item.added", output_index=self._at, item=item)
        yield self._event(f"{events}.delta", **place, delta=written)
        item |= {name: written, "status": "completed"}
        done = {name: written} if tool.custom else {name: written, "name": tool.name}
        yield self._event(f"{events}.done", **place, **done)
        yield self._event("response.output_item.done", output_index=self._at, item=item)

    @property
    def _at(self) -> int:
        return len(self._output) - 1

    def _response(self, status: str) -> dict[str, Any]:
        """Return the answer so far: what was asked, and what has come of it."""
        sent = self._request.sent
        reasoning = sent.get("reasoning") or {}
        ended = status in ("completed", "incomplete")
        incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": incomplete,
            "instructions": sent.get("instructions"),
            "max_output_tokens": sent.get("max_output_tokens"),
            "metadata": sent.get("metadata") or {},
            "model": self._model(),
            "output": list(self._output),
            "parallel_tool_calls": sent.get("parallel_tool_calls", True),
            "previous_response_id": sent.get("previous_response_id"),
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "store": self._request.stored,
            "temperature": sent.get("temperature"),
            "text": {"format": {"type": "text"}, **(sent.get("text") or {})},
            "tool_choice": sent.get("tool_choice", "auto"),
            "tools": self._request.offered,
            "top_logprobs": sent.get("top_logprobs", 0),
            "top_p": sent.get("top_p"),
            "truncation": sent.get("truncation", "disabled"),
            "usage": _usage(self._usage) if ended and self._usage else None,
            "user": sent.get("user"),
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    }


def _logprobs(known: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [{**_logprob(one), "top_logprobs": [_logprob(other) for other in one.others]} for one in known]


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    return {"token": one.token, "bytes": list(one.bytes), "logprob": one.logprob}


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
