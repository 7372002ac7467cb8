"""One question to `qwen chat`: answered on standard output, kept in its session and in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from qwen_cli.commands.chat import output
from qwen_cli.commands.chat.question import Question
from qwen_cli.commands.chat.resume import Resumed
from qwen_cli.commands.shared import logged
from qwen_cli.commands.shared.logged import Recorder
from qwen_cli.commands.shared.output import relay
from qwen_cli.errors import SessionError
from qwen_cli.tasks.chat import file_states, opening, sessions, unfinished
from qwen_cli.tasks.chat.conversation import Conversation, Events
from qwen_cli.tasks.chat.file_states import Place
from qwen_cli.tasks.chat.messages import text_of
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.ui.progress import Reading


def ask(
    conversation: Conversation,
    question: Question,
    resumed: Resumed | None,
    settings: Mapping[str, Any],
    *,
    as_json: bool,
    raw: bool,
    no_log: bool,
    save_plots: Path | None = None,
    cache_file: Path | None = None,
) -> None:
    """Answer `question`, or without one go on with the last answer. With a session both are kept, in the log
    too, also when the answer is cut short. The KV state of long files is kept in `cache_file`, or by what
    they say."""
    place = _state_place(conversation, question, cache_file, no_log=no_log)
    if question.asks:
        events = conversation.send(question.content(conversation.engine))
        if place is None:
            events = opening.begun(conversation, events, 0 if no_log else sessions.kept_bytes())
    else:
        events = conversation.go_on()
    session = resumed.session if resumed else None
    with (
        _state(conversation, place) as watched,
        Reading(conversation.engine),
        _kept(conversation, session, events) if session else nullcontext(events) as followed,
        _logged(conversation, question, resumed, settings, no_log=no_log) as recorder,
        # A signal may come while a piece is written: the answer ends before what there is of it is kept.
        closing(recorder.follow(watched(followed))) as followed,
    ):
        if as_json:
            output.as_json(conversation, followed, save_plots=save_plots)
        else:
            output.streamed(followed, raw=raw, save_plots=save_plots)


def _state_place(
    conversation: Conversation, question: Question, cache_file: Path | None, *, no_log: bool
) -> Place | None:
    """Return where the KV state of this question is kept, `None` where nowhere: short files, an answer in a
    conversation that has a state of its own, one that is to leave nothing behind."""
    if cache_file is not None:
        return Place(cache_file, asked=True)
    if no_log or conversation.messages:
        return None
    return file_states.place(conversation, question.found.texts, sessions.kept_bytes())


@contextmanager
def _state(conversation: Conversation, place: Place | None) -> Iterator[Callable[[Events], Events]]:
    told: list[str] = []
    try:
        with file_states.kept(conversation, place, told) as watched:
            yield watched
    finally:
        for remark in told:
            relay(remark)


@contextmanager
def _kept(conversation: Conversation, session: Session, events: Events) -> Iterator[Events]:
    """Keep what is said in `session`: the question at once, and what comes of it however it ends."""

    def save() -> None:
        session.record(conversation)
        if remark := sessions.save(session):
            relay(remark)

    with suppress(SessionError):  # it is told with the answer, which is worth more
        save()
    journal = sessions.journal(session, conversation)
    try:
        yield unfinished.followed(events, conversation, journal)
    finally:
        save()
        journal.close()
        if remark := sessions.keep_state(conversation.engine, session.name, sessions.kept_bytes()):
            relay(remark)


@contextmanager
def _logged(
    conversation: Conversation,
    question: Question,
    resumed: Resumed | None,
    settings: Mapping[str, Any],
    *,
    no_log: bool,
) -> Iterator[Recorder]:
    """Log the question and what comes of it. An answer that goes on is logged in all, in the place of what
    it goes on with: that one's turn is not repeated."""
    asked = max(i for i, message in enumerate(conversation.messages) if message["role"] == "user")
    entry = resumed.entry if resumed else None
    session = resumed.session if resumed else None
    parent = (entry.id if question.asks else entry.parent) if entry else None

    def turn() -> list[dict[str, Any]] | None:
        return None if session else [_portable(one) for one in conversation.messages[asked:]]

    text = question.text.strip() or text_of(conversation.messages[asked]["content"])
    kept = {"system": conversation.system, "session": session.name if session else None, "parent": parent}
    with logged.recording(
        "chat", text, conversation.engine, settings, no_log=no_log, messages=turn(), **kept
    ) as recorder:
        try:
            yield recorder
        finally:
            answers = [one for one in conversation.messages[asked:] if one["role"] == "assistant"]
            answer = str(answers[-1].get("content") or "") if answers else ""
            thinking = "".join(str(one.get("thinking") or "") for one in answers)
            recorder.tell(answer, None, thinking=thinking, messages=turn())


def _portable(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without its pictures, which the log does not keep."""
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    texts = [str(part["text"]) if part.get("type") == "text" else "(a picture)" for part in content]
    return {**message, "content": "\n".join(texts)}
