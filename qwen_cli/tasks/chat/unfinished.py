"""Answers that a kill has cut: kept beside their session while they come, and put into it afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Piece
from qwen_cli.tasks.chat import messages
from qwen_cli.tasks.chat.conversation import Conversation, Events
from qwen_cli.tasks.common.stream_journal import Left, StreamJournal

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class OpenEnd:
    """`what` is missing at the end of a conversation, what going on `does`, and what was `said` so far."""

    what: str
    does: str
    said: str = ""


def open_end(said: Sequence[Mapping[str, Any]]) -> OpenEnd | None:
    """Return what is missing at the end of the messages `said`; `None` where the last answer is whole."""
    if not said:
        return None
    last = said[-1]
    if last["role"] != "assistant":
        return OpenEnd("the last question has no answer", "answers it")
    if last.get("cut"):
        return OpenEnd("the last answer was cut", "goes on with it", str(last.get("content") or ""))
    return None


def begin(folder: Path, name: str, conversation: Conversation) -> StreamJournal:
    """Keep what is answered from here on in `folder`, for the session `name`, which was just saved."""
    last = conversation.messages[-1:]
    joins = bool(last and last[0]["role"] == "assistant")  # the answer goes on
    head = {"session": name, "base": len(conversation.messages), "joins": joins}
    return StreamJournal(folder, head)


def followed(events: Events, conversation: Conversation, journal: StreamJournal) -> Events:
    """Yield `events`; what they say is in `journal` a second later."""
    whole = len(conversation.messages)
    try:
        for event in events:
            for message in conversation.messages[whole:]:
                journal.message(message)
            whole = len(conversation.messages)
            if isinstance(event, Piece):
                journal.feed(event)
            yield event
    finally:
        events.close()


def joined(said: Messages, left: Left) -> Messages:
    """Return the messages `said` before, with what was `left` of their answer, marked as cut."""
    if left.head.get("joins"):
        *said, before = said
        text = f"{before.get('content') or ''}{left.answer}"
        thinking = f"{before.get('thinking') or ''}{left.thinking}"
        return [*said, messages.answer(text, thinking, (), cut=True)]
    said = [*said, *left.messages, *_unanswered(left.messages)]
    if left.answer or left.thinking:
        said.append(messages.answer(left.answer, left.thinking, (), cut=True))
    return said


def holds(said: Messages, cut: Messages) -> bool:
    """Return whether `said` is at least `cut`: it was saved before its journal could be removed."""
    if not cut or len(said) < len(cut):
        return not cut
    last = len(cut) - 1
    content = said[last].get("content"), cut[last].get("content")
    begins = str(content[0] or "").startswith(str(content[1] or ""))
    return said[:last] == cut[:last] and (content[0] == content[1] or begins)


def _unanswered(said: Sequence[dict[str, Any]]) -> Messages:
    """Return results for the calls that have none: templates and servers refuse a call without one."""
    done = {message.get("tool_call_id") for message in said}
    return [
        {
            "role": "tool",
            "tool_call_id": call["id"],
            "name": call["function"]["name"],
            "content": messages.NOT_RUN,
            "ok": False,
        }
        for message in said
        for call in message.get("tool_calls", ())
        if call["id"] not in done
    ]
