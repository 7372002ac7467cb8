"""What a conversation at the terminal holds besides its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qwen_cli.commands.chat import attaching
from qwen_cli.commands.shared import plots
from qwen_cli.commands.shared.approval import Approval
from qwen_cli.commands.shared.loop import Interrupts, run_turn
from qwen_cli.commands.shared.output import StreamView, relay, say
from qwen_cli.commands.shared.slash import Commands, Events
from qwen_cli.engines.core.base import Sampling, usual
from qwen_cli.errors import ContextFull, QwenError, UsageError
from qwen_cli.tasks.chat import attachments, opening, sessions, unfinished
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.messages import Content, text_of
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.tasks.common.stream_journal import StreamJournal
from qwen_cli.ui.line_editor import LineEditor
from qwen_cli.ui.progress import Reading

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine

_RECAP = 60  # characters of the last question
_CUT_SHOWN = 1_000  # characters of an answer that was cut
_CODE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)


@dataclass
class ReplState:
    """What a conversation at the terminal holds besides its words: where it is kept and how it is shown.

    `session` is `None` until something was said. `attached` are files (name, text) and `images` content
    parts for the next message. `fold`: thoughts become one line once the answer begins. The prompts of
    `qwen vision` and `qwen math` are this with other ways to ask, to keep and to show.
    """

    name: ClassVar[str] = "chat"

    conversation: Conversation
    session: Session | None
    load_engine: Callable[[str], Engine]
    raw: bool
    editor: LineEditor
    interrupts: Interrupts
    commands: Commands
    fold: bool = True
    attached: list[tuple[str, str]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    named: bool = False  # the person chose the session's name
    allow_local_urls: bool = False  # of pictures
    leaving: bool = False
    approval: Approval | None = None  # asks here before a tool runs
    save_plots: Path | None = None  # a folder for the figures that programs draw

    @property
    def defaults(self) -> Sampling:
        """Return the sampling that is used where nothing is set."""
        return usual(self.conversation.engine, self.conversation.thinking)

    @property
    def why_not_kept(self) -> str | None:
        """Return why no session can hold this; `None` where one can."""
        return None

    def greet(self) -> None:
        """Say what answers here, and what was said before."""
        engine = self.conversation.engine
        size = engine.capabilities.context
        context = f", {size:,} tokens of context" if size else ""
        say(f"{engine.model} on {engine.name}{context}. /help lists commands, Ctrl-D leaves")
        if self.conversation.messages:
            say(recap(self.session.name if self.session else None, self.conversation))
        self.tell_unfinished()

    def tell_unfinished(self) -> None:
        """Say that the last answer is missing, or show the end of one that was cut."""
        if open_end := unfinished.open_end(self.conversation.messages):
            if said := open_end.said:
                say(f"{'…' if len(said) > _CUT_SHOWN else ''}{said[-_CUT_SHOWN:]}")
            say(f"{open_end.what}; /continue {open_end.does}")

    def bar(self) -> str:
        """Return the line at the bottom: model, engine, context and speed."""
        engine, usage = self.conversation.engine, self.conversation.usage
        parts = [engine.model, f"{engine.name}", *self._filled()]
        if usage is not None and usage.tokens_per_second:
            parts.append(f"{usage.tokens_per_second:.1f} tokens/s")
        return " · ".join(parts)

    def send(self, text: str) -> Events | None:
        """Say `text`, with what is attached and what it names. Files alone wait for the next message."""
        taken = attaching.taken_from(self, text)
        if taken is None:
            return None
        text = taken
        if not text.strip() and not self.attached and not self.images:
            raise UsageError("the message is empty", "say something")
        return opening.begun(
            self.conversation, self.conversation.send(self.compose(text)), sessions.kept_bytes()
        )

    def again(self) -> Events:
        """Ask the last message once more. Raises `UsageError` where there is none."""
        return self.conversation.retry()

    def answer(self, events: Events) -> None:
        """Show the answer as it comes, and keep it: the question first, then what is said within a second."""
        self.save()
        show = partial(plots.tell, folder=self.save_plots)
        view = StreamView(raw=self.raw, fold=self.fold, plots=show)
        if self.approval is not None:
            self.approval.answer = view
        view.wait("…")
        journal = self.journal()
        if journal is not None:
            events = unfinished.followed(events, self.conversation, journal)
        try:
            with Reading(self.conversation.engine, view.wait):
                run_turn(events, view, self.interrupts, line_of=self._line_of)
        finally:  # also where the terminal is closed, or the program told to end
            self.save()
            if journal is not None:
                journal.close()

    def journal(self) -> StreamJournal | None:
        """Return what keeps the answer while it comes, so that a kill does not lose it; `None` where no
        session holds the conversation."""
        if self.session is None or self.session.stamp is None:
            return None
        return sessions.journal(self.session, self.conversation)

    def compose(self, text: str) -> Content:
        """Return the message: attached files, images and `text`, which are then no longer attached."""
        whole = attachments.as_prompt(self.attached, text) if self.attached else text
        content: Content = [*self.images, {"type": "text", "text": whole}] if self.images else whole
        self.attached, self.images = [], []
        return content

    def last_answer(self) -> str | None:
        """Return what /copy takes."""
        answers = [
            m["content"] for m in self.conversation.messages if m["role"] == "assistant" and m["content"]
        ]
        return answers[-1] if answers else None

    def last_code(self) -> str | None:
        """Return the last code block of the last answer."""
        blocks = _CODE.findall(self.last_answer() or "")
        return blocks[-1][1] if blocks else None

    def portable(self) -> None:
        """Replace what the conversation holds and JSON cannot. Raises `UsageError`."""

    def save(self) -> None:
        """Keep the conversation on disk; a fault is shown, as there is nothing else that could be done."""
        if not self.conversation.messages and self.session is None:
            return
        try:
            if self.session is None:
                self.session = sessions.new(first_question(self.conversation))
            self.session.record(self.conversation)
            if remark := sessions.save(self.session):
                relay(remark)
        except QwenError as fault:
            relay(str(fault))

    def leave(self) -> None:
        """Keep everything, with the KV cache where the engine can, so that going on costs nothing."""
        if not self.conversation.messages:
            return
        self.save()
        if self.session is None:
            return
        if remark := sessions.keep_state(self.conversation.engine, self.session.name, sessions.kept_bytes()):
            relay(remark)
        say(f"saved as {self.session.name}; resume with `qwen chat --continue`")

    def _line_of(self, fault: QwenError) -> str:
        """Return a fault of the engine in one line, with what can be done about it here."""
        turns = [m for m in self.conversation.sent() if m["role"] == "user"]
        before = turns if self.conversation.messages[-1].get("unsent") else turns[:-1]
        if isinstance(fault, ContextFull) and self.conversation.overflow == "stop" and before:
            return f"{fault.message}. /undo takes the last turn back, /clear starts afresh"
        return str(fault)

    def _filled(self) -> list[str]:
        """Return how much of the context is used."""
        with suppress(QwenError):  # a count is not worth an error line at every prompt
            used, total = self.conversation.tokens()
            return [f"{used:,}/{total:,} tokens" if total else f"{used:,} tokens"]
        return []


def effort_costs(conversation: Conversation, effort: str | None) -> str | None:
    """Return the line about what a change to `effort` costs; `None` where it costs nothing."""
    again = conversation.recomputed_by(effort)
    if not again:
        return None
    return f"the effort stands at the beginning of the prompt: its {again:,} tokens are computed again"


def recap(name: str | None, conversation: Conversation) -> str:
    """Return one line about a conversation that is taken up again: a session, or one of the log."""
    questions = [m for m in conversation.messages if m["role"] == "user"]
    last = " ".join(text_of(questions[-1]["content"]).split()) if questions else ""
    excerpt = last if len(last) <= _RECAP else f"{last[:_RECAP]}…"
    turns = f"{len(questions)} turn{'' if len(questions) == 1 else 's'}"
    where = f"session {name}" if name else "from the log"
    return f"{where}: {turns}, the last was “{excerpt}”"


def first_question(conversation: Conversation) -> str:
    """Return what the session is named after."""
    return next((text_of(m["content"]) for m in conversation.messages if m["role"] == "user"), "")
