"""Messages as a conversation keeps them and as an engine gets them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.tasks.tools.base import ToolResult

Content: TypeAlias = "str | list[dict[str, Any]]"
"""A message's text, or a list of OpenAI content parts (text, image_url)."""

SENT_KEYS = ("role", "content", "tool_calls", "tool_call_id")
"""Keys of a message that an engine sees; the others are for the person."""

LAST_ROUND = "\n\n(No more tool calls are allowed now: answer with what you have.)"
FAILED_BEFORE = "\n\n(The same call has failed before: change it, or answer with what you have.)"
NOT_RUN = "not run: the person stopped the answer"
NO_ROUNDS_LEFT = "not run: no more tool calls are allowed"


def clean(messages: Sequence[dict[str, Any]], *, keep_thinking: bool = False) -> list[dict[str, Any]]:
    """Return `messages` as OpenAI's chat format has them, without turns that were too long to send.

    Thinking goes back as `reasoning_content` with what was thought since the last question: between calls of
    tools a model goes on with it. That of earlier turns goes back with `keep_thinking`.
    """
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    sent = []
    for index, message in enumerate(messages):
        if message.get("unsent"):
            continue
        turn = {key: message[key] for key in SENT_KEYS if key in message}
        if message.get("thinking") and (keep_thinking or index > last):
            turn["reasoning_content"] = message["thinking"]
        sent.append(turn)
    return sent


def text_of(content: Content) -> str:
    """Return the words of a message, without its images."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def answer(text: str, thinking: str, calls: Sequence[ToolCall], *, cut: bool) -> dict[str, Any]:
    """Return an assistant message."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [_openai_call(call) for call in calls]
    if thinking:
        message["thinking"] = thinking
    if cut:
        message["cut"] = True
    return message


def result(done: ToolResult, hint: str = "") -> dict[str, Any]:
    """Return the message that answers a tool call; `hint` is for the model alone."""
    return {
        "role": "tool",
        "tool_call_id": done.call.id,
        "name": done.call.name,
        "content": done.output + hint,
        "ok": done.ok,
    }


def _openai_call(call: ToolCall) -> dict[str, Any]:
    """Return `call` as an assistant message's `tool_calls` holds it: the arguments are JSON text there."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
