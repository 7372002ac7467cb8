"""What OpenAI-style streams have in common, whoever serves them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Message, ToolCall, call_id
from qwen_cli.engines.core.content import wire
from qwen_cli.engines.core.prompt import Prompt, joined, plain

# A message may carry remarks of its owner (that it was cut, when it was said); a server gets these alone.
_MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content")

# Appended where thinking is cut at its budget: Qwen3's documentation ("Thinking Budget").
BUDGET_MESSAGE = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking"
    " directly now.\n"
)


def chat_fields(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return `messages` with the fields of the chat format alone."""
    return [{name: m[name] for name in _MESSAGE_FIELDS if name in m} for m in messages]


def wire_messages(
    messages: Sequence[Message], *, files: bool = False, reasoning: str | None = "reasoning_content"
) -> list[dict[str, Any]]:
    """Return `messages` as they are sent: pictures and videos in the chat format's parts, arguments of calls
    as the JSON of an object. `files`: the server takes videos as such; `reasoning` is what it calls past
    thinking (`None`: it takes none)."""
    sent = []
    for message in chat_fields(messages):
        thought = message.pop("reasoning_content", None)
        if thought and reasoning:
            message[reasoning] = thought
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [_wire_call(call) for call in calls]
        sent.append({name: _wire_value(value, files) for name, value in message.items()})
    return sent


def joined_text(content: Any) -> Any:
    """Return the content of a message as one text where it is nothing else, its parts where it shows
    something."""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        texts = [part["text"] for part in content]
        if any(isinstance(text, Prompt) for text in texts):
            return joined(text if isinstance(text, Prompt) else plain(text) for text in texts)
        return "".join(texts)
    return content or ""


def call_arguments(given: Any) -> dict[str, Any]:
    """Return the arguments of a past call as the mapping that templates want; what is none stays visible
    under one name."""
    return dict(given) if isinstance(given, Mapping) else _arguments(str(given or ""))


def _wire_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    given = function.get("arguments")
    mapping = call_arguments(given)
    if not isinstance(given, str) or mapping.keys() == {"invalid_json"} or not given.strip():
        function["arguments"] = json.dumps(mapping, ensure_ascii=False)
    return {**call, "function": function}


def _wire_value(value: Any, files: bool) -> Any:
    if not isinstance(value, list) or not any(p.get("type") in ("image", "video") for p in value):
        return value
    return [sent for part in value for sent in wire(part, files=files)]


class ToolCalls:
    """Puts tool calls together from the fragments a stream brings them in."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[str, str]] = {}

    def feed(self, deltas: Iterable[Mapping[str, Any]]) -> None:
        """Add the fragments of one chunk. From a server that leaves out their index, a name begins a call."""
        for delta in deltas:
            function = delta.get("function") or {}
            index = delta.get("index")
            if not isinstance(index, int):
                index = max(0, max(self._parts, default=-1) + bool(function.get("name")))
            part = self._parts.setdefault(index, {"name": "", "arguments": ""})
            part["name"] += function.get("name") or ""
            part["arguments"] += function.get("arguments") or ""

    def finish(self) -> list[ToolCall]:
        """Return the calls in the order the model made them."""
        return [
            ToolCall(call_id(), part["name"], _arguments(part["arguments"]))
            for _, part in sorted(self._parts.items())
        ]


def _arguments(text: str) -> dict[str, Any]:
    """Parse arguments. What is no JSON object stays visible under one name, so that the tool refuses it and
    the model learns what it did wrong."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"invalid_json": text}
