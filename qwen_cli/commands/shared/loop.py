"""The prompt that chat, math and vision share: lines are read, done and answered until somebody leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from qwen_cli import paths
from qwen_cli.commands.shared import flags, slash
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.commands.shared.slash import Events
from qwen_cli.errors import QwenError
from qwen_cli.ui.line_editor import LineEditor, quiet_keys, unquoted

if TYPE_CHECKING:
    from qwen_cli.tasks.chat.conversation import Conversation


class Interrupts:
    """Ctrl-C for as long as the prompt lasts.

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
        """Raise `KeyboardInterrupt` at once if Ctrl-C was pressed since `pressed` was cleared."""
        if self.pressed:
            raise KeyboardInterrupt
        self._open = True
        try:
            yield
        finally:
            self._open = False


class AnswerView(Protocol):
    """What shows an answer: `StreamView`, or a view of solutions."""

    def show(self, event: Any) -> None: ...

    def end(self) -> None: ...


class LoopState(slash.PromptState, Protocol):
    """What a prompt is about: whoever holds it says what a line asks and how an answer is shown."""

    conversation: Conversation

    def greet(self) -> None:
        """Say what answers here."""

    def bar(self) -> str:
        """Return the line at the bottom."""

    def send(self, text: str) -> Events | None:
        """Ask what was typed; `None` where that asks nothing. Raises `QwenError`."""

    def answer(self, events: Events) -> None:
        """Show an answer as it comes, and keep it. Raises `QwenError`."""

    def leave(self) -> None:
        """Keep what is to be kept."""


def run(
    begin: Callable[[LineEditor, Interrupts], LoopState], *, history: str, mentions: bool = False
) -> None:
    """Talk until the person leaves. `begin` makes the state for the editor and the Ctrl-C of this prompt.

    `history` names the command whose typed lines it goes on with; with `mentions` the names of files are
    completed after an @. An engine that took the place of the first
    one is closed here.
    """
    with Interrupts() as interrupts:
        state: LoopState
        bar = ""
        editor = LineEditor(
            history=paths.history_file(history),
            words=lambda: slash.words(state),
            status=lambda: bar,
            mentions=mentions,
        )
        state = begin(editor, interrupts)
        first_engine = state.conversation.engine
        try:
            with flags.at_prompt(slash.spelling(state.commands)):
                state.greet()
                while not state.leaving:
                    bar = state.bar()
                    try:
                        line = editor.read()
                    except EOFError:
                        break
                    if line.strip():
                        respond(state, line)
                state.leave()
        finally:
            if state.conversation.engine is not first_engine:
                state.conversation.engine.close()


def respond(state: LoopState, line: str) -> None:
    """Do what `line` asks: a slash command, or something for the model. A fault is shown as one line."""
    try:
        ours = slash.is_command(state.commands, line)
        events = slash.run(state, line) if ours else state.send(unquoted(line))
        if events is not None:
            state.answer(events)
    except QwenError as fault:
        relay(str(fault))


def run_turn(
    events: Events,
    view: AnswerView,
    interrupts: Interrupts,
    *,
    line_of: Callable[[QwenError], str] = str,
) -> bool:
    """Show `events` as they come. Ctrl-C ends them within a token.

    What came is kept by whoever made `events`. A fault of the engine is shown as one line, `line_of` it.
    False where they did not come to their end.
    """
    interrupts.pressed = False
    try:
        with quiet_keys():
            while True:
                # Only here: a signal in the middle of an escape sequence would leave half of it.
                with interrupts.stoppable():
                    event = next(events, None)
                if event is None:
                    break
                view.show(event)
        view.end()
        return True
    except KeyboardInterrupt:
        events.close()
        view.end()
        say("stopped")
    except QwenError as fault:
        view.end()
        relay(line_of(fault))
    finally:
        events.close()
        interrupts.pressed = False
    return False
