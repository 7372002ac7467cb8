"""Messages that a chat template refuses, in the order that it takes.

Since Qwen3.5 templates raise where no person has asked anything, where a system message is not the first, and
where it shows something. Such conversations come from other programs, and from windows that slid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Message
from qwen_cli.engines.core.content import parts_of

_SYSTEM = ("system", "developer")
_ANSWERED = ("<tool_response>", "</tool_response>")  # what a user turn of results begins and ends with


def repaired(messages: Sequence[Message], refusal: str) -> list[dict[str, Any]] | None:
    """Return `messages` so that a template which refused them for `refusal` takes them; `None` where they
    cannot be."""
    said = refusal.lower()
    remedy: Callable[[Sequence[Message]], list[dict[str, Any]]] | None = None
    if "user query" in said:
        remedy = _with_query
    elif "system message" in said and "beginning" in said:
        remedy = _system_first
    elif "system message" in said and any(kind in said for kind in ("image", "video", "picture")):
        remedy = _showing_later
    elif "unexpected message role" in said:
        remedy = _known_roles
    if remedy is None:
        return None
    mended = remedy(messages)
    return mended if mended != [dict(message) for message in messages] else None


def goes_on(messages: Sequence[Message]) -> bool:
    """Return whether an answer is to go on: the last of `messages` is what there is of it."""
    return bool(messages) and messages[-1].get("role") == "assistant"


def is_unusual(messages: Sequence[Message]) -> bool:
    """Return whether a strict template may refuse `messages`: cheaper than rendering them to see."""
    first = messages[0] if messages else {}
    return (
        not any(_is_query(message) for message in messages)
        or any(message.get("role") in _SYSTEM for message in messages[1:])
        or any(message.get("role") in ("developer", "function") for message in messages)
        or (first.get("role") == "system" and any(map(_is_shown, parts_of(first))))
    )


def labelled(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return `messages` with a label before each picture and video, as templates write them with
    `add_vision_id`: for llama.cpp, whose templates see places for media alone."""
    counts = {"Picture": 0, "Video": 0}
    turns = []
    for message in messages:
        content: list[Any] = []
        for part in parts_of(message):
            if _is_shown(part):
                kind = "Video" if part["type"] in ("video", "video_url") else "Picture"
                counts[kind] += 1
                content.append({"type": "text", "text": f"{kind} {counts[kind]}: "})
            content.append(part)
        turns.append({**message, "content": content} if content else dict(message))
    return turns


def _is_query(message: Message) -> bool:
    """Return whether a person asks something, as the templates have it: a user turn, but for one that is a
    tool's result."""
    if message.get("role") != "user":
        return False
    content = message.get("content") or ""
    if isinstance(content, str):
        text = content.strip()
    else:
        shown = any(map(_is_shown, content))
        text = "" if shown else "".join(str(part.get("text", "")) for part in content).strip()
    return not (text.startswith(_ANSWERED[0]) and text.endswith(_ANSWERED[1]))


def _with_query(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Put a turn in which nothing is said before all others but the system message's."""
    if any(map(_is_query, messages)):
        return list(map(dict, messages))
    at = 1 if messages and messages[0].get("role") in _SYSTEM else 0
    turns = [dict(message) for message in messages]
    return [*turns[:at], {"role": "user", "content": ""}, *turns[at:]]


def _system_first(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Join all system messages in the first turn, in their order."""
    said = [message.get("content") or "" for message in messages if message.get("role") in _SYSTEM]
    rest = [dict(message) for message in messages if message.get("role") not in _SYSTEM]
    if not said:
        return rest
    if all(isinstance(content, str) for content in said):
        return [{"role": "system", "content": "\n\n".join(content for content in said if content)}, *rest]
    parts: list[Any] = []
    for content in said:
        between = [{"type": "text", "text": "\n\n"}] if parts else []
        parts += between + (
            [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        )
    return [{"role": "system", "content": parts}, *rest]


def _showing_later(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Move what the system message shows to the begin of the first user turn."""
    turns = [dict(message) for message in messages]
    shown = [
        part for turn in turns if turn.get("role") in _SYSTEM for part in parts_of(turn) if _is_shown(part)
    ]
    for turn in turns:
        if turn.get("role") in _SYSTEM and isinstance(turn.get("content"), list):
            turn["content"] = "".join(str(p.get("text", "")) for p in turn["content"] if not _is_shown(p))
    asking = next((turn for turn in turns if turn.get("role") == "user"), None)
    if asking is None:
        asking = {"role": "user", "content": ""}
        turns.insert(1, asking)
    content = asking.get("content") or ""
    text = [{"type": "text", "text": content}] if content else []
    asking["content"] = [*shown, *(text if isinstance(content, str) else content)]
    return turns


def _known_roles(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Call OpenAI's newer and older roles what the templates call them."""
    names = {"developer": "system", "function": "tool"}
    return [
        {**message, "role": names.get(str(message.get("role")), message.get("role"))} for message in messages
    ]


def _is_shown(part: Mapping[str, Any]) -> bool:
    return part.get("type") != "text"
