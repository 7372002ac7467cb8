"""One turn of a conversation on the terminal: the answer as it comes, Ctrl-C, tools and the asking."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from qwen_cli.commands.shared.output import StreamView, say
from qwen_cli.engines.core.base import ToolCall
from qwen_cli.errors import QwenError
from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.chat.conversation import Events
from qwen_cli.ui.line_editor import LineEditor, quiet_keys

if TYPE_CHECKING:
    pass


class Interrupts:
    """Ctrl-C for as long as the conversation lasts.

    It raises `KeyboardInterrupt` inside `stoppable`, once, and is only remembered outside: a session that
    is being saved, or an answer that is being stopped, is not torn by a second one.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._open = False

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        if self._open:
            self._open = False
            raise KeyboardInterrupt

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Raises `KeyboardInterrupt` at once if Ctrl-C was pressed since `pressed` was cleared."""
        if self.pressed:
            raise KeyboardInterrupt
        self._open = True
        try:
            yield
        finally:
            self._open = False


class Approval:
    """Asks before a tool runs: yes, no, or always for this tool."""

    def __init__(self, editor: LineEditor) -> None:
        self._editor = editor
        self._always: set[str] = set()
        self.answer: StreamView | None = None  # whose lines stand above the question

    def __call__(self, call: ToolCall) -> bool:
        if self.answer is not None:
            self.answer.end()
        if call.name in self._always:
            say(f"runs {call_line(call)}")
            return True
        while True:
            try:
                word = self._editor.ask(f"run {call_line(call)}? [y]es, [n]o, [a]lways ").strip().lower()
            except EOFError:
                return False
            if word in ("a", "always"):
                self._always.add(call.name)
            if word in ("y", "yes", "a", "always"):
                return True
            if word in ("n", "no"):
                return False


def call_line(call: ToolCall) -> str:
    """The call as one line, whole: it is what the person agrees to."""
    arguments = ", ".join(f"{name}={_json(value)}" for name, value in call.arguments.items())
    return strip_escapes(f"{call.name}({arguments})")


def run_turn(
    events: Events, answer: StreamView, interrupts: Interrupts, *, begun: Callable[[], None]
) -> None:
    """Show `events` as they come; `begun` is called after the first. Ctrl-C ends them within a token.

    What came is kept by whoever made `events`. A fault of the engine is shown as one line.
    """
    interrupts.pressed = False
    first = True
    try:
        with quiet_keys():
            while True:
                # Only here: a signal in the middle of an escape sequence would leave half of it.
                with interrupts.stoppable():
                    event = next(events, None)
                if event is None:
                    break
                answer.show(event)
                if first:
                    begun()
                    first = False
        answer.end()
    except KeyboardInterrupt:
        events.close()
        answer.end()
        say("stopped")
    except QwenError as fault:
        answer.end()
        say(str(fault))
    finally:
        events.close()
        interrupts.pressed = False


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
