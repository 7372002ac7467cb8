"""What a conversation at the terminal holds besides its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qwen_cli.commands.chat.turn import Interrupts
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import QwenError
from qwen_cli.tasks.chat import attachments, sessions
from qwen_cli.tasks.chat.conversation import Content, Conversation
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.ui.line_editor import LineEditor

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine

_RECAP = 60  # characters of the last question


@dataclass
class ReplState:
    """What a conversation at the terminal holds besides its words: where it is kept and how it is shown.

    `session` is `None` until something was said. `attached` are files (name, text) and `images` content
    parts for the next message. `fold`: thoughts become one line once the answer begins.
    """

    conversation: Conversation
    session: Session | None
    load_engine: Callable[[str], Engine]
    raw: bool
    editor: LineEditor
    interrupts: Interrupts
    fold: bool = True
    attached: list[tuple[str, str]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    named: bool = False  # the person chose the session's name
    allow_local_urls: bool = False  # of pictures
    leaving: bool = False

    def compose(self, text: str) -> Content:
        """The message: attached files, images and `text`, which are then no longer attached."""
        whole = attachments.as_prompt(self.attached, text) if self.attached else text
        content: Content = [*self.images, {"type": "text", "text": whole}] if self.images else whole
        self.attached, self.images = [], []
        return content

    def save(self) -> None:
        """Keep the conversation on disk; a fault is shown, as there is nothing else that could be done."""
        if not self.conversation.messages and self.session is None:
            return
        try:
            if self.session is None:
                self.session = sessions.new(first_question(self.conversation))
            self.session.record(self.conversation)
            if remark := sessions.save(self.session):
                say(remark)
        except QwenError as fault:
            say(str(fault))


def recap(name: str, conversation: Conversation) -> str:
    """One line about a conversation that is taken up again."""
    asked = [m for m in conversation.messages if m["role"] == "user"]
    last = " ".join(text_of(asked[-1]["content"]).split()) if asked else ""
    shown = last if len(last) <= _RECAP else f"{last[:_RECAP]}…"
    turns = f"{len(asked)} turn{'' if len(asked) == 1 else 's'}"
    return f"session {name}: {turns}, the last was “{shown}”"


def text_of(content: Content) -> str:
    """The words of a message, without its images."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def first_question(conversation: Conversation) -> str:
    """What the session is named after."""
    return next((text_of(m["content"]) for m in conversation.messages if m["role"] == "user"), "")
