"""`qwen vision` without a question: a conversation about its inputs, which the model looks at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from qwen_cli.commands.chat.slash_table import COMMANDS as CHAT
from qwen_cli.commands.chat.state import ReplState
from qwen_cli.commands.shared import loop, slash
from qwen_cli.commands.shared.loop import Interrupts
from qwen_cli.engines.core import content
from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.messages import Content
from qwen_cli.ui.line_editor import LineEditor

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.vision.prepare import Look

# This prompt is about what it was given: another conversation is taken up by `qwen chat`.
COMMANDS = slash.only(CHAT, CHAT.keys() - {"load", "sessions", "tools"}) | {
    "clear": replace(CHAT["clear"], about="Start afresh, about the same inputs"),
    "save": replace(CHAT["save"], about="Keep this as a session, which `qwen chat` can go on with"),
    "quit": replace(CHAT["quit"], about="Leave"),
}


@dataclass
class VisionState(ReplState):
    """A conversation whose first message shows the inputs. It is kept once it has a name."""

    name: ClassVar[str] = "vision"

    opening: list[dict[str, Any]] = field(default_factory=list)  # content parts of the inputs

    @property
    def why_not_kept(self) -> str | None:
        films = any(part.get("type") == "video" for part in self.opening)
        return "a session cannot hold a video" if films else None

    def compose(self, text: str) -> Content:
        """Return the message; one that is the first the model sees begins with the inputs."""
        said = super().compose(text)
        sent = self.conversation.messages[self.conversation.first_sent :]
        if any(m["role"] == "user" and not m.get("unsent") for m in sent):
            return said
        return [*self.opening, *([{"type": "text", "text": said}] if isinstance(said, str) else said)]

    def portable(self) -> None:
        if self.why_not_kept is not None:
            raise UsageError("a video cannot be written as JSON", "/export md writes what was said")
        for message in self.conversation.messages:
            if not isinstance(message["content"], str):
                message["content"] = _as_json(message["content"])

    def save(self) -> None:
        """Keep the conversation where the person has named it."""
        if self.named:
            self.portable()
            super().save()


def run(
    engine: Engine,
    looks: Sequence[Look],
    sampling: Sampling,
    load_engine: Callable[[str], Engine],
    *,
    allow_local_urls: bool = False,
    system: str | None = None,
    thinking: bool | int | None = None,
) -> None:
    """Answer questions from the terminal about the same inputs, until the person leaves. The context never
    slides: the inputs stand at its beginning. `load_engine` is for /model."""
    conversation = Conversation(engine, sampling=sampling, overflow="stop")
    conversation.system = system or conversation.system
    conversation.thinking = thinking

    def begin(editor: LineEditor, interrupts: Interrupts) -> VisionState:
        return VisionState(
            conversation,
            None,
            lambda name: _seeing(load_engine(name)),
            not sys.stdout.isatty(),
            editor,
            interrupts,
            COMMANDS,
            allow_local_urls=allow_local_urls,
            opening=[dict(look.part) for look in looks],
        )

    loop.run(begin, history="vision", mentions=True)


def _seeing(engine: Engine) -> Engine:
    """Return `engine`, if it sees pictures; else it is closed. Raises `UsageError`."""
    if not engine.capabilities.vision:
        engine.close()
        raise UsageError(f"{engine.model} sees no pictures", "choose a vision model, such as qwen3.5:4b")
    return engine


def _as_json(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `parts` with pictures as `data:` addresses, without loss, so that the KV cache knows them."""
    return [one for part in parts for one in (content.wire(part) if part["type"] == "image" else [part])]
