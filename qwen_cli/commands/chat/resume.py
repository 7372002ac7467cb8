"""What `qwen chat` goes on with: a session, or the last question of the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import LogError, SessionError, UsageError
from qwen_cli.tasks.chat import sessions, unfinished
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.tasks.common import log
from qwen_cli.tasks.common.log import Entry


@dataclass(frozen=True)
class Resumed:
    """A conversation that is taken up. That of an `entry` of the log is in a session which is not kept."""

    said: Session
    entry: Entry | None = None

    @property
    def session(self) -> Session | None:
        """Return the session in which it is kept."""
        return self.said if self.entry is None else None

    @property
    def label(self) -> str:
        """Return what it is called in messages."""
        return f"session {self.said.name!r}" if self.entry is None else f"question {self.entry.id} of the log"

    def model_as_before(self, settings: dict[str, Any], loading: options.Loading) -> None:
        """Let the model that it was held with answer, unless another is asked for. Raises `UsageError` for
        one on a server that is not named."""
        if not self.said.model or loading.model or loading.endpoint:
            return
        if self.said.engine != "remote":
            settings["model"] = self.said.model
            settings.pop("endpoint", None)
        elif not settings.get("endpoint"):
            raise UsageError(
                f"{self.label} was held with {self.said.model} on a server",
                "give its --endpoint, or -m to go on with another model",
            )

    def tell_unfinished(self, *, asks: bool) -> None:
        """Say what is missing at its end. Raises `UsageError` where nothing is asked and nothing is
        missing."""
        open_end = unfinished.open_end(self.said.messages)
        if open_end and asks:
            say(f"{self.label}: {open_end.what}; `qwen chat --continue` alone {open_end.does}")
        elif not open_end and not asks:
            why = "its last answer is whole" if self.said.messages else "it has no question yet"
            raise UsageError(
                f"there is no question, and nothing of {self.label} to go on with: {why}",
                'write one: `qwen chat --continue "…"`',
            )


def find(resume: bool, name: str | None) -> Resumed | None:
    """Return what to go on with: the session `name`, which may be a new one, or the latest of all. `None`
    where nothing is gone on with. Raises `SessionError`."""
    if name is not None:
        known = sessions.path(name).exists()
        return _told(Resumed(sessions.load(name) if known else sessions.new(name=name)))
    if not resume:
        return None
    session = sessions.latest(lambda fault: relay(str(fault)))
    entry = _last_entry()
    if session is not None and (
        entry is None or sessions.changed(session.name).timestamp() >= entry.ended.timestamp()
    ):
        return _told(Resumed(session))
    said = log.conversation(entry) if entry else None
    if entry is None or said is None:
        raise SessionError("there is no session to resume", "start one with `qwen chat`")
    return Resumed(Session(f"log-{entry.id}", entry.model, entry.engine, entry.system, messages=said), entry)


def _told(resumed: Resumed) -> Resumed:
    """Say that the session is in use, if it is."""
    if sessions.is_answering(resumed.said.name):
        say(f"another process is answering in {resumed.label}: one of the two goes on under another name")
    return resumed


def _last_entry() -> Entry | None:
    try:
        return log.last_talk()
    except LogError as fault:
        relay(str(fault))
        return None


def conversation(engine: Engine, resumed: Resumed | None, settings: dict[str, Any]) -> Conversation:
    """Return the conversation that is gone on with, or a new one, on `engine`."""
    if resumed and resumed.said.messages:
        held = resumed.said.resume(engine)
        state = sessions.kv_path(resumed.said.name)
        if resumed.session and engine.capabilities.state and state.exists():
            engine.load_state(state)
    else:
        held = Conversation(engine)
    held.system = settings.get("system", held.system)
    held.overflow = settings.get("overflow", held.overflow)
    return held
