"""What stands before the first question, the system prompt and the tools, is read once: its KV state is kept
by what it says, and the next conversation that opens alike, in a new process, begins behind it."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing, suppress
from pathlib import Path

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.core.prompt import common_length
from qwen_cli.errors import QwenError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.conversation import Conversation, Events

_MARK_ENDS = "|>"
# Bytes: of a shorter opening, such as the first mark of a turn alone, nothing is saved.
_SHORT = 64
# The templates of Qwen2 and Qwen2.5 write a system prompt where there is none: "You are a helpful assistant."
_BY_ITSELF = "You are "


def begun(conversation: Conversation, events: Events, most: float) -> Events:
    """Yield `events`, the answer to a question; before the first of a conversation its opening is taken from
    where it is kept, else read and kept there. All states together take no more than `most` bytes; with 0
    none is written.

    The opening is read by itself either way: tokens that are read together are rounded together, and the
    answer would be another where it was kept.
    """
    with closing(events):
        if len(conversation.messages) == 1 and conversation.engine.capabilities.openings:
            with suppress(QwenError, OSError):  # then it is read with the question
                _read(conversation, most)
        yield from events


def place(conversation: Conversation) -> Path | None:
    """Return where the state of the opening is kept; `None` where there is nothing to keep."""
    engine = conversation.engine
    said = conversation.opening
    if not said["system"] and not said["tools"] and _BY_ITSELF not in engine.chat_template:
        return None
    of = {"engine": engine.name, "model": engine.model, "template": engine.chat_template, **said}
    name = hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return sessions.files_folder() / f"{name}.kv"


def text(conversation: Conversation) -> str:
    """Return the opening as the template writes it: what two first questions have in common, up to the last
    word before a line ends, or the last mark: behind others tokens may join. Raises `EngineError`."""
    first, other = (conversation.first_prompt(question) for question in ("0", "A"))
    common = first[: common_length(first, other)] if first != other else ""
    words = common.rstrip("\n")
    if words != common and words[-1:].isalnum():
        return words
    return common[: common.rfind(_MARK_ENDS) + len(_MARK_ENDS)] if _MARK_ENDS in common else ""


def _read(conversation: Conversation, most: float) -> None:
    engine, file = conversation.engine, place(conversation)
    if file is None:
        return
    if file.is_file() and engine.load_state(file):
        os.utime(file)  # used last, goes last
        return
    opening = text(conversation)
    if len(opening) < _SHORT:
        return
    with closing(engine.complete(opening, sampling=Sampling(temperature=0, max_tokens=1))) as pieces:
        for _ in pieces:
            pass
    if most > 0:
        engine.save_state(file)
        sessions.trim_states(most)
