"""KV states of long files, kept by what the files say: another question about the same book, in a new
process, begins where the book ends."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qwen_cli.engines.core import kv_file
from qwen_cli.engines.core.base import Piece, Usage
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.conversation import Conversation, Events

LONG = 4_096
"""Tokens that must have been computed for a state to be kept without anybody asking for it."""


@dataclass(frozen=True)
class Place:
    """Where a state is kept: in a file that somebody named (`asked`), or by content, in which case all of
    those and of sessions together take no more than `most` bytes."""

    file: Path
    asked: bool
    most: float = sessions.STATE_BYTES


def check(file: Path) -> None:
    """Raise `UsageError` where `file` is there and is no state: it would be overwritten."""
    if file.is_dir() or (file.exists() and not kv_file.is_one(file)):
        raise UsageError(f"{file} is there and is not a saved KV cache", "name another file, or remove it")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}", "make it, or name another")


def place(conversation: Conversation, texts: Sequence[tuple[str, str]], most: float) -> Place | None:
    """Return where the state of a question about the files `texts` (name, text) is kept; `None` where they
    are short, or the engine cannot keep it."""
    length = sum(len(text.encode("utf-8", "replace")) for _, text in texts)
    if length < LONG or most <= 0 or not conversation.engine.capabilities.state:  # a token is a byte at least
        return None
    engine = conversation.engine
    of = {"engine": engine.name, "model": engine.model, "system": conversation.system, "files": list(texts)}
    name = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:32]
    return Place(sessions.files_folder() / f"{name}.kv", asked=False, most=most)


@contextmanager
def kept(
    conversation: Conversation, where: Place | None, told: list[str]
) -> Iterator[Callable[[Events], Events]]:
    """Begin with the state that is at `where`, and keep there what was computed by the events that are passed
    through what this yields, if that was much; also where they are broken off. Remarks on what went wrong are
    added to `told`."""
    if where is None:
        yield lambda events: events
        return
    taken = False
    with suppress(QwenError, OSError):
        taken = where.file.is_file() and conversation.engine.load_state(where.file)
    if where.asked and where.file.is_file() and not taken:
        told.append(f"{where.file} is of another model or way to load it: the text is computed again")
    pieces: list[Piece] = []

    def follow(events: Events) -> Events:
        with closing(events):
            for event in events:
                if isinstance(event, Piece):
                    pieces.append(event)
                yield event

    try:
        yield follow
    finally:
        if pieces:
            _keep(conversation, where, [piece.usage for piece in pieces if piece.usage], told, taken=taken)


def _keep(
    conversation: Conversation, where: Place, usages: Sequence[Usage], told: list[str], *, taken: bool
) -> None:
    computed = sum(usage.prompt_tokens - usage.cached_tokens for usage in usages)
    if not usages and not taken:  # broken off while it was written
        with suppress(QwenError):
            computed = conversation.tokens()[0]
    if computed < (1 if where.asked and not taken else LONG):
        with suppress(OSError):
            os.utime(where.file)  # used last, goes last
        return
    try:
        if not conversation.engine.save_state(where.file) and where.asked:
            told.append(f"{where.file} was not written: this engine does not save its KV cache")
    except (QwenError, OSError) as fault:
        told.append(f"the model's state was not kept: {fault}")
    if not where.asked:
        sessions.trim_states(where.most)
